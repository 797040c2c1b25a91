// Pillow's resampling of 8-bit pictures (Resample.c): a filter that widens with the reduction, so that every pixel counts;
// weights in fixed point of 22 bits; across first, then down, rounded to 8 bits in between.
#include <math.h>
#include <string.h>
#include "CImages.h"

enum { PRECISION = 32 - 8 - 2 };

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }

static double bilinear(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static double hamming(double x) {
    x = fabs(x);
    if (x == 0) return 1;
    if (x >= 1) return 0;
    x *= M_PI;
    return sin(x) / x * (0.54 + 0.46 * cos(x));
}

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static double sinc(double x) {
    if (x == 0) return 1;
    x *= M_PI;
    return sin(x) / x;
}

static double lanczos(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }

typedef double (*kernel)(double);

static kernel kernel_of(int filter, double *support) {
    switch (filter) {
        case CIMAGES_LANCZOS: *support = 3; return lanczos;
        case CIMAGES_BICUBIC: *support = 2; return bicubic;
        case CIMAGES_BOX: *support = 0.5; return box;
        case CIMAGES_HAMMING: *support = 1; return hamming;
        default: *support = 1; return bilinear;
    }
}

double cimages_taps(int filter, double in, double out) {
    double support;
    kernel_of(filter, &support);
    double scale = in / out;
    return ceil(support * (scale < 1 ? 1 : scale)) * 2 + 1;
}

// The nearest pixel: Pillow adds up the step, and so do we.
static void fill_nearest(uint32_t in, uint32_t out, size_t first, cimages_filter *result) {
    double step = (double)in / out, at = step * 0.5;
    for (size_t i = 0; i < first + result->count; i++, at += step) {
        if (i < first) continue;
        uint32_t pixel = (uint32_t)at;
        result->bounds[2 * (i - first)] = (int32_t)(pixel < in ? pixel : in - 1);
        result->bounds[2 * (i - first) + 1] = 1;
        result->weights[(i - first) * result->taps] = 1 << PRECISION;
    }
}

void cimages_fill(int filter, uint32_t in, uint32_t out, size_t first, cimages_filter *result) {
    if (filter == CIMAGES_NEAREST) {
        fill_nearest(in, out, first, result);
        return;
    }
    double support;
    kernel weight = kernel_of(filter, &support);
    double scale = (double)in / out, widened = scale < 1 ? 1 : scale;
    support *= widened;
    double narrowed = 1.0 / widened;
    for (size_t i = 0; i < result->count; i++) {
        double center = ((double)(first + i) + 0.5) * scale, sum = 0;
        int64_t low = (int64_t)(center - support + 0.5), high = (int64_t)(center + support + 0.5);
        if (low < 0) low = 0;
        if (high > in) high = in;
        int32_t *weights = result->weights + i * result->taps;
        int64_t count = high - low;
        for (int64_t x = 0; x < count; x++) sum += weight(((double)(x + low) - center + 0.5) * narrowed);
        for (int64_t x = 0; x < count; x++) {
            double w = weight(((double)(x + low) - center + 0.5) * narrowed);
            if (sum != 0) w /= sum;
            weights[x] = (int32_t)(w < 0 ? -0.5 + w * (1 << PRECISION) : 0.5 + w * (1 << PRECISION));
        }
        result->bounds[2 * i] = (int32_t)low;
        result->bounds[2 * i + 1] = (int32_t)count;
    }
}

static inline uint8_t clipped(int32_t sum) {
    sum >>= PRECISION;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

void cimages_across(const cimages_filter *f, const uint8_t *source, size_t width, size_t from, size_t to, uint8_t *target) {
    for (size_t y = from; y < to; y++) {
        const uint8_t *row = source + y * width * 3;
        uint8_t *out = target + (y - from) * f->count * 3;
        for (size_t i = 0; i < f->count; i++, out += 3) {
            const int32_t *weights = f->weights + i * f->taps;
            const uint8_t *at = row + (size_t)f->bounds[2 * i] * 3;
            int32_t r = 1 << (PRECISION - 1), g = r, b = r;
            for (int32_t x = 0, n = f->bounds[2 * i + 1]; x < n; x++, at += 3) {
                r += at[0] * weights[x];
                g += at[1] * weights[x];
                b += at[2] * weights[x];
            }
            out[0] = clipped(r);
            out[1] = clipped(g);
            out[2] = clipped(b);
        }
    }
}

void cimages_down(const cimages_filter *f, const uint8_t *source, size_t width, size_t offset, size_t from, size_t to,
                  uint8_t *target) {
    enum { PIECE = 1024 };
    int32_t sums[PIECE];
    size_t row = width * 3;
    for (size_t i = from; i < to; i++) {
        const int32_t *weights = f->weights + i * f->taps;
        const uint8_t *first = source + ((size_t)f->bounds[2 * i] - offset) * row;
        for (size_t start = 0; start < row; start += PIECE) {
            size_t count = row - start < PIECE ? row - start : PIECE;
            for (size_t x = 0; x < count; x++) sums[x] = 1 << (PRECISION - 1);
            for (int32_t y = 0, n = f->bounds[2 * i + 1]; y < n; y++) {
                const uint8_t *at = first + (size_t)y * row + start;
                for (size_t x = 0; x < count; x++) sums[x] += at[x] * weights[y];
            }
            for (size_t x = 0; x < count; x++) target[i * row + start + x] = clipped(sums[x]);
        }
    }
}

void cimages_turn(const uint8_t *source, int64_t origin, int64_t across, int64_t down, size_t width, size_t height,
                  uint8_t *target) {
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++, target += 3)
            memcpy(target, source + 3 * (origin + (int64_t)x * across + (int64_t)y * down), 3);
}
