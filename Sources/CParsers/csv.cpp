#include "plan.h"

#include <cmath>
#include <cstring>

namespace flowguard {
namespace {

/* A cell: its bytes without quotes and without spaces around them, and the place behind it. */
struct Cell {
    const char *first;
    const char *last;
    const char *next;
    int32_t fault;
    bool has_quotes = false; /* a quote in it is still written twice */
};

/* The cell at `at`: up to the delimiter or the line's end, or in quotes, where "" is a quote. */
Cell read_cell(const char *at, const char *end, char delimiter) {
    const auto padding = [delimiter](char byte) {
        return is_space(static_cast<uint8_t>(byte)) && byte != delimiter;
    };
    const char *first = at;
    while (first < end && padding(*first)) first++;
    if (first == end || *first != '"') {
        const void *found = first == end ? nullptr : memchr(first, delimiter, end - first);
        const char *next = found == nullptr ? end : static_cast<const char *>(found);
        const char *last = next;
        while (last > first && padding(last[-1])) last--;
        return {first, last, next, 0};
    }
    const char *quote = first + 1;
    bool has_quotes = false;
    for (;;) {
        quote = quote == end ? nullptr
                             : static_cast<const char *>(memchr(quote, '"', end - quote));
        if (quote == nullptr) return {first, end, end, FG_FAULT_UNBALANCED_QUOTE};
        if (quote + 1 == end || quote[1] != '"') break;
        quote += 2;
        has_quotes = true;
    }
    const char *next = quote + 1;
    while (next < end && padding(*next)) next++;
    if (next < end && *next != delimiter) return {next, end, end, FG_FAULT_TEXT_AFTER_QUOTE};
    return {first + 1, quote, next, 0, has_quotes};
}

class Decoder {
public:
    Decoder(const fg_plan &plan, const uint8_t *bytes, fg_dictionary *dictionary)
        : plan(plan), bytes(bytes), categories(plan, dictionary) {}

    /* Decodes a line into a record; false: it is none, and `fault` says why. */
    bool decode(const fg_line &line, Record &record) {
        const char delimiter = plan.delimiter;
        const char *const begin = reinterpret_cast<const char *>(bytes) + line.start;
        const char *const end = begin + line.count;
        const int64_t expected = static_cast<int64_t>(plan.columns.size());
        const char *at = begin;
        fault.code = 0;
        for (int64_t index = 0;; index++) {
            const int32_t column = index < expected ? plan.columns[index] : FG_COLUMN_SKIPPED;
            const char *next = nullptr;
            if (plan.is_feature(column) && !plan.missing.includes_number && fault.code == 0) {
                next = read_plain_number(at, end, &record.values[column]);
            }
            if (next == nullptr) {
                const Cell cell = read_cell(at, end, delimiter);
                if (cell.fault != 0) {
                    note(cell.fault, FG_COLUMN_SKIPPED, cell.first - begin, cell.last - cell.first);
                    return false;
                }
                if (fault.code == 0 && column != FG_COLUMN_SKIPPED) {
                    const int32_t code = read(cell, column, record);
                    if (code != 0) {
                        note(code, column, cell.first - begin, cell.last - cell.first);
                    }
                }
                next = cell.next;
            }
            if (next == end) {
                if (index + 1 == expected) return fault.code == 0;
                note(FG_FAULT_RAGGED_ROW, FG_COLUMN_SKIPPED, -1, 0);
                fault.expected = expected;
                fault.found = index + 1;
                return false;
            }
            at = next + 1;
        }
    }

    fg_fault fault{};

private:
    const fg_plan &plan;
    const uint8_t *bytes;
    Categories categories;
    std::string unquoted;

    void note(int32_t code, int32_t column, int64_t start, int64_t count) {
        fault = fg_fault{0, start, count, 0, 0, code, column, FG_KIND_CELL};
    }

    const char *number(const char *first, const char *last, double *value) const {
        return plan.decimal_mark == '.' ? read_number(first, last, value)
                                        : read_number(first, last, plan.decimal_mark, value);
    }

    /* The usual case: a finite number from the cell's first byte to the delimiter. */
    const char *read_plain_number(const char *at, const char *end, double *value) const {
        if (at == end) return nullptr;
        const char *after = number(at, end, value);
        if (after == nullptr || !std::isfinite(*value)) return nullptr;
        return after == end || *after == plan.delimiter ? after : nullptr;
    }

    int32_t read(const Cell &cell, int32_t column, Record &record) {
        std::string_view text{cell.first, static_cast<size_t>(cell.last - cell.first)};
        if (plan.missing.contains(text)) {
            return record.lack(plan, column) ? 0 : FG_FAULT_MISSING_VALUE;
        }
        if (column == FG_COLUMN_TIME) {
            const auto *first = reinterpret_cast<const uint8_t *>(cell.first);
            const auto count = static_cast<int64_t>(text.size());
            return fg_time_parse(&plan.time, first, count, &record.time) ? 0 : FG_FAULT_BAD_TIME;
        }
        if (plan.is_category(column)) {
            if (cell.has_quotes) text = without_doubled_quotes(text);
            categories.put(text, column, record);
            return 0;
        }
        double *const value = &record.values[column];
        if (text.empty() ||
            number(cell.first, cell.last, value) != cell.last) {
            return FG_FAULT_NOT_A_NUMBER;
        }
        return std::isfinite(*value) ? 0 : FG_FAULT_NON_FINITE;
    }

    std::string_view without_doubled_quotes(std::string_view text) {
        unquoted.clear();
        for (size_t i = 0; i < text.size(); i++) {
            unquoted += text[i];
            if (text[i] == '"') i++;
        }
        return unquoted;
    }
};

}  // namespace

void decode_csv(const fg_plan &plan, const uint8_t *bytes, const fg_line *lines, int64_t line_count,
                fg_rows *rows) {
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

}  // namespace flowguard
