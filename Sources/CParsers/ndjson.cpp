#include "plan.h"

/* Errors are values here; and simdjson's own assertions are for builds of the tests' fuzzer. */
#define SIMDJSON_EXCEPTIONS 0
#ifndef FG_PARSER_ASSERTIONS
#define NDEBUG
#endif
#include <simdjson.h>

#include <cmath>
#include <cstring>
#include <utility>

namespace flowguard {
namespace {

using namespace simdjson;

/* The first byte that is not part of well-formed UTF-8; `count` if there is none. */
int64_t utf8_prefix(const char *bytes, int64_t count) {
    int64_t valid = 0;
    while (valid < count) {
        int64_t length = 1;
        while (length <= 4 && valid + length <= count &&
               !validate_utf8(bytes + valid, static_cast<size_t>(length))) {
            length++;
        }
        if (length > 4 || valid + length > count) return valid;
        valid += length;
    }
    return count;
}

std::string_view trimmed(std::string_view text) {
    const auto last = text.find_last_not_of(" \t\r\n");
    return text.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

/* Records of one stream mostly have the same keys in the same order: what the n-th key of an object
   was the last time is tried first. */
struct Slot {
    std::string key; /* raw, without escapes; empty: unknown */
    const KeyNode::Entry *entry;
};
constexpr size_t slot_limit = 4096;

class Decoder {
public:
    Decoder(const fg_plan &plan, fg_dictionary *dictionary)
        : plan(plan), categories(plan, dictionary), slots(static_cast<size_t>(plan.node_count)),
          seen(static_cast<size_t>(plan.column_count()) + 1, 0) {}

    fg_fault fault{};

    /* Decodes the object in `count` bytes, behind which SIMDJSON_PADDING bytes are readable. */
    bool decode(const char *bytes, int64_t count, Record &record) {
        begin = bytes;
        end = bytes + count;
        fault = fg_fault{0, -1, 0, 0, 0, 0, FG_COLUMN_SKIPPED, FG_KIND_CELL};
        ondemand::document document;
        const size_t size = static_cast<size_t>(count);
        auto error = parser.iterate(bytes, size, size + SIMDJSON_PADDING).get(document);
        if (error == UTF8_ERROR) {
            note(FG_FAULT_NOT_UTF8, FG_COLUMN_SKIPPED, begin + utf8_prefix(bytes, count), 1);
            return false;
        }
        if (error) return bad_syntax(nullptr);
        ondemand::json_type type;
        if (document.type().get(type) || type != ondemand::json_type::object) {
            note(FG_FAULT_NOT_AN_OBJECT, FG_COLUMN_SKIPPED, begin, count);
            return false;
        }
        ondemand::object object;
        if (document.get_object().get(object)) return bad_syntax(nullptr);
        mark++;
        seen_count = 0;
        if (!read_fields(document, object, plan.root, record)) return false;
        const char *trailing;
        if (!document.current_location().get(trailing)) {
            note(FG_FAULT_TRAILING_TEXT, FG_COLUMN_SKIPPED, trailing, end - trailing);
            return false;
        }
        return fault.code == 0 && has_every_column(record);
    }

private:
    const fg_plan &plan;
    Categories categories;
    ondemand::parser parser;
    std::vector<std::vector<Slot>> slots; /* of each node of the plan */
    std::string element;
    std::vector<uint32_t> seen; /* the mark of the last record that had the column; time last */
    uint32_t mark = 0;
    int64_t seen_count = 0;
    const char *begin = nullptr;
    const char *end = nullptr;

    void note(int32_t code, int32_t column, const char *at, int64_t count, int32_t kind = 0) {
        fault = fg_fault{0, at == nullptr ? -1 : at - begin, count, 0, 0, code, column, kind};
    }

    bool bad_syntax(const char *at) {
        if (at != nullptr && (at < begin || at > end)) at = nullptr;
        note(FG_FAULT_NOT_JSON, FG_COLUMN_SKIPPED, at, 0);
        return false;
    }

    bool read_fields(ondemand::document &document, ondemand::object &object, const KeyNode &node,
                     Record &record) {
        size_t index = 0;
        std::vector<Slot> &known = slots[static_cast<size_t>(node.number)];
        for (auto result : object) {
            ondemand::field field;
            if (std::move(result).get(field)) return bad_syntax(location(document));
            const KeyNode::Entry *entry;
            const char *const key = field.key().raw(); /* gone once the key is unescaped */
            if (!entry_of(field, key, index++, node, known, &entry)) {
                return bad_syntax(location(document));
            }
            if (entry == nullptr) continue;
            const bool ok = entry->inside == nullptr
                                ? read_column(document, field.value(), key, entry->column, record)
                                : read_inside(document, field.value(), key, *entry, record);
            if (!ok) return false;
        }
        return true;
    }

    /* A value that others may be in. Not a part of the loop over the usual ones: it would cost them. */
    [[gnu::noinline]] bool read_inside(ondemand::document &document, ondemand::value value, const char *key,
                     const KeyNode::Entry &entry, Record &record) {
        ondemand::json_type type;
        if (value.type().get(type)) return bad_syntax(location(document));
        if (type == ondemand::json_type::object) {
            ondemand::object object;
            if (value.get_object().get(object)) return bad_syntax(location(document));
            return read_fields(document, object, *entry.inside, record);
        }
        if (type == ondemand::json_type::array) {
            return read_elements(document, value, key, *entry.inside, record);
        }
        return read_column(document, value, key, entry.column, record);
    }

    [[gnu::always_inline]] bool read_column(ondemand::document &document, ondemand::value value, const char *key,
                     int32_t column, Record &record) {
        if (column == FG_COLUMN_SKIPPED) return true;
        if (!is_first(column)) {
            if (fault.code == 0) note(FG_FAULT_DUPLICATE_KEY, column, key, 0);
            return true;
        }
        if (fault.code != 0) return true;
        return read_value(value, column, record) || bad_syntax(location(document));
    }

    /* The elements of an array, under their indices from 0. */
    [[gnu::noinline]] bool read_elements(ondemand::document &document, ondemand::value value, const char *key,
                       const KeyNode &node, Record &record) {
        ondemand::array array;
        if (value.get_array().get(array)) return bad_syntax(location(document));
        int64_t index = 0;
        for (auto result : array) {
            ondemand::value each;
            if (std::move(result).get(each)) return bad_syntax(location(document));
            element = std::to_string(index++);
            const auto found = node.entries.find(element);
            if (found == node.entries.end()) continue;
            const KeyNode::Entry &entry = found->second;
            const bool ok = entry.inside == nullptr
                                ? read_column(document, each, key, entry.column, record)
                                : read_inside(document, each, key, entry, record);
            if (!ok) return false;
        }
        return true;
    }

    static const char *location(ondemand::document &document) {
        const char *at;
        return document.current_location().get(at) ? nullptr : at;
    }

    bool is_first(int32_t column) {
        uint32_t &last = seen[column == FG_COLUMN_TIME ? plan.column_count() : column];
        if (last == mark) return false;
        last = mark;
        seen_count++;
        return true;
    }

    bool has_every_column(Record &record) {
        if (seen_count == plan.column_count() + (plan.has_time ? 1 : 0)) return true;
        for (int64_t i = 0; i < plan.column_count(); i++) {
            if (seen[i] == mark || record.lack(plan, static_cast<int32_t>(i))) continue;
            note(FG_FAULT_MISSING_COLUMN, static_cast<int32_t>(i), nullptr, 0);
            return false;
        }
        if (!plan.has_time || seen[plan.column_count()] == mark) return true;
        note(FG_FAULT_MISSING_COLUMN, FG_COLUMN_TIME, nullptr, 0);
        return false;
    }

    /* False: the key is not JSON. */
    [[gnu::always_inline]] bool entry_of(ondemand::field &field, const char *raw, size_t index, const KeyNode &node,
                  std::vector<Slot> &known, const KeyNode::Entry **entry) {
        if (index < known.size()) {
            const Slot &slot = known[index];
            const size_t length = slot.key.size();
            if (length > 0 && static_cast<int64_t>(length) < end - raw && raw[length] == '"' &&
                memcmp(raw, slot.key.data(), length) == 0) {
                *entry = slot.entry;
                return true;
            }
        }
        std::string_view key;
        if (field.unescaped_key().get(key)) return false;
        const auto found = node.entries.find(key);
        *entry = found == node.entries.end() ? nullptr : &found->second;
        if (index < slot_limit) {
            if (index >= known.size()) known.resize(index + 1, Slot{"", nullptr});
            /* An escaped key is longer in the record than here: it is looked up each time. */
            const bool is_raw = static_cast<int64_t>(key.size()) < end - raw &&
                                raw[key.size()] == '"' &&
                                memcmp(raw, key.data(), key.size()) == 0;
            known[index] = Slot{is_raw ? std::string(key) : "", *entry};
        }
        return true;
    }

    /* False: the value is not JSON. A value of the wrong type is noted, and the record goes on. */
    [[gnu::always_inline]] bool read_value(ondemand::value value, int32_t column, Record &record) {
        ondemand::json_type type;
        if (value.type().get(type)) return false;
        const std::string_view token = trimmed(value.raw_json_token());
        switch (type) {
        case ondemand::json_type::number: return read_number_token(token, column, record);
        case ondemand::json_type::null: {
            bool is_null;
            if (value.is_null().get(is_null) || !is_null) return false;
            lack(token, column, record);
            return true;
        }
        case ondemand::json_type::string: {
            std::string_view text;
            if (value.get_string().get(text)) return false;
            read_string(text, token, column, record);
            return true;
        }
        case ondemand::json_type::boolean: {
            bool is_true;
            if (value.get_bool().get(is_true)) return false;
            if (plan.is_category(column)) {
                categories.put(is_true ? "true" : "false", column, record);
            } else {
                wrong_type(token, column, FG_KIND_BOOLEAN);
            }
            return true;
        }
        case ondemand::json_type::object: wrong_type(token, column, FG_KIND_OBJECT); return true;
        case ondemand::json_type::array: wrong_type(token, column, FG_KIND_ARRAY); return true;
        }
        return false;
    }

    void wrong_type(std::string_view token, int32_t column, int32_t kind) {
        const int32_t code = column == FG_COLUMN_TIME     ? FG_FAULT_BAD_TIME
                             : plan.is_category(column) ? FG_FAULT_NOT_A_CATEGORY
                                                        : FG_FAULT_NOT_A_NUMBER;
        note(code, column, token.data(), token.size(), kind);
    }

    void lack(std::string_view token, int32_t column, Record &record) {
        if (record.lack(plan, column)) return;
        note(FG_FAULT_MISSING_VALUE, column, token.data(), token.size());
    }

    bool read_number_token(std::string_view token, int32_t column, Record &record) {
        if (!is_json_number(token)) return false;
        const auto *text = reinterpret_cast<const uint8_t *>(token.data());
        const int64_t count = static_cast<int64_t>(token.size());
        if (column == FG_COLUMN_TIME) {
            if (!fg_time_parse(&plan.time, text, count, &record.time)) {
                note(FG_FAULT_BAD_TIME, column, token.data(), count);
            }
            return true;
        }
        double value = 0;
        if (!fg_number_parse(text, count, '.', &value)) return false;
        if (plan.missing.includes_number && plan.missing.contains(token)) {
            lack(token, column, record);
        } else if (plan.is_category(column)) {
            categories.put(token, column, record);
        } else {
            if (!std::isfinite(value)) note(FG_FAULT_NON_FINITE, column, token.data(), count);
            record.values[column] = value;
        }
        return true;
    }

    void read_string(std::string_view text, std::string_view token, int32_t column,
                     Record &record) {
        if (plan.missing.contains(text)) {
            lack(token, column, record);
        } else if (plan.is_category(column)) {
            categories.put(text, column, record);
        } else if (column != FG_COLUMN_TIME) {
            wrong_type(token, column, FG_KIND_STRING);
        } else if (!fg_time_parse(&plan.time, reinterpret_cast<const uint8_t *>(text.data()),
                                  static_cast<int64_t>(text.size()), &record.time)) {
            wrong_type(token, column, FG_KIND_STRING);
        }
    }

    /* -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? from first to last byte (RFC 8259, 6). */
    static bool is_json_number(std::string_view text) {
        const char *at = text.data(), *const last = at + text.size();
        const auto digits = [&at, last] {
            const char *const first = at;
            while (at < last && *at >= '0' && *at <= '9') at++;
            return at - first;
        };
        if (at < last && *at == '-') at++;
        const bool zero = at < last && *at == '0';
        const auto whole = digits();
        if (whole == 0 || (zero && whole > 1)) return false;
        if (at < last && *at == '.') {
            at++;
            if (digits() == 0) return false;
        }
        if (at < last && (*at == 'e' || *at == 'E')) {
            at++;
            if (at < last && (*at == '+' || *at == '-')) at++;
            if (digits() == 0) return false;
        }
        return at == last;
    }
};

/* A line at the end of the buffer is copied to where bytes behind it may be read. */
class Padded {
public:
    Padded(const uint8_t *bytes, int64_t byte_count) : bytes(bytes), byte_count(byte_count) {}

    const char *line(int64_t start, int64_t count) {
        const char *const first = reinterpret_cast<const char *>(bytes) + start;
        if (start + count + static_cast<int64_t>(SIMDJSON_PADDING) <= byte_count) return first;
        copy.assign(first, static_cast<size_t>(count));
        copy.resize(static_cast<size_t>(count) + SIMDJSON_PADDING, ' ');
        return copy.data();
    }

private:
    const uint8_t *bytes;
    int64_t byte_count;
    std::string copy;
};

}  // namespace

void decode_ndjson(const fg_plan &plan, const uint8_t *bytes, int64_t byte_count,
                   const fg_line *lines, int64_t line_count, fg_rows *rows) {
    Decoder decoder(plan, rows->dictionary);
    Padded padded(bytes, byte_count);
    for (int64_t i = 0; i < line_count; i++) {
        Record record(plan, *rows);
        bool ok = false;
        if (lines[i].count < 0) {
            decoder.fault = oversize_fault();
        } else {
            ok = decoder.decode(padded.line(lines[i].start, lines[i].count), lines[i].count,
                                record);
        }
        finish_line(lines[i], i, record.time, ok, decoder.fault, rows);
    }
}

}  // namespace flowguard

namespace flowguard {
namespace {

struct Visit {
    bool visits_elements;
    void *context;
    fg_visitor visitor;

