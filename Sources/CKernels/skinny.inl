// Matrix product with at most 8 rows, where packing for a full product costs more than the product.

static inline void NAME(put)(T *c, size_t cm, size_t cn, size_t m, size_t n, T value, bool accumulate) {
    T *at = c + m * cm + n * cn;
    *at = accumulate ? *at + value : value;
}

// b [columns, depth]: `rows` x `wide` dot products at a time, in registers.
static inline __attribute__((always_inline)) void NAME(skinny_dots)(size_t rows, size_t wide, size_t depth, const T *a,
                                                                    const T *b, size_t ldb, T *c, size_t cm, size_t cn,
                                                                    bool accumulate, size_t n) {
    V s[8 * 4];
    for (size_t i = 0; i < rows * wide; i++) s[i] = SPLAT(0);
    size_t k = 0;
    for (; k + W <= depth; k += W) {
        V column[4];
        for (size_t j = 0; j < wide; j++) {
            column[j] = AT(b, (n + j) * ldb + k);
            // The rows of b that come next: the CPU's own prefetching ends with the row.
            __builtin_prefetch(b + (n + j + wide) * ldb + k);
        }
        for (size_t m = 0; m < rows; m++) {
            V x = AT(a, m * depth + k);
            for (size_t j = 0; j < wide; j++) s[m * wide + j] = MULADD(x, column[j], s[m * wide + j]);
        }
    }
    if (k < depth)
        for (size_t m = 0; m < rows; m++) {
            V x = PART(a, m * depth + k, depth - k);
            for (size_t j = 0; j < wide; j++)
                s[m * wide + j] = MULADD(x, PART(b, (n + j) * ldb + k, depth - k), s[m * wide + j]);
        }
    T sums[8 * 4];
    NAME(lane_sums)(rows * wide, s, sums);
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) NAME(put)(c, cm, cn, m, n + j, sums[m * wide + j], accumulate);
}

// b [depth, columns]: `wide` vectors of columns at a time.
static inline __attribute__((always_inline)) void NAME(skinny_axpys)(size_t rows, size_t wide, size_t depth, const T *a,
                                                                     const T *b, size_t ldb, T *c, size_t cm, size_t cn,
                                                                     bool accumulate, size_t n) {
    V s[8][4];
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) s[m][j] = SPLAT(0);
    for (size_t k = 0; k < depth; k++) {
        V column[4];
        for (size_t j = 0; j < wide; j++) column[j] = AT(b, k * ldb + n + j * W);
        for (size_t m = 0; m < rows; m++) {
            V x = SPLAT(a[m * depth + k]);
            for (size_t j = 0; j < wide; j++) s[m][j] = MULADD(x, column[j], s[m][j]);
        }
    }
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) {
            if (cn == 1) {
                T *at = c + m * cm + n + j * W;
                NAME(store)(at, accumulate ? AT(at, 0) + s[m][j] : s[m][j]);
            } else {
                for (size_t lane = 0; lane < W; lane++)
                    NAME(put)(c, cm, cn, m, n + j * W + lane, s[m][j][lane], accumulate);
            }
        }
}

static inline __attribute__((always_inline)) void NAME(skinny_rows)(bool rowsOfB, size_t rows, size_t depth, const T *a,
                                                                    const T *b, size_t ldb, T *c, size_t cm, size_t cn,
                                                                    bool accumulate, size_t first, size_t last) {
    // As many accumulators as there are registers for
    const size_t wide = rows <= 4 ? 4 : VECTOR_BYTES == 64 ? 3 : 2;
    size_t n = first;
    if (rowsOfB) {
        for (; n + wide <= last; n += wide)
            NAME(skinny_dots)(rows, wide, depth, a, b, ldb, c, cm, cn, accumulate, n);
        for (; n < last; n++) NAME(skinny_dots)(rows, 1, depth, a, b, ldb, c, cm, cn, accumulate, n);
        return;
    }
    for (; n + wide * W <= last; n += wide * W)
        NAME(skinny_axpys)(rows, wide, depth, a, b, ldb, c, cm, cn, accumulate, n);
    for (; n + W <= last; n += W) NAME(skinny_axpys)(rows, 1, depth, a, b, ldb, c, cm, cn, accumulate, n);
    if (n == last) return;
    for (size_t m = 0; m < rows; m++) {
        V s = SPLAT(0);
        for (size_t k = 0; k < depth; k++)
            s = MULADD(SPLAT(a[m * depth + k]), PART(b, k * ldb + n, last - n), s);
        for (size_t lane = 0; lane < last - n; lane++) NAME(put)(c, cm, cn, m, n + lane, s[lane], accumulate);
    }
}

static void NAME(skinny_matmul)(bool rowsOfB, size_t rows, size_t depth, const void *a, const void *b, size_t ldb,
                                void *c, size_t cm, size_t cn, bool accumulate, size_t first, size_t last) {
#define ROWS(r) \
    case r: NAME(skinny_rows)(rowsOfB, r, depth, a, b, ldb, c, cm, cn, accumulate, first, last); break
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
        ROWS(7);
        ROWS(8);
    }
#undef ROWS
}
