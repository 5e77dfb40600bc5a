#include "plan.h"

/* Errors are values here; and simdjson's own assertions are for builds of the tests' fuzzer. */
#define SIMDJSON_EXCEPTIONS 0
#ifndef FG_PARSER_ASSERTIONS
#define NDEBUG
#endif
#include <simdjson.h>

#include <cmath>
#include <cstring>
#include <limits>
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

/* Records of one stream mostly have the same keys in the same order: what the n-th key was the
   last time is tried first. */
struct Slot {
    std::string key; /* raw, without escapes; empty: unknown */
    int32_t column;
};
constexpr size_t slot_limit = 4096;

class Decoder {
public:
    explicit Decoder(const fg_plan &plan)
        : plan(plan), seen(static_cast<size_t>(plan.feature_count) + 1, 0) {}

    fg_fault fault{};

    /* Decodes the object in `count` bytes, behind which SIMDJSON_PADDING bytes are readable. */
    bool decode(const char *bytes, int64_t count, double *values, double *time) {
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
        if (!read_fields(document, object, values, time)) return false;
        const char *trailing;
        if (!document.current_location().get(trailing)) {
            note(FG_FAULT_TRAILING_TEXT, FG_COLUMN_SKIPPED, trailing, end - trailing);
            return false;
        }
        return fault.code == 0 && has_every_column();
    }

private:
    const fg_plan &plan;
    ondemand::parser parser;
    std::vector<Slot> slots;
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

    bool read_fields(ondemand::document &document, ondemand::object &object, double *values,
                     double *time) {
        mark++;
        seen_count = 0;
        size_t index = 0;
        for (auto result : object) {
            ondemand::field field;
            if (std::move(result).get(field)) return bad_syntax(location(document));
            int32_t column;
            const char *const key = field.key().raw(); /* gone once the key is unescaped */
            if (!column_of(field, key, index++, &column)) return bad_syntax(location(document));
            if (column == FG_COLUMN_SKIPPED) continue;
            if (!is_first(column)) {
                if (fault.code == 0) note(FG_FAULT_DUPLICATE_KEY, column, key, 0);
                continue;
            }
            if (fault.code != 0) continue;
            if (!read_value(field.value(), column, values, time)) {
                return bad_syntax(location(document));
            }
        }
        return true;
    }

    static const char *location(ondemand::document &document) {
        const char *at;
        return document.current_location().get(at) ? nullptr : at;
    }

    bool is_first(int32_t column) {
        uint32_t &last = seen[column == FG_COLUMN_TIME ? plan.feature_count : column];
        if (last == mark) return false;
        last = mark;
        seen_count++;
        return true;
    }

    bool has_every_column() {
        if (seen_count == plan.feature_count + (plan.has_time ? 1 : 0)) return true;
        int32_t column = FG_COLUMN_TIME;
        for (int64_t i = 0; i < plan.feature_count; i++) {
            if (seen[i] != mark) {
                column = static_cast<int32_t>(i);
                break;
            }
        }
        note(FG_FAULT_MISSING_COLUMN, column, nullptr, 0);
        return false;
    }

    bool column_of(ondemand::field &field, const char *raw, size_t index, int32_t *column) {
        if (index < slots.size()) {
            const Slot &slot = slots[index];
            const size_t length = slot.key.size();
            if (length > 0 && static_cast<int64_t>(length) < end - raw && raw[length] == '"' &&
                memcmp(raw, slot.key.data(), length) == 0) {
                *column = slot.column;
                return true;
            }
        }
        std::string_view key;
        if (field.unescaped_key().get(key)) return false;
        const auto found = plan.column_of_key.find(key);
        *column = found == plan.column_of_key.end() ? FG_COLUMN_SKIPPED : found->second;
        if (index < slot_limit) {
            if (index >= slots.size()) slots.resize(index + 1, Slot{"", FG_COLUMN_SKIPPED});
            /* An escaped key is longer in the record than here: it is looked up each time. */
            const bool is_raw = static_cast<int64_t>(key.size()) < end - raw &&
                                raw[key.size()] == '"' &&
                                memcmp(raw, key.data(), key.size()) == 0;
            slots[index] = Slot{is_raw ? std::string(key) : "", *column};
        }
        return true;
    }

