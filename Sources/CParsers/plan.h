#pragma once

#include "include/CParsers.h"

#include <cmath>
#include <deque>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace flowguard {

/* The cells that mean "no value". */
struct Missing {
    std::vector<std::string> texts;
    bool includes_empty = false;
    bool includes_number = false; /* a sentinel such as -999: a cell that parses may still be one */

    explicit Missing(fg_texts given);
    bool contains(std::string_view text) const;
};

std::vector<std::string> strings(fg_texts given);

bool is_space(uint8_t byte);

/* Reads a number at `first`; returns the end of it, or null. A sign of plus is allowed. */
const char *read_number(const char *first, const char *last, double *value);

}  // namespace flowguard

struct fg_plan {
    bool is_json = false;
    int64_t feature_count = 0;
    int64_t category_count = 0;
    bool has_time = false;
    uint8_t delimiter = ',';
    flowguard::Missing missing;
    std::vector<uint8_t> is_optional;                /* features, then categories */
    std::vector<int32_t> columns;                    /* CSV: what each cell is */
    std::vector<std::string> keys;                   /* NDJSON: features, categories, time */
    std::unordered_map<std::string_view, int32_t> column_of_key;

    fg_plan(fg_columns given, fg_texts missing_texts)
        : feature_count(given.feature_count), category_count(given.category_count),
          has_time(given.has_time), missing(missing_texts) {
        is_optional.assign(given.is_optional, given.is_optional + column_count());
    }

    int64_t column_count() const { return feature_count + category_count; }
    bool is_feature(int32_t column) const { return column >= 0 && column < feature_count; }
    bool is_category(int32_t column) const { return column >= feature_count; }
};

struct fg_dictionary {
    std::deque<std::string> texts; /* a text stays where it is: the keys lie in it */
    std::unordered_map<std::string_view, int32_t> code_of_text;

    /* The code of a text. `recent` is what the column held last: records mostly repeat it. */
    int32_t code(std::string_view text, int32_t recent) {
        if (recent >= 0 && texts[static_cast<size_t>(recent)] == text) return recent;
        const auto found = code_of_text.find(text);
        if (found != code_of_text.end()) return found->second;
        texts.emplace_back(text);
        const auto code = static_cast<int32_t>(texts.size() - 1);
        code_of_text.emplace(texts.back(), code);
        return code;
    }
};

namespace flowguard {

/* Where the cells of one record go. */
struct Record {
    double *values;
    int32_t *codes;
    double time = std::numeric_limits<double>::quiet_NaN();

    /* The next row's place; a line that is no record leaves it to the next. */
    Record(const fg_plan &plan, const fg_rows &rows)
        : values(rows.values + rows.row_count * plan.feature_count),
          codes(rows.codes + rows.row_count * plan.category_count) {}

    /* Marks a column as one without a value; false: the record may not lack it. */
    bool lack(const fg_plan &plan, int32_t column) {
        if (column < 0 || plan.is_optional[static_cast<size_t>(column)] == 0) return false;
        if (plan.is_category(column)) {
            codes[column - plan.feature_count] = FG_CODE_MISSING;
        } else {
            values[column] = std::numeric_limits<double>::quiet_NaN();
        }
        return true;
    }
};

/* Turns the texts of category columns into codes. */
class Categories {
public:
    Categories(const fg_plan &plan, fg_dictionary *dictionary)
        : first(plan.feature_count), dictionary(dictionary),
          recent(static_cast<size_t>(plan.category_count), FG_CODE_MISSING) {}

    void put(std::string_view text, int32_t column, Record &record) {
        const auto place = static_cast<size_t>(column - first);
        recent[place] = dictionary->code(text, recent[place]);
        record.codes[place] = recent[place];
    }

private:
    int64_t first;
    fg_dictionary *dictionary;
    std::vector<int32_t> recent;
};

void decode_csv(const fg_plan &plan, const uint8_t *bytes, const fg_line *lines, int64_t line_count,
                fg_rows *rows);
void decode_ndjson(const fg_plan &plan, const uint8_t *bytes, int64_t byte_count,
                   const fg_line *lines, int64_t line_count, fg_rows *rows);

/* Puts a decoded row, whose values are in place, or its fault into the output. */
inline void finish_line(const fg_line &line, int64_t index, double time, bool ok, fg_fault &fault,
                        fg_rows *rows) {
    if (ok) {
        const int64_t row = rows->row_count++;
        rows->times[row] = time;
        rows->line_indices[row] = static_cast<int32_t>(index);
        rows->offsets[row] = line.offset;
    } else {
        fault.line = index;
        rows->faults[rows->fault_count++] = fault;
    }
}

}  // namespace flowguard
