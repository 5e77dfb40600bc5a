#include "plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <string_view>

namespace {

struct Cursor {
    const uint8_t *at;
    const uint8_t *end;

    bool done() const { return at == end; }
    bool take(uint8_t byte) {
        if (done() || *at != byte) return false;
        at++;
        return true;
    }
    bool next_is_digit() const { return !done() && *at >= '0' && *at <= '9'; }
    /* Exactly `count` digits. */
    bool digits(int count, int *value) {
        *value = 0;
        for (int i = 0; i < count; i++) {
            if (!next_is_digit()) return false;
            *value = *value * 10 + (*at++ - '0');
        }
        return true;
    }
};

/* Days from 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible
   low-level date algorithms"). */
int64_t days_from_civil(int64_t year, int month, int day) {
    year -= month <= 2;
    const int64_t era = (year >= 0 ? year : year - 399) / 400;
    const int64_t year_of_era = year - era * 400;
    const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* The day of a date that exists, or false. */
bool day_of_date(int64_t year, int month, int day, int64_t *days) {
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(static_cast<int>(year), month)) {
        return false;
    }
    *days = days_from_civil(year, month, day);
    return true;
}

/* The day of the year from 1, or false. */
bool day_of_ordinal(int64_t year, int ordinal, int64_t *days) {
    *days = days_from_civil(year, 1, 1) + ordinal - 1;
    return ordinal >= 1 && *days < days_from_civil(year + 1, 1, 1);
}

/* Monday is day 1 of week 1, which has the year's first Thursday (ISO 8601). */
bool day_of_week_date(int64_t year, int week, int weekday, int64_t *days) {
    const auto first_monday = [](int64_t each) {
        const int64_t fourth = days_from_civil(each, 1, 4); /* always in week 1 */
        return fourth - (((fourth + 3) % 7) + 7) % 7;
    };
    *days = first_monday(year) + 7 * (week - 1) + weekday - 1;
    return week >= 1 && weekday >= 1 && weekday <= 7 && *days < first_monday(year + 1);
}

/* Z, z, UTC, GMT, or ±hh[[:]mm]. */
bool read_zone(Cursor &text, int64_t *offset_secs) {
    *offset_secs = 0;
    if (text.take('Z') || text.take('z')) return true;
    if (text.take('U')) return text.take('T') && text.take('C');
    if (text.take('G')) return text.take('M') && text.take('T');
    const bool west = text.take('-');
    if (!west && !text.take('+')) return false;
    int hours = 0, minutes = 0;
    if (!text.digits(2, &hours)) return false;
    if (text.take(':')) {
        if (!text.digits(2, &minutes)) return false;
    } else if (text.next_is_digit() && !text.digits(2, &minutes)) {
        return false;
    }
    if (hours > 23 || minutes > 59) return false;
    *offset_secs = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

/* The digits behind a decimal mark. */
bool read_fraction(Cursor &text, double *fraction) {
    if (!text.next_is_digit()) return false;
    double place = 1;
    int64_t digits = 0;
    for (int i = 0; text.next_is_digit(); i++, text.at++) {
        if (i >= 15) continue;
        digits = digits * 10 + (*text.at - '0');
        place *= 10;
    }
    *fraction = static_cast<double>(digits) / place;
    return true;
}

bool secs_of_clock(int hour, int minute, int second, double fraction, double *secs) {
    const bool end_of_day = hour == 24 && minute == 0 && second == 0 && fraction == 0;
    if ((hour > 23 && !end_of_day) || minute > 59 || second > 60) return false;
    *secs = hour * 3600 + minute * 60 + second + fraction;
    return true;
}

/* hh:mm[:ss[.fraction]], or without colons. */
bool read_clock(Cursor &text, bool is_basic, double *secs) {
    int hour, minute, second = 0;
    double fraction = 0;
    const auto next = [&text, is_basic] { return is_basic ? text.next_is_digit() : text.take(':'); };
    if (!text.digits(2, &hour) || !next() || !text.digits(2, &minute)) return false;
    if (next()) {
        if (!text.digits(2, &second)) return false;
        if ((text.take('.') || text.take(',')) && !read_fraction(text, &fraction)) return false;
    }
    return secs_of_clock(hour, minute, second, fraction, secs);
}

/* What is behind a date: nothing, or a clock and perhaps a zone. */
bool read_time_of_day(Cursor &text, bool is_basic, int64_t days, const fg_time &time,
                      double *seconds) {
    double clock = 0;
    int64_t zone = 0;
    bool has_zone = false;
    if (!text.done()) {
        if (!text.take('T') && !text.take('t') && (is_basic || !text.take(' '))) return false;
        if (!read_clock(text, is_basic, &clock)) return false;
        if (!text.done()) {
            text.take(' ');
            has_zone = true;
            if (!read_zone(text, &zone) || !text.done()) return false;
        }
    }
    /* The offset changes at a whole second: a fraction changes nothing. */
    const double whole = std::floor(clock);
    const int64_t local = days * 86400 + static_cast<int64_t>(whole);
    const double utc = has_zone ? static_cast<double>(local - zone) : time.to_utc(local);
    *seconds = utc + (clock - whole);
    return true;
}

/* yyyy-mm-dd, yyyy/mm/dd, yyyy-ddd, yyyy-Www-d. */
bool read_extended(Cursor text, const fg_time &time, double *seconds) {
    int year, month, day;
    int64_t days;
    if (!text.digits(4, &year)) return false;
    const uint8_t mark = text.take('-') ? '-' : text.take('/') ? '/' : 0;
    if (mark == 0) return false;
    if (mark == '-' && text.take('W')) {
        if (!text.digits(2, &month) || !text.take('-') || !text.digits(1, &day)) return false;
        if (!day_of_week_date(year, month, day, &days)) return false;
    } else {
        Cursor ordinal = text;
        if (mark == '-' && ordinal.digits(3, &day) && (ordinal.done() || *ordinal.at == 'T')) {
            if (!day_of_ordinal(year, day, &days)) return false;
            text = ordinal;
        } else {
            if (!text.digits(2, &month) || !text.take(mark) || !text.digits(2, &day)) return false;
            if (!day_of_date(year, month, day, &days)) return false;
        }
    }
    return read_time_of_day(text, false, days, time, seconds);
}

/* yyyymmddThhmm[ss]: a date alone would be a number. */
bool read_basic(Cursor text, const fg_time &time, double *seconds) {
    int year, month, day;
    int64_t days;
    return text.digits(4, &year) && text.digits(2, &month) && text.digits(2, &day) &&
           !text.done() && (*text.at == 'T' || *text.at == 't') &&
           day_of_date(year, month, day, &days) &&
           read_time_of_day(text, true, days, time, seconds);
}

bool read_epoch(const uint8_t *bytes, int64_t count, int64_t units_per_sec, double *seconds) {
    double value;
    if (!fg_number_parse(bytes, count, '.', &value) && !fg_number_parse(bytes, count, ',', &value)) {
        return false;
    }
    if (!std::isfinite(value)) return false;
    const double size = std::fabs(value);
    const double unit = units_per_sec != 0 ? static_cast<double>(units_per_sec)
                        : size < 1e11      ? 1
                        : size < 1e14      ? 1e3
                        : size < 1e17      ? 1e6
                                           : 1e9;
    *seconds = value / unit;
    return size / unit < 1e11;
}

/* Times as a pattern of strptime(3) says; `%f` is a fraction of a second. */
class PatternReader {
public:
    PatternReader(Cursor text, const fg_time &time) : text(text), time(time) {}

    bool read(double *seconds) {
        if (!follow(time.pattern) || !text.done()) return false;
        if (has_epoch) {
            *seconds = static_cast<double>(epoch) + fraction;
            return true;
        }
        int64_t days;
        if (is_ordinal ? !day_of_ordinal(year, ordinal, &days)
                       : !day_of_date(year, month, day, &days)) {
            return false;
        }
        if (is_twelve) {
            if (hour < 1 || hour > 12) return false;
            hour = hour % 12 + (is_afternoon ? 12 : 0);
        }
        double clock;
        if (!secs_of_clock(hour, minute, second, 0, &clock)) return false;
        const int64_t local = days * 86400 + static_cast<int64_t>(clock);
        *seconds = fraction + (has_zone ? static_cast<double>(local - zone) : time.to_utc(local));
        return true;
    }

private:
    Cursor text;
    const fg_time &time;
    int year = 1970, month = 1, day = 1, hour = 0, minute = 0, second = 0, ordinal = 1;
    int64_t zone = 0, epoch = 0;
    double fraction = 0;
    bool is_ordinal = false, is_twelve = false, is_afternoon = false;
    bool has_zone = false, has_epoch = false;

    bool follow(std::string_view pattern) {
        for (size_t i = 0; i < pattern.size(); i++) {
            const char byte = pattern[i];
            if (byte == ' ') {
                skip_spaces();
            } else if (byte != '%') {
                if (!text.take(static_cast<uint8_t>(byte))) return false;
            } else if (!read_part(pattern[++i])) {
                return false;
            }
        }
        return true;
    }

    void skip_spaces() {
        while (text.take(' ') || text.take('\t')) {}
    }

    /* One or two digits, perhaps behind a space. */
    bool number(int *value) {
        text.take(' ');
        if (!text.next_is_digit()) return false;
        *value = *text.at++ - '0';
        if (text.next_is_digit()) *value = *value * 10 + (*text.at++ - '0');
        return true;
    }

    /* The index of an English name, whole or its first three letters. */
    template <size_t count>
    bool name(const std::string_view (&names)[count], int *index) {
        const auto matches = [this](std::string_view name) {
            if (text.end - text.at < static_cast<int64_t>(name.size())) return false;
            return std::equal(name.begin(), name.end(), text.at,
                              [](char a, uint8_t b) { return (a | 0x20) == (b | 0x20); });
        };
        for (size_t i = 0; i < count; i++) {
            const bool is_whole = matches(names[i]);
            if (!is_whole && !matches(names[i].substr(0, 3))) continue;
            text.at += is_whole ? names[i].size() : 3;
            *index = static_cast<int>(i);
            return true;
        }
        return false;
    }

    bool read_part(char part) {
        static const std::string_view months[] = {
            "January", "February", "March", "April", "May", "June", "July", "August",
            "September", "October", "November", "December"};
        static const std::string_view weekdays[] = {
            "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
        static const std::string_view halves[] = {"AM", "PM"};
        int index = 0;
        switch (part) {
        case 'Y': return text.digits(4, &year);
        case 'y':
            if (!text.digits(2, &year)) return false;
            year += year < 69 ? 2000 : 1900;
            return true;
        case 'm': return number(&month);
        case 'd':
        case 'e': return number(&day);
        case 'H':
        case 'k': return number(&hour);
        case 'I':
        case 'l': is_twelve = true; return number(&hour);
        case 'M': return number(&minute);
        case 'S': return number(&second);
        case 'f': return read_fraction(text, &fraction);
        case 'j': is_ordinal = true; return text.digits(3, &ordinal);
        case 'b':
        case 'B':
        case 'h':
            if (!name(months, &index)) return false;
            month = index + 1;
            return true;
        case 'a':
        case 'A': return name(weekdays, &index);
        case 'p':
            if (!name(halves, &index)) return false;
            is_afternoon = index == 1;
            return true;
        case 'z':
        case 'Z': has_zone = true; return read_zone(text, &zone);
        case 's': return read_epoch_secs();
        case 'T': return follow("%H:%M:%S");
        case 'R': return follow("%H:%M");
        case 'F': return follow("%Y-%m-%d");
        case 'D': return follow("%m/%d/%y");
        case 'n':
        case 't': skip_spaces(); return true;
        case '%': return text.take('%');
        default: return false;
        }
    }

    bool read_epoch_secs() {
        has_epoch = true;
        const bool is_negative = text.take('-');
        if (!text.next_is_digit()) return false;
        for (int i = 0; text.next_is_digit(); i++, text.at++) {
            if (i == 11) return false;
            epoch = epoch * 10 + (*text.at - '0');
        }
        if (is_negative) epoch = -epoch;
        return true;
    }
};

bool read_pattern(Cursor text, const fg_time &time, double *seconds) {
    return PatternReader(text, time).read(seconds);
}

const fg_time standard{};

}  // namespace

double fg_time::to_utc(int64_t local_secs) const {
    const auto offset_at = [this](int64_t instant) -> int64_t {
        const auto next = std::upper_bound(zone_starts.begin(), zone_starts.end(), instant);
        if (next == zone_starts.begin()) return zone_offsets.empty() ? 0 : zone_offsets.front();
        return zone_offsets[static_cast<size_t>(std::distance(zone_starts.begin(), next)) - 1];
    };
    /* Of an hour that comes twice the first is meant; one that is left out is read as if it were not. */
    const int64_t before = offset_at(local_secs - 86400), after = offset_at(local_secs + 86400);
    int64_t instant = local_secs - before;
    if (before != after && offset_at(instant) != before &&
        offset_at(local_secs - after) == after) {
        instant = local_secs - after;
    }
    return static_cast<double>(instant);
}

extern "C" fg_time *fg_time_create(const uint8_t *pattern, int64_t count, int64_t units_per_sec,
                                   fg_zone zone) {
    auto *time = new fg_time;
    if (count > 0) time->pattern.assign(reinterpret_cast<const char *>(pattern), count);
    time->units_per_sec = units_per_sec;
    time->zone_starts.assign(zone.starts, zone.starts + zone.count);
    time->zone_offsets.assign(zone.offsets, zone.offsets + zone.count);
    return time;
}

extern "C" void fg_time_free(fg_time *time) { delete time; }

extern "C" bool fg_time_parse(const fg_time *given, const uint8_t *bytes, int64_t count,
                              double *seconds) {
    if (count <= 0) return false;
    const fg_time &time = given == nullptr ? standard : *given;
    const Cursor text{bytes, bytes + count};
    if (!time.pattern.empty()) return read_pattern(text, time, seconds);
    if (time.units_per_sec == 0 &&
        (read_extended(text, time, seconds) || read_basic(text, time, seconds))) {
        return true;
    }
    return read_epoch(bytes, count, time.units_per_sec, seconds);
}

extern "C" int64_t fg_pattern_check(const uint8_t *pattern, int64_t count) {
    const std::string_view parts = "YymdeHkIlMSfjbBhaApzZsTRFDnt%";
    std::string found;
    for (int64_t i = 0; i < count; i++) {
        if (pattern[i] != '%') continue;
        if (i + 1 == count || parts.find(static_cast<char>(pattern[i + 1])) == std::string_view::npos) {
            return i;
        }
        found += static_cast<char>(pattern[++i]);
    }
    const auto has_any = [&found](std::string_view of) {
        return found.find_first_of(of) != std::string_view::npos;
    };
    const bool has_date = has_any("FDs") || (has_any("Yy") && (has_any("j") ||
                                                              (has_any("mbBh") && has_any("de"))));
    return has_date ? FG_PATTERN_GOOD : FG_PATTERN_WITHOUT_DATE;
}
