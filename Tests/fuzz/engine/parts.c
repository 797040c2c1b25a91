#include "mutate.h"

#include <string.h>

size_t split_parts(const uint8_t *data, size_t size, struct part parts[PARTS]) {
    size_t count = 0;
    for (size_t at = 0; count < PARTS && size - at >= 4;) {
        uint32_t length;
        memcpy(&length, data + at, 4);
        at += 4;
        if (length > size - at || count == PARTS - 1) { length = (uint32_t)(size - at); }
        parts[count++] = (struct part){data + at, length};
        at += length;
    }
    return count;
}
