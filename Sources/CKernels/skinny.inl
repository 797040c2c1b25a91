// Matrix product with few rows, where packing for a full product costs more than the product.

static inline void NAME(put)(T *c, size_t cm, size_t cn, size_t m, size_t n, T value, bool accumulate) {
    T *at = c + m * cm + n * cn;
    *at = accumulate ? *at + value : value;
}

// b [columns, depth]: `rows` x `wide` dot products at a time, in registers.
static inline __attribute__((always_inline)) void NAME(skinny_dots)(size_t rows, size_t wide, size_t depth, const T *a,
                                                                    size_t lda, const T *b, size_t ldb, T *c, size_t cm,
                                                                    size_t cn, bool accumulate, size_t n,
                                                                    const T *next, size_t ahead) {
    V s[8 * 6];
    for (size_t i = 0; i < rows * wide; i++) s[i] = SPLAT(0);
    size_t k = 0;
    for (; k + W <= depth; k += W) {
        V column[6];
        for (size_t j = 0; j < wide; j++) column[j] = AT(b, (n + j) * ldb + k);
        for (size_t i = 0; i < ahead; i++) __builtin_prefetch(next + i * ldb + k, 0, 2);
        for (size_t m = 0; m < rows; m++) {
            V x = AT(a, m * lda + k);
            for (size_t j = 0; j < wide; j++) s[m * wide + j] = MULADD(x, column[j], s[m * wide + j]);
        }
    }
    if (k < depth)
        for (size_t m = 0; m < rows; m++) {
            V x = PART(a, m * lda + k, depth - k);
            for (size_t j = 0; j < wide; j++)
                s[m * wide + j] = MULADD(x, PART(b, (n + j) * ldb + k, depth - k), s[m * wide + j]);
        }
    T sums[8 * 6];
    NAME(lane_sums)(rows * wide, s, sums);
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) NAME(put)(c, cm, cn, m, n + j, sums[m * wide + j], accumulate);
}

