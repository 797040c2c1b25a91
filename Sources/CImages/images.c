#include "CImages.h"
#include <stdio.h>
#include <string.h>
#include "internal.h"

// libpng.a of Debian is compiled for programs and reads stderr by its place, which a shared library cannot have; the linker
// sends every use here (--wrap=stderr). Nothing is written there: libpng gets error functions of our own.
extern FILE *__real_stderr;
CIMAGES_API extern FILE *__wrap_stderr;
FILE *__wrap_stderr;
// Before any other initialiser, which may want to print (libFuzzer's does).
__attribute__((constructor(101))) static void take_stderr(void) { __wrap_stderr = __real_stderr; }

int fail(char *message, int code, const char *text) {
    snprintf(message, CIMAGES_MESSAGE, "%s", text);
    return code;
}

static int kind_of(const uint8_t *data, size_t size) {
    if (size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) return CIMAGES_PNG;
    if (size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0) return CIMAGES_JPEG;
    if (size >= 16 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBPVP8", 7) == 0) return CIMAGES_WEBP;
    return CIMAGES_NONE;
}

int cimages_probe(const void *data, size_t size, cimages_header *header, char message[CIMAGES_MESSAGE]) {
    memset(header, 0, sizeof *header);
    header->kind = kind_of(data, size);
    switch (header->kind) {
        case CIMAGES_PNG: return png_probe(data, size, header, message);
        case CIMAGES_JPEG: return jpeg_probe(data, size, header, message);
        case CIMAGES_WEBP: return webp_probe(data, size, header, message);
        default: return fail(message, CIMAGES_UNSUPPORTED, "not a PNG, JPEG or WebP picture");
    }
}

int cimages_decode(const void *data, size_t size, const cimages_header *header, bool on_white, void *rgb,
                   char message[CIMAGES_MESSAGE]) {
    switch (header->kind) {
        case CIMAGES_PNG: return png_decode(data, size, header, on_white, rgb, message);
        case CIMAGES_JPEG: return jpeg_decode(data, size, header, rgb, message);
        case CIMAGES_WEBP: return webp_decode(data, size, header, on_white, rgb, message);
        default: return fail(message, CIMAGES_UNSUPPORTED, "not a PNG, JPEG or WebP picture");
    }
}

// Pillow's alpha_composite over an opaque white, in its fixed point.
static inline uint8_t over_white(uint32_t value, uint32_t alpha) {
    if (alpha == 0) return 255;
    uint32_t sum = value * (alpha << 7) + 255 * ((255 - alpha) << 7) + (0x80 << 7);
    return (uint8_t)((((sum >> 8) + sum) >> 8) >> 7);
}

void take_rgba(const uint8_t *from, uint8_t *to, size_t count, bool on_white) {
    for (size_t i = 0; i < count; i++, from += 4, to += 3)
        for (int c = 0; c < 3; c++) to[c] = on_white ? over_white(from[c], from[3]) : from[c];
}
