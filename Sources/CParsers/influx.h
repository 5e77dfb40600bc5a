#pragma once

#include "plan.h"

#include <array>
#include <cmath>
#include <cstring>
#include <initializer_list>

/* InfluxDB line protocol: measurement[,tag=value…] field=value[,field=value…] [timestamp]
   <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>. */

namespace flowguard {

enum : uint8_t { ends_key = 1, ends_tag_value = 2, ends_measurement = 4, escapes = 8 };

/* What each byte ends. */
constexpr std::array<uint8_t, 256> influx_byte_classes() {
    std::array<uint8_t, 256> classes{};
    classes['='] = ends_key | ends_tag_value;
    classes[','] = ends_key | ends_tag_value | ends_measurement;
    classes[' '] = ends_key | ends_tag_value | ends_measurement;
    classes['\\'] = escapes;
    return classes;
}
constexpr std::array<uint8_t, 256> influx_classes = influx_byte_classes();

/* The value of a field: a number 'n', a text 's' or a boolean 't', with its bytes. */
struct FieldValue {
    char type;
    double number;
    std::string_view text;
    std::string_view written;
};

/* Goes through a point, and tells a visitor of its parts, whose bytes are as they are written. */
template <class Visitor>
class InfluxScanner {
public:
    InfluxScanner(const char *begin, const char *end, Visitor &visitor)
        : at(begin), end(end), visitor(visitor) {}

    /* Where the fields end, behind which only the time is. */
    const char *fields_end = nullptr;
    /* What is wrong, and where. */
    int32_t fault = FG_POINT_MEASUREMENT;
    std::string_view found;

    /* False: it is no point. */
    bool scan() {
        skip_spaces();
        const char *const first = at;
        at = part_end(at, ends_measurement);
        if (at == first || *first == '#') return bad(FG_POINT_MEASUREMENT, first);
        visitor.measurement(text(first, at));
        size_t index = 0;
        while (at < end && *at == ',') {
            at++;
            if (!scan_tag(index++)) return false;
        }
        if (at == end) return bad(FG_POINT_FIELD, at);
        skip_spaces();
        do {
            if (!scan_field(index++)) return false;
        } while (at < end && *at++ == ',');
        if (fields_end == end) return true;
        return scan_time();
    }

private:
    const char *at;
    const char *const end;
    Visitor &visitor;

    static std::string_view text(const char *first, const char *last) {
        return {first, static_cast<size_t>(last - first)};
    }

    bool bad(int32_t part, const char *first) {
        fault = part;
        found = text(first, end);
        return false;
    }

    void skip_spaces() {
        while (at < end && *at == ' ') at++;
    }

    const char *part_end(const char *from, uint8_t mask) const {
        while (from < end) {
            const uint8_t found = influx_classes[static_cast<uint8_t>(*from)];
            if (found & mask) return from;
            from += (found & escapes) && end - from > 1 ? 2 : 1;
        }
        return end;
    }

    /* A key up to its '='; what the visitor expects is tried first. */
    bool scan_key(size_t index, std::string_view *key) {
        const std::string_view guess = visitor.expected(index);
        const char *const first = at;
        if (!guess.empty() && static_cast<int64_t>(guess.size()) < end - at &&
            at[guess.size()] == '=' && memcmp(at, guess.data(), guess.size()) == 0) {
            at += guess.size();
        } else {
            at = part_end(at, ends_key);
        }
        *key = text(first, at);
        if (at == first || at == end || *at != '=') return false;
        at++;
        return true;
    }

    bool scan_tag(size_t index) {
        const char *const first = at;
        std::string_view key;
        if (!scan_key(index, &key)) return bad(FG_POINT_TAG, first);
        const char *const value = at;
        at = part_end(at, ends_tag_value);
        if (at == value || (at < end && *at == '=')) return bad(FG_POINT_TAG, first);
        visitor.tag(index, key, text(value, at));
        return true;
    }