// b [depth, columns]: `wide` vectors of columns at a time.
static inline __attribute__((always_inline)) void NAME(skinny_axpys)(size_t rows, size_t wide, size_t depth, const T *a,
                                                                     size_t lda, const T *b, size_t ldb, T *c, size_t cm,
                                                                     size_t cn, bool accumulate, size_t n) {
    V s[8][4];
    for (size_t m = 0; m < rows; m++)
        for (size_t j = 0; j < wide; j++) s[m][j] = SPLAT(0);
    for (size_t k = 0; k < depth; k++) {
        V column[4];
        for (size_t j = 0; j < wide; j++) column[j] = AT(b, k * ldb + n + j * W);
        for (size_t m = 0; m < rows; m++) {
            V x = SPLAT(a[m * lda + k]);
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

static inline __attribute__((always_inline)) void NAME(skinny_rows)(size_t rows, size_t depth, const T *a,
                                                                    size_t lda, const T *b, size_t ldb, T *c, size_t cm,
                                                                    size_t cn, bool accumulate, size_t first,
                                                                    size_t last) {
    const size_t wide = rows <= 4 ? 4 : 2;  // 16 accumulators: what AVX2 has registers for
    size_t n = first;
    for (; n + wide * W <= last; n += wide * W)
        NAME(skinny_axpys)(rows, wide, depth, a, lda, b, ldb, c, cm, cn, accumulate, n);
    for (; n + W <= last; n += W) NAME(skinny_axpys)(rows, 1, depth, a, lda, b, ldb, c, cm, cn, accumulate, n);
    if (n == last) return;
    for (size_t m = 0; m < rows; m++) {
        V s = SPLAT(0);
        for (size_t k = 0; k < depth; k++)
            s = MULADD(SPLAT(a[m * lda + k]), PART(b, k * ldb + n, last - n), s);
        for (size_t lane = 0; lane < last - n; lane++) NAME(put)(c, cm, cn, m, n + lane, s[lane], accumulate);
    }
}

// b [columns, depth], `rows` <= 4 rows of a, `wide` columns
static void NAME(skinny_corner)(size_t rows, size_t wide, size_t depth, const T *a, size_t lda, const T *b, size_t ldb,
                                T *c, size_t cm, size_t cn, bool accumulate, size_t n, const T *next, size_t ahead) {
#define CORNER(r, w)                                                                                     \
    case r * 8 + w: NAME(skinny_dots)(r, w, depth, a, lda, b, ldb, c, cm, cn, accumulate, n, next, ahead); break
    switch (rows * 8 + wide) {
        CORNER(1, 1);
        CORNER(2, 1);
        CORNER(3, 1);
        CORNER(4, 1);
        CORNER(1, 4);
        CORNER(2, 4);
        CORNER(3, 4);
        CORNER(4, 4);
#if VECTOR_BYTES == 64
        CORNER(1, 6);
        CORNER(2, 6);
        CORNER(3, 6);
        CORNER(4, 6);
#endif
    }
#undef CORNER
}

// One row of a: each row of b is read from end to end, as memory likes it best.
static void NAME(skinny_one)(size_t depth, const T *a, const T *b, size_t ldb, T *c, size_t cn, bool accumulate,
                             size_t first, size_t last) {
    for (size_t n = first; n < last; n += 4) {
        const size_t columns = last - n < 4 ? last - n : 4;
        V s[4] = {SPLAT(0), SPLAT(0), SPLAT(0), SPLAT(0)};
        for (size_t j = 0; j < columns; j++) {
            const T *row = b + (n + j) * ldb;
            V sum[8];
            for (size_t i = 0; i < 8; i++) sum[i] = SPLAT(0);
            size_t k = 0;
            for (; k + 8 * W <= depth; k += 8 * W)
                for (size_t i = 0; i < 8; i++) sum[i] = MULADD(AT(a, k + i * W), AT(row, k + i * W), sum[i]);
            for (; k + W <= depth; k += W) sum[0] = MULADD(AT(a, k), AT(row, k), sum[0]);
            if (k < depth) sum[1] = MULADD(PART(a, k, depth - k), PART(row, k, depth - k), sum[1]);
            s[j] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
        }
        T sums[4];
        NAME(lane_sums)(4, s, sums);
        for (size_t j = 0; j < columns; j++) NAME(put)(c, 0, cn, 0, n + j, sums[j], accumulate);
    }
}

// Columns are the outer loop: a few rows of b stay in the first-level cache while all rows of a pass.
static void NAME(skinny_by_columns)(size_t rows, size_t depth, const T *a, size_t lda, const T *b, size_t ldb, T *c,
                                    size_t cm, size_t cn, bool accumulate, size_t first, size_t last) {
    const size_t most = rows > 2 && VECTOR_BYTES == 64 ? 6 : 4, block = rows > 4 ? 1024 : depth;
    for (size_t k = 0; k < depth; k += block) {
        size_t count = depth - k < block ? depth - k : block;
        for (size_t n = first; n < last;) {
            size_t wide = last - n >= most ? most : last - n >= 4 ? 4 : 1;
            // While they are multiplied, the columns that come next are fetched, evenly over the passes; at the end
            // those of the next chunk, which this thread takes next.
            const size_t passes = (rows + 3) / 4, each = passes > 1 ? (wide + passes - 1) / passes : 0;
            for (size_t m = 0; m < rows; m += 4) {
                const size_t done = m / 4 * each, ahead = done < wide ? each : 0;
                NAME(skinny_corner)(rows - m < 4 ? rows - m : 4, wide, count, a + m * lda + k, lda, b + k, ldb,
                                    c + m * cm, cm, cn, accumulate || k > 0, n, b + (n + wide + done) * ldb + k, ahead);
            }
            n += wide;
        }
    }
}

static void NAME(skinny_matmul)(bool rowsOfB, size_t rows, size_t depth, const void *as, size_t lda, const void *b,
                                size_t ldb, void *cs, size_t cm, size_t cn, bool accumulate, size_t first, size_t last) {
    const T *a = as;
    T *c = cs;
    if (rowsOfB && rows == 1) {
        NAME(skinny_one)(depth, a, b, ldb, c, cn, accumulate, first, last);
        return;
    }
    if (rowsOfB && depth > 0) {
        NAME(skinny_by_columns)(rows, depth, a, lda, b, ldb, c, cm, cn, accumulate, first, last);
        return;
    }
#define ROWS(r) \
    case r: NAME(skinny_rows)(r, depth, a, lda, b, ldb, c, cm, cn, accumulate, first, last); break
    for (; rows > 0; a += 8 * lda, c += 8 * cm, rows -= rows < 8 ? rows : 8)
        switch (rows < 8 ? rows : 8) {
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
