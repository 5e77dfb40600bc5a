#include "plan.h"

#include <cmath>

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

/* Z, z, UTC, or ±hh[[:]mm], to the end; nothing at all is UTC. */
bool read_zone(Cursor &text, int64_t *offset_secs) {
    *offset_secs = 0;
    if (text.done()) return true;
    if (text.take(' ') && text.done()) return false;
    if (text.take('Z') || text.take('z')) return text.done();
    if (text.take('U')) return text.take('T') && text.take('C') && text.done();
    const bool west = text.take('-');
    if (!west && !text.take('+')) return false;
    int hours = 0, minutes = 0;
    if (!text.digits(2, &hours)) return false;
    if (!text.done()) {
        text.take(':');
        if (!text.digits(2, &minutes)) return false;
    }
    if (!text.done() || hours > 23 || minutes > 59) return false;
    *offset_secs = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

/* hh:mm[:ss[.fraction]] */
bool read_clock(Cursor &text, double *secs) {
    int hour, minute, second = 0;
    double fraction = 0;
    if (!text.digits(2, &hour) || !text.take(':') || !text.digits(2, &minute)) return false;
    if (text.take(':')) {
        if (!text.digits(2, &second)) return false;
        if (text.take('.') || text.take(',')) {
            if (!text.next_is_digit()) return false;
            double place = 1;
            int64_t digits = 0;
            for (int i = 0; text.next_is_digit(); i++, text.at++) {
                if (i >= 15) continue;
                digits = digits * 10 + (*text.at - '0');
                place *= 10;
            }
            fraction = static_cast<double>(digits) / place;
        }
    }
    const bool end_of_day = hour == 24 && minute == 0 && second == 0 && fraction == 0;
    if ((hour > 23 && !end_of_day) || minute > 59 || second > 60) return false;
    *secs = hour * 3600 + minute * 60 + second + fraction;
    return true;
}

bool read_calendar(Cursor text, double *seconds) {
    int year, month, day;
    if (!text.digits(4, &year)) return false;
    const uint8_t mark = text.take('-') ? '-' : text.take('/') ? '/' : 0;
    if (mark == 0 || !text.digits(2, &month) || !text.take(mark) || !text.digits(2, &day)) {
        return false;
    }
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month)) return false;
    double clock = 0;
    int64_t zone = 0;
    if (!text.done()) {
        if (!text.take('T') && !text.take('t') && !text.take(' ')) return false;
        if (!read_clock(text, &clock) || !read_zone(text, &zone)) return false;
    }
    *seconds = static_cast<double>(days_from_civil(year, month, day) * 86400 - zone) + clock;
    return true;
}

bool read_epoch(const uint8_t *bytes, int64_t count, double *seconds) {
    double value;
    if (!fg_number_parse(bytes, count, &value) || !std::isfinite(value)) return false;
    const double size = std::fabs(value);
    const double unit = size < 1e11 ? 1 : size < 1e14 ? 1e3 : size < 1e17 ? 1e6 : 1e9;
    *seconds = value / unit;
    return size / unit < 1e11;
}

}  // namespace

extern "C" bool fg_time_parse(const uint8_t *bytes, int64_t count, double *seconds) {
    if (count <= 0) return false;
    return read_calendar(Cursor{bytes, bytes + count}, seconds) ||
           read_epoch(bytes, count, seconds);
}
