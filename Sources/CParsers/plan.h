#pragma once

#include "include/CParsers.h"

#include <cmath>
#include <deque>
#include <limits>
#include <memory>
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

/* The same for numbers with another mark than a point before their fraction. */
const char *read_number(const char *first, const char *last, char decimal_mark, double *value);

enum class Format { csv, ndjson, influx };

/* How deep objects are looked into. */
constexpr int depth_limit = 16;

/* The keys of an object that lead to columns: by themselves, or through what is in the object or
   array under them. */
struct KeyNode {
    struct Entry {
        int32_t column = FG_COLUMN_SKIPPED;
        std::unique_ptr<KeyNode> inside;
    };
    int64_t number = 0; /* of the node, from 0 */
    std::unordered_map<std::string_view, Entry> entries;

    /* Makes a key lead to a column; "a.b" also as "b" under "a". The key's bytes stay where they are. */
    void add(std::string_view key, int32_t column, int64_t *node_count, int depth = 0);
};

}  // namespace flowguard

/* One place's clocks, and how times are written. */
struct fg_time {
    std::string pattern;
    int64_t units_per_sec = 0;
    std::vector<int64_t> zone_starts;
    std::vector<int32_t> zone_offsets;

    /* Seconds since 1970 of what clocks of the place show. */
    double to_utc(int64_t local_secs) const;
};

struct fg_plan {
    flowguard::Format format = flowguard::Format::csv;
    int64_t feature_count = 0;
    int64_t category_count = 0;
    bool has_time = false;
    char delimiter = ',';
    char decimal_mark = '.';
    fg_time time;
    flowguard::Missing missing;
    std::vector<uint8_t> is_optional;                /* features, then categories */
    std::vector<int32_t> columns;                    /* CSV: what each cell is */
    std::vector<std::string> keys;                   /* else: features, categories, time */
    flowguard::KeyNode root;                         /* else: the columns under them */
    int64_t node_count = 1;

    fg_plan(flowguard::Format format, fg_columns given, fg_texts missing_texts, const fg_time *time)
        : format(format), feature_count(given.feature_count),
          category_count(given.category_count), has_time(given.has_time), time(*time),
          missing(missing_texts) {
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
void decode_influx(const fg_plan &plan, const uint8_t *bytes, const fg_line *lines,
                   int64_t line_count, fg_rows *rows);

/* The fault of a line that is too long to be looked at. */
inline fg_fault oversize_fault() {
    return fg_fault{0, -1, 0, 0, 0, FG_FAULT_OVERSIZE_LINE, FG_COLUMN_SKIPPED, FG_KIND_CELL};
}

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
