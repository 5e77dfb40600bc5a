#ifndef CPARSERS_H
#define CPARSERS_H

#include <stdbool.h>
#include <stdint.h>

/* Lines of CSV, NDJSON or InfluxDB line protocol to rows of doubles, by fast_float and simdjson. One
   call decodes a whole batch. No function throws, writes outside the buffers it is given, or keeps a
   pointer to them. */

#ifdef __cplusplus
extern "C" {
#endif

/* Where a line lies in a buffer. A count below 0 marks a line that is too long to be decoded. */
typedef struct fg_line {
    int64_t start;
    int64_t count;
    int64_t offset;
} fg_line;

/* What a column is: an index of a feature from 0, behind these of a category, or one of these. */
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
    FG_FAULT_NOT_A_CATEGORY,
    FG_FAULT_NOT_A_POINT,
};

/* What a cell of JSON holds. */
enum { FG_KIND_CELL = 0, FG_KIND_STRING, FG_KIND_BOOLEAN, FG_KIND_OBJECT, FG_KIND_ARRAY };

/* Which part of a point of line protocol is none. */
enum {
    FG_POINT_MEASUREMENT = 0,
    FG_POINT_TAG,
    FG_POINT_FIELD,
    FG_POINT_VALUE,
    FG_POINT_STRING,
    FG_POINT_TIME,
};

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

/* How times are written; never changes. */
typedef struct fg_time fg_time;

/* Texts, one behind the other: text i lies in bytes[ends[i - 1] ..< ends[i]]. */
typedef struct fg_texts {
    const uint8_t *bytes;
    const int64_t *ends;
    int64_t count;
} fg_texts;

/* The columns of a record: features are numbers, categories are texts. is_optional has one entry for
   each of them, features first: whether a record may lack it. */
typedef struct fg_columns {
    int64_t feature_count;
    int64_t category_count;
    const bool *is_optional;
    bool has_time;
} fg_columns;

/* A plan for CSV lines with `cell_count` cells; cells[i] says what cell i is. */
fg_plan *fg_plan_csv(const int32_t *cells, int64_t cell_count, fg_columns columns,
                     uint8_t delimiter, uint8_t decimal_mark, fg_texts missing,
                     const fg_time *time);

/* A plan for NDJSON records with the keys of the features, the categories, and the time. A key "a.b"
   is that key, or the key "b" of the object (or the element "b" of the array) under "a". */
fg_plan *fg_plan_ndjson(fg_texts keys, fg_columns columns, fg_texts missing, const fg_time *time);

/* A plan for points of line protocol: features are fields, categories are tags or fields, or the
   measurement under the name "_measurement"; the time is the point's. */
fg_plan *fg_plan_influx(fg_texts keys, fg_columns columns, fg_texts missing, const fg_time *time);

void fg_plan_free(fg_plan *plan);

/* The texts of category cells, each once, with a code from 0 in the order of their appearance. */
typedef struct fg_dictionary fg_dictionary;
fg_dictionary *fg_dictionary_create(void);
void fg_dictionary_free(fg_dictionary *dictionary);
int64_t fg_dictionary_count(const fg_dictionary *dictionary);
const uint8_t *fg_dictionary_text(const fg_dictionary *dictionary, int64_t code, int64_t *count);

/* The code of a category cell that holds no value. */
enum { FG_CODE_MISSING = -1 };

/* Where rows go; each buffer holds as many rows as there are lines. */
typedef struct fg_rows {
    double *values; /* row-major [lines, feature_count]; NaN where an optional value is missing */
    int32_t *codes; /* row-major [lines, category_count], into the dictionary */
    fg_dictionary *dictionary; /* null without categories */
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

/* The offset from UTC of the clocks of a place: offsets[i] from starts[i] on, starts ascending. */
typedef struct fg_zone {
    const int64_t *starts;
    const int32_t *offsets;
    int64_t count;
} fg_zone;

/* What is wrong with a pattern, apart from the index of its first byte that means nothing. */
enum { FG_PATTERN_GOOD = -1, FG_PATTERN_WITHOUT_DATE = -2 };

/* Looks at a pattern as of strptime(3): an index in it, or one of these. */
int64_t fg_pattern_check(const uint8_t *pattern, int64_t count);

/* Times as a pattern that was checked; without one (count 0) as ISO 8601 or a number since the epoch,
   of which `units_per_sec` make a second, or by its magnitude if that is 0. Times that name no zone
   are of the place, of UTC if it has no offset. */
fg_time *fg_time_create(const uint8_t *pattern, int64_t count, int64_t units_per_sec, fg_zone zone);
void fg_time_free(fg_time *time);

/* Seconds since 1970. */
bool fg_time_parse(const fg_time *time, const uint8_t *bytes, int64_t count, double *seconds);

/* The number that a text is, from its first to its last byte; infinities and NaN are numbers. */
bool fg_number_parse(const uint8_t *bytes, int64_t count, uint8_t decimal_mark, double *value);

/* Told of each value in a record: its key, what it is ('n' number, 's' string, 't' boolean, 'z' null,
   'a' array, 'g' tag, 'm' measurement, 'c' time), and its bytes. */
typedef void (*fg_visitor)(void *context, const uint8_t *key, int64_t key_count, char type,
                           const uint8_t *value, int64_t value_count);

/* Tells each value of a JSON object and of the objects in it, whose keys are put together with dots; an
   array is told as a whole, and its elements under their indices if `visits_elements`. False: the
   text is no object. */
bool fg_json_visit(const uint8_t *bytes, int64_t count, bool visits_elements, void *context,
                   fg_visitor visitor);

/* Tells each tag and field of a point, with escapes resolved, and numbers without their suffix; the
   time is told with the key "time", the measurement with "_measurement". */
bool fg_influx_visit(const uint8_t *bytes, int64_t count, void *context, fg_visitor visitor);

/* Where the fields of a point end, from its first byte; -1: it is none. */
int64_t fg_influx_fields_end(const uint8_t *bytes, int64_t count);

/* Whether some bytes hold a text of one byte or more. */
bool fg_holds(const uint8_t *bytes, int64_t count, const uint8_t *text, int64_t length);

#ifdef __cplusplus
}
#endif

#endif