    bool scan_field(size_t index) {
        const char *const first = at;
        std::string_view key;
        if (!scan_key(index, &key)) return bad(FG_POINT_FIELD, first);
        const char *const start = at;
        FieldValue value;
        if (at < end && *at == '"') {
            if (!scan_string(&value)) return bad(FG_POINT_STRING, start);
        } else if (!scan_number(&value) && !scan_boolean(&value)) {
            return bad(FG_POINT_VALUE, start);
        }
        if (at < end && *at != ',' && *at != ' ') return bad(FG_POINT_VALUE, start);
        fields_end = at;
        visitor.field(index, key, value);
        return true;
    }

    bool scan_string(FieldValue *value) {
        const char *const first = ++at;
        for (;; at++) {
            at = at < end ? static_cast<const char *>(memchr(at, '"', end - at)) : nullptr;
            if (at == nullptr) return false;
            size_t backslashes = 0;
            while (at - backslashes > first && at[-1 - static_cast<int64_t>(backslashes)] == '\\') {
                backslashes++;
            }
            if (backslashes % 2 == 0) break;
        }
        *value = FieldValue{'s', 0, text(first, at), text(first, at)};
        at++;
        return true;
    }

    /* A float, or an integer with the suffix i or u. */
    bool scan_number(FieldValue *value) {
        const char *const first = at;
        if (at == end || !((*at >= '0' && *at <= '9') || *at == '-' || *at == '+' || *at == '.')) {
            return false;
        }
        const char *const last = read_number(at, end, &value->number);
        if (last == nullptr || !std::isfinite(value->number)) return false;
        value->type = 'n';
        value->text = value->written = text(first, last);
        at = last;
        if (at < end && (*at == 'i' || *at == 'u')) {
            const size_t sign = *first == '-' || *first == '+' ? 1 : 0;
            const bool is_whole = value->text.find_first_not_of("0123456789", sign) ==
                                  std::string_view::npos;
            if (!is_whole || (*at == 'u' && *first == '-')) return false;
            at++;
        }
        return true;
    }

    bool scan_boolean(FieldValue *value) {
        const char *const first = at;
        at = part_end(at, ends_measurement);
        const std::string_view word = text(first, at);
        const auto is_any = [word](std::initializer_list<const char *> words) {
            for (const char *each : words) {
                if (word == each) return true;
            }
            return false;
        };
        const bool is_true = is_any({"t", "T", "true", "True", "TRUE"});
        if (!is_true && !is_any({"f", "F", "false", "False", "FALSE"})) return false;
        *value = FieldValue{'t', 0, is_true ? "true" : "false", word};
        return true;
    }

    bool scan_time() {
        skip_spaces();
        const char *const first = at;
        const char *last = end;
        while (last > first && last[-1] == ' ') last--;
        if (first == last) return true;
        const size_t sign = *first == '-' ? 1 : 0;
        const std::string_view digits = text(first, last).substr(sign);
        if (digits.empty() || digits.size() > 19 ||
            digits.find_first_not_of("0123456789") != std::string_view::npos) {
            return bad(FG_POINT_TIME, first);
        }
        uint64_t value = 0;
        for (const char digit : digits) value = value * 10 + static_cast<uint64_t>(digit - '0');
        if (value > INT64_MAX) return bad(FG_POINT_TIME, first);
        visitor.time(text(first, last), sign == 1 ? -static_cast<int64_t>(value)
                                                  : static_cast<int64_t>(value));
        return true;
    }
};

/* Texts without their escapes. */
class Unescaped {
public:
    /* A measurement, a key or the value of a tag. */
    std::string_view name(std::string_view raw) { return without(raw, ",= "); }
    /* A text in quotes. */
    std::string_view string(std::string_view raw) { return without(raw, "\"\\"); }

private:
    std::string content;

    std::string_view without(std::string_view raw, std::string_view escaped) {
        if (raw.find('\\') == std::string_view::npos) return raw;
        content.clear();
        for (size_t i = 0; i < raw.size(); i++) {
            const bool is_escape = raw[i] == '\\' && i + 1 < raw.size() &&
                                   escaped.find(raw[i + 1]) != std::string_view::npos;
            if (is_escape) i++;
            content += raw[i];
        }
        return content;
    }
};

}  // namespace flowguard
