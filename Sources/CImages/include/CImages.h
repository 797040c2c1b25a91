// PNG, JPEG and WebP to rows of red, green and blue; libpng, libjpeg-turbo and libwebp are linked in statically. Their
// errors are caught here by setjmp: nothing jumps over a caller, and nothing is printed.
#ifndef CIMAGES_H
#define CIMAGES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CIMAGES_API __attribute__((visibility("hidden")))

enum { CIMAGES_NONE = 0, CIMAGES_PNG = 1, CIMAGES_JPEG = 2, CIMAGES_WEBP = 3 };
enum { CIMAGES_OK = 0, CIMAGES_DAMAGED = 1, CIMAGES_UNSUPPORTED = 2, CIMAGES_MEMORY = 3 };
enum { CIMAGES_MESSAGE = 240 };

typedef struct cimages_header {
    int32_t kind;
    uint32_t width;
    uint32_t height;
    // Bytes that decoding takes beside the result, an upper bound.
    double scratch;
} cimages_header;

// Reads the header alone; allocates nothing that grows with the picture.
CIMAGES_API int cimages_probe(const void *data, size_t size, cimages_header *header, char message[CIMAGES_MESSAGE]);

// Decodes into rgb [height, width, 3] of the header that cimages_probe gave. What is transparent is laid on white, or its
// colours are taken as they are stored. Of an animation, the first frame.
CIMAGES_API int cimages_decode(const void *data, size_t size, const cimages_header *header, bool on_white, void *rgb,
                               char message[CIMAGES_MESSAGE]);

// ---- resampling as Pillow does it (resample.c)

enum { CIMAGES_NEAREST = 0, CIMAGES_LANCZOS = 1, CIMAGES_BILINEAR = 2, CIMAGES_BICUBIC = 3, CIMAGES_BOX = 4, CIMAGES_HAMMING = 5 };

// Weights of output places [first, first + count) of a line of `in` pixels that becomes one of `out`.
typedef struct cimages_filter {
    size_t count;
    size_t taps;      // room for each place's weights
    int32_t *bounds;  // [count, 2]: first pixel and how many
    int32_t *weights; // [count, taps] in units of 2^-22
} cimages_filter;

// How many weights a place has at most, for a filter that is not the nearest pixel.
CIMAGES_API double cimages_taps(int filter, double in, double out);
// Fills bounds and weights, whose memory is the caller's.
CIMAGES_API void cimages_fill(int filter, uint32_t in, uint32_t out, size_t first, cimages_filter *result);
// Rows [from, to) of `source` [.., width, 3] filtered along the row into rows of `target` [.., count, 3]; row `from` of the
// source becomes row 0 of the target.
CIMAGES_API void cimages_across(const cimages_filter *filter, const uint8_t *source, size_t width, size_t from, size_t to,
                                uint8_t *target);
// Places [from, to) of the filter along columns: `source` [rows, width, 3] begins with picture row `offset`.
CIMAGES_API void cimages_down(const cimages_filter *filter, const uint8_t *source, size_t width, size_t offset, size_t from,
                              size_t to, uint8_t *target);
// target[y][x] = source[origin + x * across + y * down], in pixels of three bytes, for a target of width x height.
CIMAGES_API void cimages_turn(const uint8_t *source, int64_t origin, int64_t across, int64_t down, size_t width,
                              size_t height, uint8_t *target);
#endif
