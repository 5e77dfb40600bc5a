#include "influx.h"

namespace flowguard {
namespace {

/* Points of one input mostly have the same keys in the same order. */
struct Slot {
    std::string key; /* as it is written */
    bool is_tag;
    int32_t column;
};
constexpr size_t slot_limit = 4096;

class Decoder {
public:
    Decoder(const fg_plan &plan, const uint8_t *bytes, fg_dictionary *dictionary)
        : plan(plan), bytes(reinterpret_cast<const char *>(bytes)),
          categories(plan, dictionary),
          seen(static_cast<size_t>(plan.column_count()), 0) {
        const auto found = plan.root.entries.find("_measurement");
        if (found != plan.root.entries.end()) measurement_column = found->second.column;
        units = plan.time.units_per_sec == 0 ? 1'000'000'000 : plan.time.units_per_sec;
    }

    fg_fault fault{};

    bool decode(const fg_line &line, Record &row) {
        begin = bytes + line.start;
        record = &row;
        fault.code = 0;
        mark++;
        seen_count = 0;
        has_time = false;
        InfluxScanner<Decoder> scanner(begin, begin + line.count, *this);
        if (!scanner.scan()) {
            note(FG_FAULT_NOT_A_POINT, FG_COLUMN_SKIPPED, scanner.found, scanner.fault);
            return false;
        }
        return fault.code == 0 && has_every_column();
    }

    std::string_view expected(size_t index) const {
        return index < slots.size() ? slots[index].key : std::string_view();
    }

    void measurement(std::string_view raw) {
        if (plan.is_category(measurement_column)) take_text(raw, unescaped.name(raw), measurement_column);
    }

    void tag(size_t index, std::string_view key, std::string_view value) {
        const int32_t column = column_of(index, key, true);
        if (plan.is_category(column) && is_first(column, key)) {
            take_text(value, unescaped.name(value), column);
        }
    }

    void field(size_t index, std::string_view key, const FieldValue &value) {
        const int32_t column = column_of(index, key, false);
        if (column == FG_COLUMN_SKIPPED || !is_first(column, key)) return;
        if (value.type == 'n' && plan.is_feature(column)) {
            if (plan.missing.includes_number && plan.missing.contains(value.text)) {
                lack(value.written, column);
            } else {
                record->values[column] = value.number;
            }
        } else if (plan.is_category(column)) {
            take_text(value.written,
                      value.type == 's' ? unescaped.string(value.text) : value.text, column);
        } else if (value.type == 's' && plan.missing.contains(value.text)) {
            lack(value.written, column);
        } else {
            note(FG_FAULT_NOT_A_NUMBER, column, value.written,
                 value.type == 's' ? FG_KIND_STRING : FG_KIND_BOOLEAN);
        }
    }

    void time(std::string_view, int64_t value) {
        has_time = true;
        if (!plan.has_time) return;
        record->time = static_cast<double>(value / units) +
                       static_cast<double>(value % units) / static_cast<double>(units);
    }

private:
    const fg_plan &plan;
    const char *bytes;
    Categories categories;
    Unescaped unescaped;
    std::vector<Slot> slots;
    std::vector<uint32_t> seen; /* the mark of the last record that had the column */
    uint32_t mark = 0;
    int64_t seen_count = 0;
    int64_t units;
    int32_t measurement_column = FG_COLUMN_SKIPPED;
    bool has_time = false;
    const char *begin = nullptr;
    Record *record = nullptr;

    /* The first thing that is wrong is kept; a text may lie elsewhere than in the line. */
    void note(int32_t code, int32_t column, std::string_view found, int32_t kind) {
        if (fault.code != 0) return;
        const int64_t start = found.data() == nullptr ? -1 : found.data() - begin;
        fault = fg_fault{0, start, static_cast<int64_t>(found.size()), 0, 0, code, column, kind};
    }

    bool is_first(int32_t column, std::string_view key) {
        uint32_t &last = seen[static_cast<size_t>(column)];
        if (last == mark) {
            note(FG_FAULT_DUPLICATE_KEY, column, key, FG_KIND_CELL);
            return false;
        }
        last = mark;
        seen_count++;
        return true;
    }

    void lack(std::string_view written, int32_t column) {
        if (!record->lack(plan, column)) note(FG_FAULT_MISSING_VALUE, column, written, FG_KIND_CELL);
    }

