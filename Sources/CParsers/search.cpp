#include "CParsers.h"

#include <cstring>

bool fg_holds(const uint8_t *bytes, int64_t count, const uint8_t *text, int64_t length) {
    return memmem(bytes, size_t(count), text, size_t(length)) != nullptr;
}
