// Products with weights in bf16, for sampling: half the memory traffic of f32. This form widens the weights; CPUs with
// AVX512-BF16 multiply them as they are (half_bf16.c).
#if IS_F32
typedef uint16_t NAME(halves) __attribute__((ext_vector_type(VECTOR_BYTES / sizeof(T))));
typedef uint32_t NAME(words) __attribute__((ext_vector_type(VECTOR_BYTES / sizeof(T))));

static inline V NAME(widen)(const uint16_t *p, size_t n) {
    NAME(halves) h = (NAME(halves))(uint16_t)0;
    memcpy(&h, p, n * sizeof *p);
    return NAME(from_bits)((VI)(__builtin_convertvector(h, NAME(words)) << 16));
}

static inline __attribute__((always_inline)) void NAME(half_dots)(size_t rows, size_t wide, size_t depth,
                                                                  const float *x, const uint16_t *weight, float *y,
                                                                  size_t yPitch) {
    V s[4][4];
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) s[m][j] = SPLAT(0);
    for (size_t k = 0; k < depth; k += W) {
        const size_t n = depth - k < W ? depth - k : W;
        V column[4];
        for (size_t j = 0; j < wide; j++)
            column[j] = n == W ? NAME(widen)(weight + j * depth + k, W) : NAME(widen)(weight + j * depth + k, n);
        for (size_t m = 0; m < rows; m++) {
            V a = SOME(x, m * depth + k, n);
            for (size_t j = 0; j < wide; j++) s[m][j] = MULADD(a, column[j], s[m][j]);
        }
    }
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) y[m * yPitch + j] += (float)NAME(add_lanes)(s[m][j]);
}

static void NAME(half_matmul)(size_t rows, size_t depth, const float *x, const uint16_t *weight, float *y,
                              size_t yPitch, size_t first, size_t last) {
    for (size_t start = first; start < last; start += 32) {  // weights stay in the cache for all rows
        const size_t end = last - start < 32 ? last : start + 32;
        size_t m = 0;
        for (; m + 4 <= rows; m += 4)
            for (size_t n = start; n < end; n += 2) {
                const size_t wide = end - n < 2 ? end - n : 2;
                if (wide == 2)
                    NAME(half_dots)(4, 2, depth, x + m * depth, weight + n * depth, y + m * yPitch + n, yPitch);
                else
                    NAME(half_dots)(4, 1, depth, x + m * depth, weight + n * depth, y + m * yPitch + n, yPitch);
            }
        for (; m < rows; m++) {
            size_t n = start;
            for (; n + 4 <= end; n += 4)
                NAME(half_dots)(1, 4, depth, x + m * depth, weight + n * depth, y + m * yPitch + n, yPitch);
            for (; n < end; n++)
                NAME(half_dots)(1, 1, depth, x + m * depth, weight + n * depth, y + m * yPitch + n, yPitch);
        }
    }
}
#endif
