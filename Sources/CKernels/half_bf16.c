// bf16 products with AVX512-BF16: vdpbf16ps adds two products of bf16 to a float.
#include <immintrin.h>
#include "headers.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))), apply_to = function)

static inline __m512bh load32(const uint16_t *p, size_t n) {
    const __mmask32 mask = n >= 32 ? 0xffffffffu : (1u << n) - 1;
    return (__m512bh)_mm512_maskz_loadu_epi16(mask, p);
}

static inline __attribute__((always_inline)) void dots(size_t rows, size_t wide, size_t depth, const uint16_t *x,
                                                       const uint16_t *weight, float *y, size_t yPitch) {
    __m512 s[8][8];
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) s[m][j] = _mm512_setzero_ps();
    size_t k = 0;
    for (; k + 32 <= depth; k += 32) {
        __m512bh column[8];
        for (size_t j = 0; j < wide; j++) column[j] = (__m512bh)_mm512_loadu_si512(weight + j * depth + k);
        for (size_t m = 0; m < rows; m++) {
            const __m512bh a = (__m512bh)_mm512_loadu_si512(x + m * depth + k);
            for (size_t j = 0; j < wide; j++) s[m][j] = _mm512_dpbf16_ps(s[m][j], a, column[j]);
        }
    }
    if (k < depth)
        for (size_t m = 0; m < rows; m++) {
            const __m512bh a = load32(x + m * depth + k, depth - k);
            for (size_t j = 0; j < wide; j++)
                s[m][j] = _mm512_dpbf16_ps(s[m][j], a, load32(weight + j * depth + k, depth - k));
        }
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) y[m * yPitch + j] += _mm512_reduce_add_ps(s[m][j]);
}

// `rows` rows of x against the weights' rows [start, end), `wide` at a time
static inline __attribute__((always_inline)) void panel(size_t rows, size_t wide, size_t depth, const uint16_t *x,
                                                        const uint16_t *weight, float *y, size_t yPitch, size_t start,
                                                        size_t end) {
    size_t n = start;
    for (; n + wide <= end; n += wide) dots(rows, wide, depth, x, weight + n * depth, y + n, yPitch);
    for (; n < end; n++) dots(rows, 1, depth, x, weight + n * depth, y + n, yPitch);
}

void lk_half_matmul_bf16(size_t rows, size_t depth, const uint16_t *x, const uint16_t *weight, float *y,
                         size_t yPitch, size_t first, size_t last) {
    for (size_t start = first; start < last; start += 32) {  // weights stay in the cache for all rows
        const size_t end = last - start < 32 ? last : start + 32;
        size_t m = 0;
        for (; m + 6 <= rows; m += 6) panel(6, 4, depth, x + m * depth, weight, y + m * yPitch, yPitch, start, end);
        for (; m + 4 <= rows; m += 4) panel(4, 4, depth, x + m * depth, weight, y + m * yPitch, yPitch, start, end);
        for (; m < rows; m++) panel(1, 8, depth, x + m * depth, weight, y + m * yPitch, yPitch, start, end);
    }
}
#pragma clang attribute pop
