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

const char *read_number(const char *first, const char *last, double *value) {
    if (last - first > 1 && *first == '+' && first[1] != '-') first++;
    const auto result = fast_float::from_chars(first, last, *value);
    /* Beyond the range of a double, from_chars gives an infinity or zero, with or without an error
       code by its version; both are kept, for the caller to look at. */
    if (result.ec == std::errc::invalid_argument || result.ptr == first) return nullptr;
    return result.ptr;
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

}  // namespace flowguard

extern "C" {

fg_plan *fg_plan_csv(const int32_t *cells, int64_t cell_count, fg_columns columns,
                     uint8_t delimiter, fg_texts missing) {
    auto *plan = new fg_plan(columns, missing);
    plan->delimiter = delimiter;
    plan->columns.assign(cells, cells + cell_count);
    return plan;
}

fg_plan *fg_plan_ndjson(fg_texts keys, fg_columns columns, fg_texts missing) {
    auto *plan = new fg_plan(columns, missing);
    plan->is_json = true;
    plan->keys = flowguard::strings(keys);
    for (size_t i = 0; i < plan->keys.size(); i++) {
        const bool is_time = static_cast<int64_t>(i) >= plan->column_count();
        plan->column_of_key[plan->keys[i]] =
            is_time ? static_cast<int32_t>(FG_COLUMN_TIME) : static_cast<int32_t>(i);
    }
    return plan;
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
    if (plan->is_json) {
        flowguard::decode_ndjson(*plan, bytes, byte_count, lines, line_count, rows);
    } else {
        flowguard::decode_csv(*plan, bytes, lines, line_count, rows);
    }
}

bool fg_number_parse(const uint8_t *bytes, int64_t count, double *value) {
    const char *first = reinterpret_cast<const char *>(bytes);
    return count > 0 && flowguard::read_number(first, first + count, value) == first + count;
}

}  // extern "C"
