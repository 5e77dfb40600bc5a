#pragma once

#include "include/CParsers.h"

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
    bool has_time = false;
    uint8_t delimiter = ',';
    flowguard::Missing missing;
    std::vector<int32_t> columns;                    /* CSV: what each cell is */
    std::vector<std::string> keys;                   /* NDJSON: features, then time */
    std::unordered_map<std::string_view, int32_t> column_of_key;

    explicit fg_plan(fg_texts missing_texts) : missing(missing_texts) {}
};

namespace flowguard {

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
