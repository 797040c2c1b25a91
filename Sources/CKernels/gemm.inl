// Matrix product from packed operands: a in blocks of CONV_ROWS rows [depth][rows], b in panels of LK_STRIP columns
// [depth][LK_STRIP]; the inner kernel is the convolutions'.

static inline __attribute__((always_inline)) void NAME(gemm_pack_block)(size_t rows, size_t depth, const T *a,
                                                                        size_t lda, bool transposed, T *to) {
    if (transposed) {
        for (size_t k = 0; k < depth; k++)
            for (size_t m = 0; m < rows; m++) to[k * rows + m] = a[k * lda + m];
        return;
    }
    size_t k = 0;
    for (; k + W <= depth; k += W) {
        V v[8], u[8];
        for (size_t m = 0; m < rows; m++) v[m] = AT(a, m * lda + k);
        for (size_t round = 1; round < rows; round *= 2) {
            for (size_t m = 0; m < rows / 2; m++) NAME(zip)(v[m], v[m + rows / 2], u + 2 * m, u + 2 * m + 1);
            for (size_t m = 0; m < rows; m++) v[m] = u[m];
        }
        for (size_t m = 0; m < rows; m++) NAME(store)(to + k * rows + m * W, v[m]);
    }
    for (; k < depth; k++)
        for (size_t m = 0; m < rows; m++) to[k * rows + m] = a[m * lda + k];
}

// Rows [first, last) of op(a) [rows, depth]; first a multiple of 8
static void NAME(gemm_pack_rows)(size_t rows, size_t depth, const void *as, size_t lda, bool transposed, void *packeds,
                                 size_t first, size_t last) {
    for (size_t i = first; i < last;) {
        const size_t block = NAME(conv_rows)(rows - i);
        const T *a = (const T *)as + (transposed ? i : i * lda);
        T *to = (T *)packeds + i * depth;
        switch (block) {
            case 1: NAME(gemm_pack_block)(1, depth, a, lda, transposed, to); break;
            case 2: NAME(gemm_pack_block)(2, depth, a, lda, transposed, to); break;
            case 4: NAME(gemm_pack_block)(4, depth, a, lda, transposed, to); break;
            default: NAME(gemm_pack_block)(CONV_ROWS, depth, a, lda, transposed, to); break;
        }
        i += block;
    }
}

// Panels [first, last) of op(b) [depth, columns]; the columns that the last one lacks are zero
static void NAME(gemm_pack_columns)(size_t columns, size_t depth, const void *bs, size_t ldb, bool transposed,
                                    void *packeds, size_t first, size_t last) {
    for (size_t p = first; p < last; p++) {
        const size_t j = p * LK_STRIP, n = columns - j < LK_STRIP ? columns - j : LK_STRIP;
        const T *b = (const T *)bs + (transposed ? j * ldb : j);
        T *to = (T *)packeds + j * depth;
        if (n < LK_STRIP) memset(to, 0, depth * LK_STRIP * sizeof(T));
        if (!transposed) {
            for (size_t k = 0; k < depth; k++) memcpy(to + k * LK_STRIP, b + k * ldb, n * sizeof(T));
            continue;
        }
        size_t i = 0;
        for (; i + W <= n; i += W) {
            size_t k = 0;
            for (; k + W <= depth; k += W) {
                V v[W], u[W];
                for (size_t m = 0; m < W; m++) v[m] = AT(b, (i + m) * ldb + k);
                for (size_t round = 1; round < W; round *= 2) {
                    for (size_t m = 0; m < W / 2; m++) NAME(zip)(v[m], v[m + W / 2], u + 2 * m, u + 2 * m + 1);
                    for (size_t m = 0; m < W; m++) v[m] = u[m];
                }
                for (size_t m = 0; m < W; m++) NAME(store)(to + (k + m) * LK_STRIP + i, v[m]);
            }
            for (; k < depth; k++)
                for (size_t m = 0; m < W; m++) to[k * LK_STRIP + i + m] = b[(i + m) * ldb + k];
        }
        for (; i < n; i++)
            for (size_t k = 0; k < depth; k++) to[k * LK_STRIP + i] = b[i * ldb + k];
    }
}

// c[m, p] (+)= sum over k of a[k][m] b[k][p] for all CONV_ROWS rows and LK_STRIP columns. What comes next is asked for
// early: the panel does not fit the first-level cache, and the CPU's own prefetching stays behind.
#if IS_F32 && VECTOR_BYTES == 64
static void NAME(gemm_tile)(size_t depth, const T *a, const T *b, T *c, size_t ldc, bool accumulate) {
    enum { WIDE = LK_STRIP / W };
    V s[CONV_ROWS][WIDE];
    for (size_t m = 0; m < CONV_ROWS; m++)
        for (size_t i = 0; i < WIDE; i++) {
            s[m][i] = SPLAT(0);
            __builtin_prefetch(c + m * ldc + i * W, 1);
        }
    for (size_t k = 0; k < depth; k++) {
        V v[WIDE];
        for (size_t i = 0; i < WIDE; i++) {
            v[i] = AT(b, k * LK_STRIP + i * W);
            __builtin_prefetch(b + (k + 12) * LK_STRIP + i * W);
        }
        for (size_t m = 0; m < CONV_ROWS; m++) {
            V factor = SPLAT(a[k * CONV_ROWS + m]);
            for (size_t i = 0; i < WIDE; i++) s[m][i] = MULADD(factor, v[i], s[m][i]);
        }
    }
    for (size_t m = 0; m < CONV_ROWS; m++)
        for (size_t i = 0; i < WIDE; i++) {
            T *to = c + m * ldc + i * W;
            NAME(store)(to, accumulate ? AT(to, 0) + s[m][i] : s[m][i]);
        }
}
#endif

static void NAME(gemm_block)(size_t rows, size_t columns, size_t depth, const void *as, const void *bs, void *cs,
                             size_t ldc, bool accumulate, size_t rowFirst, size_t rowLast, size_t panelFirst,
                             size_t panelLast) {
    const T *a = as, *b = bs;
    T *c = cs;
    int32_t offset[LK_GEMM_DEPTH];
    for (size_t k = 0; k < depth; k++) offset[k] = (int32_t)(k * LK_STRIP);
    for (size_t p = panelFirst; p < panelLast; p++) {
        const size_t j = p * LK_STRIP, n = columns - j < LK_STRIP ? columns - j : LK_STRIP;
        for (size_t i = rowFirst; i < rowLast;) {
            const size_t block = NAME(conv_rows)(rows - i);
#if IS_F32 && VECTOR_BYTES == 64
            if (block == CONV_ROWS && n == LK_STRIP)
                NAME(gemm_tile)(depth, a + i * depth, b + j * depth, c + i * ldc + j, ldc, accumulate);
            else
#endif
            NAME(conv_strip)(block, depth, offset, a + i * depth, b + j * depth, c + i * ldc + j, ldc, NULL, accumulate,
                             n);
            i += block;
        }
    }
}
