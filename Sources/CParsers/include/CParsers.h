#ifndef CPARSERS_H
#define CPARSERS_H

#include <stdbool.h>
#include <stdint.h>

/* Lines of CSV or NDJSON to rows of doubles, by fast_float and simdjson. One call decodes a whole
   batch. No function throws, writes outside the buffers it is given, or keeps a pointer to them. */

#ifdef __cplusplus
extern "C" {
#endif

/* Where a line lies in a buffer. A count below 0 marks a line that is too long to be decoded. */
typedef struct fg_line {
    int64_t start;
    int64_t count;
    int64_t offset;
} fg_line;

/* What a column is: an index of a feature from 0, or one of these. */
enum { FG_COLUMN_SKIPPED = -1, FG_COLUMN_TIME = -2 };

/* Why a line is no record. */
enum {
    FG_FAULT_RAGGED_ROW = 1,
    FG_FAULT_NOT_A_NUMBER,
    FG_FAULT_MISSING_VALUE,
    FG_FAULT_NON_FINITE,
    FG_FAULT_BAD_TIME,
    FG_FAULT_OVERSIZE_LINE,
    FG_FAULT_MISSING_COLUMN,
    FG_FAULT_UNBALANCED_QUOTE,
    FG_FAULT_TEXT_AFTER_QUOTE,
    FG_FAULT_NOT_AN_OBJECT,
    FG_FAULT_NOT_JSON,
    FG_FAULT_NOT_UTF8,
    FG_FAULT_TRAILING_TEXT,
    FG_FAULT_DUPLICATE_KEY,
};

/* What a cell of JSON holds. */
enum { FG_KIND_CELL = 0, FG_KIND_STRING, FG_KIND_BOOLEAN, FG_KIND_OBJECT, FG_KIND_ARRAY };

/* The first thing that is wrong with a line. */
typedef struct fg_fault {
    int64_t line;       /* index of the line in the batch */
    int64_t cell_start; /* first byte at fault, from the line's start; -1: nowhere */
    int64_t cell_count;
    int64_t expected;   /* cells of a ragged row */
    int64_t found;
    int32_t code;
    int32_t column;
    int32_t kind;
} fg_fault;

/* What to do with each column or key; never changes, so threads may share it. */
typedef struct fg_plan fg_plan;

/* Texts, one behind the other: text i lies in bytes[ends[i - 1] ..< ends[i]]. */
typedef struct fg_texts {
    const uint8_t *bytes;
    const int64_t *ends;
    int64_t count;
} fg_texts;

/* A plan for CSV lines with `cell_count` cells; columns[i] says what cell i is. */
fg_plan *fg_plan_csv(const int32_t *columns, int64_t cell_count, int64_t feature_count,
                     bool has_time, uint8_t delimiter, fg_texts missing);

/* A plan for NDJSON records with the keys of the features, and behind them the key of the time. */
fg_plan *fg_plan_ndjson(fg_texts keys, int64_t feature_count, bool has_time, fg_texts missing);

void fg_plan_free(fg_plan *plan);

/* Where rows go; each buffer holds as many rows as there are lines. */
typedef struct fg_rows {
    double *values; /* row-major [lines, feature_count] */
    double *times;  /* NaN without a time column */
    int32_t *line_indices;
    int64_t *offsets;
    fg_fault *faults;
    int64_t row_count;
    int64_t fault_count;
} fg_rows;

/* Decodes lines of a buffer of `byte_count` bytes. Each line becomes one row or one fault. */
void fg_decode(const fg_plan *plan, const uint8_t *bytes, int64_t byte_count, const fg_line *lines,
               int64_t line_count, fg_rows *rows);

/* Seconds since 1970 of an ISO 8601 time or a number since the epoch. */
bool fg_time_parse(const uint8_t *bytes, int64_t count, double *seconds);

/* The number that a text is, from its first to its last byte; infinities and NaN are numbers. */
bool fg_number_parse(const uint8_t *bytes, int64_t count, double *value);

/* Tells each key of a JSON object and the type of its value ('n' number, 's' string, 't' boolean,
   'z' null, 'o' object or array), with the bytes of a string, number or
   boolean; false if it is no object. */
typedef void (*fg_json_visitor)(void *context, const uint8_t *key, int64_t key_count, char type,
                                const uint8_t *value, int64_t value_count);
bool fg_json_visit(const uint8_t *bytes, int64_t count, void *context, fg_json_visitor visitor);

#ifdef __cplusplus
}
#endif

#endif