    void tell(std::string_view key, char type, std::string_view content) const {
        visitor(context, reinterpret_cast<const uint8_t *>(key.data()),
                static_cast<int64_t>(key.size()), type,
                reinterpret_cast<const uint8_t *>(content.data()),
                static_cast<int64_t>(content.size()));
    }

    bool object(ondemand::object object, const std::string &prefix, int depth) const {
        for (auto result : object) {
            ondemand::field field;
            std::string_view key;
            if (std::move(result).get(field) || field.unescaped_key().get(key)) return false;
            if (!value(field.value(), prefix + std::string(key), depth)) return false;
        }
        return true;
    }

    bool value(ondemand::value value, const std::string &key, int depth) const {
        ondemand::json_type type;
        if (value.type().get(type)) return false;
        std::string_view content;
        switch (type) {
        case ondemand::json_type::number:
            tell(key, 'n', trimmed(value.raw_json_token()));
            return true;
        case ondemand::json_type::string:
            if (value.get_string().get(content)) return false;
            tell(key, 's', content);
            return true;
        case ondemand::json_type::boolean:
            tell(key, 't', trimmed(value.raw_json_token()));
            return true;
        case ondemand::json_type::null: tell(key, 'z', content); return true;
        case ondemand::json_type::object: {
            if (depth == depth_limit) return true;
            ondemand::object inner;
            return !value.get_object().get(inner) && object(inner, key + ".", depth + 1);
        }
        case ondemand::json_type::array: {
            tell(key, 'a', content);
            ondemand::array array;
            if (!visits_elements || depth == depth_limit) return true;
            if (value.get_array().get(array)) return false;
            int64_t index = 0;
            for (auto result : array) {
                ondemand::value each;
                if (std::move(result).get(each)) return false;
                if (!this->value(each, key + "." + std::to_string(index++), depth + 1)) {
                    return false;
                }
            }
            return true;
        }
        }
        return false;
    }
};

}  // namespace
}  // namespace flowguard

extern "C" bool fg_json_visit(const uint8_t *bytes, int64_t count, bool visits_elements,
                              void *context, fg_visitor visitor) {
    using namespace simdjson;
    ondemand::parser parser;
    ondemand::document document;
    padded_string text(reinterpret_cast<const char *>(bytes), static_cast<size_t>(count));
    if (parser.iterate(text).get(document)) return false;
    ondemand::object object;
    if (document.get_object().get(object)) return false;
    return flowguard::Visit{visits_elements, context, visitor}.object(object, "", 0);
}