    /* False: the value is not JSON. A value of the wrong type is noted, and the record goes on. */
    bool read_value(ondemand::value value, int32_t column, double *values, double *time) {
        ondemand::json_type type;
        if (value.type().get(type)) return false;
        const std::string_view token = trimmed(value.raw_json_token());
        switch (type) {
        case ondemand::json_type::number: return read_number_token(token, column, values, time);
        case ondemand::json_type::null: {
            bool is_null;
            if (value.is_null().get(is_null) || !is_null) return false;
            note(FG_FAULT_MISSING_VALUE, column, token.data(), token.size());
            return true;
        }
        case ondemand::json_type::string: {
            std::string_view text;
            if (value.get_string().get(text)) return false;
            read_string(text, token, column, time);
            return true;
        }
        case ondemand::json_type::boolean: {
            bool ignored;
            if (value.get_bool().get(ignored)) return false;
            wrong_type(token, column, FG_KIND_BOOLEAN);
            return true;
        }
        case ondemand::json_type::object: wrong_type(token, column, FG_KIND_OBJECT); return true;
        case ondemand::json_type::array: wrong_type(token, column, FG_KIND_ARRAY); return true;
        }
        return false;
    }

    void wrong_type(std::string_view token, int32_t column, int32_t kind) {
        const int32_t code = column == FG_COLUMN_TIME ? FG_FAULT_BAD_TIME : FG_FAULT_NOT_A_NUMBER;
        note(code, column, token.data(), token.size(), kind);
    }

    bool read_number_token(std::string_view token, int32_t column, double *values, double *time) {
        if (!is_json_number(token)) return false;
        const auto *text = reinterpret_cast<const uint8_t *>(token.data());
        const int64_t count = static_cast<int64_t>(token.size());
        if (column == FG_COLUMN_TIME) {
            if (!fg_time_parse(text, count, time)) {
                note(FG_FAULT_BAD_TIME, column, token.data(), count);
            }
            return true;
        }
        double value = 0;
        if (!fg_number_parse(text, count, &value)) return false;
        if (plan.missing.includes_number && plan.missing.contains(token)) {
            note(FG_FAULT_MISSING_VALUE, column, token.data(), count);
        } else if (!std::isfinite(value)) {
            note(FG_FAULT_NON_FINITE, column, token.data(), count);
        }
        values[column] = value;
        return true;
    }

    void read_string(std::string_view text, std::string_view token, int32_t column, double *time) {
        if (plan.missing.contains(text)) {
            note(FG_FAULT_MISSING_VALUE, column, token.data(), token.size());
        } else if (column != FG_COLUMN_TIME) {
            wrong_type(token, column, FG_KIND_STRING);
        } else if (!fg_time_parse(reinterpret_cast<const uint8_t *>(text.data()),
                                  static_cast<int64_t>(text.size()), time)) {
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
    Decoder decoder(plan);
    Padded padded(bytes, byte_count);
    for (int64_t i = 0; i < line_count; i++) {
        double time = std::numeric_limits<double>::quiet_NaN();
        bool ok = false;
        if (lines[i].count < 0) {
            decoder.fault = fg_fault{0, -1, 0, 0, 0, FG_FAULT_OVERSIZE_LINE, FG_COLUMN_SKIPPED, 0};
        } else {
            ok = decoder.decode(padded.line(lines[i].start, lines[i].count), lines[i].count,
                                rows->values + rows->row_count * plan.feature_count, &time);
        }
        finish_line(lines[i], i, time, ok, decoder.fault, rows);
    }
}

}  // namespace flowguard

extern "C" bool fg_json_visit(const uint8_t *bytes, int64_t count, void *context,
                              fg_json_visitor visitor) {
    using namespace simdjson;
    ondemand::parser parser;
    ondemand::document document;
    padded_string text(reinterpret_cast<const char *>(bytes), static_cast<size_t>(count));
    if (parser.iterate(text).get(document)) return false;
    ondemand::object object;
    if (document.get_object().get(object)) return false;
    for (auto result : object) {
        ondemand::field field;
        std::string_view key, content;
        ondemand::json_type type;
        if (std::move(result).get(field) || field.unescaped_key().get(key)) return false;
        ondemand::value value = field.value();
        if (value.type().get(type)) return false;
        char kind = 'o';
        switch (type) {
        case ondemand::json_type::number:
            kind = 'n';
            content = flowguard::trimmed(value.raw_json_token());
            break;
        case ondemand::json_type::string:
            kind = 's';
            if (value.get_string().get(content)) return false;
            break;
        case ondemand::json_type::boolean:
            kind = 't';
            content = flowguard::trimmed(value.raw_json_token());
            break;
        case ondemand::json_type::null: kind = 'z'; break;
        default: break;
        }
        visitor(context, reinterpret_cast<const uint8_t *>(key.data()),
                static_cast<int64_t>(key.size()), kind,
                reinterpret_cast<const uint8_t *>(content.data()),
                static_cast<int64_t>(content.size()));
    }
    return true;
}
