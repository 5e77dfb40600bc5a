#include "plan.h"

#include <fast_float/fast_float.h>

#include <algorithm>
#include <cmath>

namespace flowguard {

std::vector<std::string> strings(fg_texts given) {
    std::vector<std::string> result;
    result.reserve(static_cast<size_t>(given.count));
    int64_t start = 0;
    for (int64_t i = 0; i < given.count; i++) {
        result.emplace_back(reinterpret_cast<const char *>(given.bytes) + start,
                            static_cast<size_t>(given.ends[i] - start));
        start = given.ends[i];
    }
    return result;
}

bool is_space(uint8_t byte) { return byte == ' ' || byte == '\t'; }

namespace {

const char *past_plus(const char *first, const char *last) {
    return last - first > 1 && *first == '+' && first[1] != '-' ? first + 1 : first;
}

/* Beyond the range of a double, from_chars gives an infinity or zero, with or without an error code
   by its version; both are kept, for the caller to look at. */
const char *end_of(const fast_float::from_chars_result &result, const char *first) {
    return result.ec == std::errc::invalid_argument || result.ptr == first ? nullptr : result.ptr;
}

}  // namespace

const char *read_number(const char *first, const char *last, double *value) {
    first = past_plus(first, last);
    return end_of(fast_float::from_chars(first, last, *value), first);
}

const char *read_number(const char *first, const char *last, char decimal_mark, double *value) {
    first = past_plus(first, last);
    const fast_float::parse_options options{fast_float::chars_format::general, decimal_mark};
    return end_of(fast_float::from_chars_advanced(first, last, *value, options), first);
}

Missing::Missing(fg_texts given) : texts(strings(given)) {
    for (const auto &text : texts) {
        double value;
        if (text.empty()) {
            includes_empty = true;
        } else if (read_number(text.data(), text.data() + text.size(), &value) != nullptr &&
                   std::isfinite(value)) {
            includes_number = true;
        }
    }
}

bool Missing::contains(std::string_view text) const {
    if (text.empty()) return includes_empty;
    return std::any_of(texts.begin(), texts.end(),
                       [text](const std::string &each) { return text == each; });
}

void KeyNode::add(std::string_view key, int32_t column, int64_t *node_count, int depth) {
    entries[key].column = column;
    const auto dot = key.find('.');
    if (dot == std::string_view::npos || depth == depth_limit) return;
    Entry &outer = entries[key.substr(0, dot)];
    if (outer.inside == nullptr) {
        outer.inside = std::make_unique<KeyNode>();
        outer.inside->number = (*node_count)++;
    }
    outer.inside->add(key.substr(dot + 1), column, node_count, depth + 1);
}

namespace {

fg_plan *plan_by_keys(Format format, fg_texts keys, fg_columns columns, fg_texts missing,
                      const fg_time *time) {
    auto *plan = new fg_plan(format, columns, missing, time);
    plan->keys = strings(keys);
    for (size_t i = 0; i < plan->keys.size(); i++) {
        const bool is_time = static_cast<int64_t>(i) >= plan->column_count();
        const int32_t column = is_time ? FG_COLUMN_TIME : static_cast<int32_t>(i);
        if (format == Format::ndjson) {
            plan->root.add(plan->keys[i], column, &plan->node_count);
        } else if (!is_time) {
            plan->root.entries[plan->keys[i]].column = column;
        }
    }
    return plan;
}

}  // namespace
}  // namespace flowguard

extern "C" {

fg_plan *fg_plan_csv(const int32_t *cells, int64_t cell_count, fg_columns columns,
                     uint8_t delimiter, uint8_t decimal_mark, fg_texts missing,
                     const fg_time *time) {
    auto *plan = new fg_plan(flowguard::Format::csv, columns, missing, time);
    plan->delimiter = static_cast<char>(delimiter);
    plan->decimal_mark = static_cast<char>(decimal_mark);
    plan->columns.assign(cells, cells + cell_count);
    return plan;
}

fg_plan *fg_plan_ndjson(fg_texts keys, fg_columns columns, fg_texts missing, const fg_time *time) {
    return flowguard::plan_by_keys(flowguard::Format::ndjson, keys, columns, missing, time);
}

fg_plan *fg_plan_influx(fg_texts keys, fg_columns columns, fg_texts missing, const fg_time *time) {
    return flowguard::plan_by_keys(flowguard::Format::influx, keys, columns, missing, time);
}

void fg_plan_free(fg_plan *plan) { delete plan; }

fg_dictionary *fg_dictionary_create(void) { return new fg_dictionary; }

void fg_dictionary_free(fg_dictionary *dictionary) { delete dictionary; }

int64_t fg_dictionary_count(const fg_dictionary *dictionary) {
    return static_cast<int64_t>(dictionary->texts.size());
}

const uint8_t *fg_dictionary_text(const fg_dictionary *dictionary, int64_t code, int64_t *count) {
    const std::string &text = dictionary->texts[static_cast<size_t>(code)];
    *count = static_cast<int64_t>(text.size());
    return reinterpret_cast<const uint8_t *>(text.data());
}

void fg_decode(const fg_plan *plan, const uint8_t *bytes, int64_t byte_count, const fg_line *lines,
               int64_t line_count, fg_rows *rows) {
    rows->row_count = 0;
    rows->fault_count = 0;
    switch (plan->format) {
    case flowguard::Format::csv:
        flowguard::decode_csv(*plan, bytes, lines, line_count, rows);
        break;
    case flowguard::Format::ndjson:
        flowguard::decode_ndjson(*plan, bytes, byte_count, lines, line_count, rows);
        break;
    case flowguard::Format::influx:
        flowguard::decode_influx(*plan, bytes, lines, line_count, rows);
        break;
    }
}

bool fg_number_parse(const uint8_t *bytes, int64_t count, uint8_t decimal_mark, double *value) {
    const char *first = reinterpret_cast<const char *>(bytes);
    const char *const last = first + count;
    const char *const end =
        decimal_mark == '.'
            ? flowguard::read_number(first, last, value)
            : flowguard::read_number(first, last, static_cast<char>(decimal_mark), value);
    return count > 0 && end == last;
}

}  // extern "C"