    void take_text(std::string_view written, std::string_view value, int32_t column) {
        if (column == measurement_column) is_first(column, written);
        if (plan.missing.contains(value)) {
            lack(written, column);
        } else {
            categories.put(value, column, *record);
        }
    }

    bool has_every_column() {
        if (seen_count < plan.column_count()) {
            for (int32_t i = 0; i < plan.column_count(); i++) {
                if (seen[static_cast<size_t>(i)] == mark || record->lack(plan, i)) continue;
                note(FG_FAULT_MISSING_COLUMN, i, {}, FG_KIND_CELL);
                return false;
            }
        }
        if (has_time || !plan.has_time) return true;
        note(FG_FAULT_MISSING_COLUMN, FG_COLUMN_TIME, {}, FG_KIND_CELL);
        return false;
    }

    /* A tag is a category or nothing; a field that is called as a tag of the plan may be one too. */
    int32_t column_of(size_t index, std::string_view key, bool is_tag) {
        if (index < slots.size() && slots[index].is_tag == is_tag && slots[index].key == key) {
            return slots[index].column;
        }
        const auto found = plan.root.entries.find(unescaped.name(key));
        int32_t column = found == plan.root.entries.end() ? FG_COLUMN_SKIPPED : found->second.column;
        if (is_tag && plan.is_feature(column)) column = FG_COLUMN_SKIPPED;
        if (column == measurement_column) column = FG_COLUMN_SKIPPED;
        if (index < slot_limit) {
            if (index >= slots.size()) slots.resize(index + 1, Slot{"", false, FG_COLUMN_SKIPPED});
            slots[index] = Slot{std::string(key), is_tag, column};
        }
        return column;
    }
};

}  // namespace

void decode_influx(const fg_plan &plan, const uint8_t *bytes, const fg_line *lines,
                   int64_t line_count, fg_rows *rows) {
    Decoder decoder(plan, bytes, rows->dictionary);
    for (int64_t i = 0; i < line_count; i++) {
        Record record(plan, *rows);
        bool ok = false;
        if (lines[i].count < 0) {
            decoder.fault = oversize_fault();
        } else {
            ok = decoder.decode(lines[i], record);
        }
        finish_line(lines[i], i, record.time, ok, decoder.fault, rows);
    }
}

namespace {

/* Tells a function of the parts. */
struct Teller {
    void *context;
    fg_visitor visitor;
    Unescaped keys, texts;

    std::string_view expected(size_t) const { return {}; }
    void tell(std::string_view key, char type, std::string_view value) {
        visitor(context, reinterpret_cast<const uint8_t *>(key.data()),
                static_cast<int64_t>(key.size()), type,
                reinterpret_cast<const uint8_t *>(value.data()),
                static_cast<int64_t>(value.size()));
    }
    void measurement(std::string_view raw) { tell("_measurement", 'm', texts.name(raw)); }
    void tag(size_t, std::string_view key, std::string_view value) {
        tell(keys.name(key), 'g', texts.name(value));
    }
    void field(size_t, std::string_view key, const FieldValue &value) {
        tell(keys.name(key), value.type,
             value.type == 's' ? texts.string(value.text) : value.text);
    }
    void time(std::string_view written, int64_t) { tell("time", 'c', written); }
};

struct Nobody {
    std::string_view expected(size_t) const { return {}; }
    void measurement(std::string_view) {}
    void tag(size_t, std::string_view, std::string_view) {}
    void field(size_t, std::string_view, const FieldValue &) {}
    void time(std::string_view, int64_t) {}
};

}  // namespace
}  // namespace flowguard

extern "C" bool fg_influx_visit(const uint8_t *bytes, int64_t count, void *context,
                                fg_visitor visitor) {
    const char *first = reinterpret_cast<const char *>(bytes);
    flowguard::Teller teller{context, visitor, {}, {}};
    return flowguard::InfluxScanner<flowguard::Teller>(first, first + count, teller).scan();
}

extern "C" int64_t fg_influx_fields_end(const uint8_t *bytes, int64_t count) {
    const char *first = reinterpret_cast<const char *>(bytes);
    flowguard::Nobody nobody;
    flowguard::InfluxScanner<flowguard::Nobody> scanner(first, first + count, nobody);
    return scanner.scan() ? scanner.fields_end - first : -1;
}
