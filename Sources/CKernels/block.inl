// Matrix products of blocks that are in the cache already: attention tiles, chunks of a scan. Nothing is packed.
#undef BLOCK_ROWS
#if VECTOR_BYTES == 64
#define BLOCK_ROWS 12  // 24 of 32 registers accumulate
#else
#define BLOCK_ROWS 6  // 12 of 16
#endif

// A whole vector or the first n lanes of one
static inline V NAME(load_some)(const T *p, size_t n) { return n == W ? NAME(load)(p) : NAME(load_part)(p, n); }
static inline void NAME(store_some)(T *p, size_t n, V v) {
    if (n == W)
        NAME(store)(p, v);
    else
        NAME(store_part)(p, n, v);
}
#undef SOME
#define SOME(p, i, n) NAME(load_some)((p) + (i), n)

// `rows` x `wide` vectors of c in registers
static inline __attribute__((always_inline)) void NAME(block_tile)(size_t rows, size_t wide, size_t depth, const T *a,
                                                                   size_t am, size_t ak, const T *b, size_t ldb, T *c,
                                                                   size_t ldc, bool accumulate) {
    V s[BLOCK_ROWS][8];
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < wide; j++) s[i][j] = accumulate ? AT(c, i * ldc + j * W) : SPLAT(0);
    for (size_t k = 0; k < depth; k++) {
        V column[8];
        for (size_t j = 0; j < wide; j++) column[j] = AT(b, k * ldb + j * W);
        for (size_t i = 0; i < rows; i++) {
            V x = SPLAT(a[i * am + k * ak]);
            for (size_t j = 0; j < wide; j++) s[i][j] = MULADD(x, column[j], s[i][j]);
        }
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < wide; j++) NAME(store)(c + i * ldc + j * W, s[i][j]);
}

// `wide` vectors of columns, all m rows: b's panel stays in the first-level cache
static inline __attribute__((always_inline)) void NAME(block_panel)(size_t wide, size_t m, size_t depth, const T *a,
                                                                    size_t am, size_t ak, const T *b, size_t ldb, T *c,
                                                                    size_t ldc, bool accumulate) {
    size_t i = 0;
    for (; i + BLOCK_ROWS <= m; i += BLOCK_ROWS)
        NAME(block_tile)(BLOCK_ROWS, wide, depth, a + i * am, am, ak, b, ldb, c + i * ldc, ldc, accumulate);
    for (; i + 4 <= m; i += 4)
        NAME(block_tile)(4, wide, depth, a + i * am, am, ak, b, ldb, c + i * ldc, ldc, accumulate);
    for (; i < m; i++) NAME(block_tile)(1, wide, depth, a + i * am, am, ak, b, ldb, c + i * ldc, ldc, accumulate);
}

// c [m, n] = a b, or c += when `accumulate`: a(i, k) at a[i * am + k * ak], rows of b and c ldb and ldc apart
static void NAME(block_matmul)(size_t m, size_t n, size_t depth, const T *a, size_t am, size_t ak, const T *b,
                               size_t ldb, T *c, size_t ldc, bool accumulate) {
    size_t j = 0;
    // One row: eight chains of additions hide the latency that two would wait for.
    if (m == 1)
        for (; j + 8 * W <= n; j += 8 * W) NAME(block_tile)(1, 8, depth, a, am, ak, b + j, ldb, c + j, ldc, accumulate);
    for (; j + 2 * W <= n; j += 2 * W) NAME(block_panel)(2, m, depth, a, am, ak, b + j, ldb, c + j, ldc, accumulate);
    for (; j + W <= n; j += W) NAME(block_panel)(1, m, depth, a, am, ak, b + j, ldb, c + j, ldc, accumulate);
    for (; j < n; j++)
        for (size_t i = 0; i < m; i++) {
            T s = accumulate ? c[i * ldc + j] : 0;
            for (size_t k = 0; k < depth; k++) s += a[i * am + k * ak] * b[k * ldb + j];
            c[i * ldc + j] = s;
        }
}

// y[c, r] = x[r, c]; rows are `xPitch` and `yPitch` apart
static void NAME(block_transpose)(size_t rows, size_t columns, const T *x, size_t xPitch, T *y, size_t yPitch) {
    for (size_t r = 0; r < rows; r += 16) {
        const size_t nr = rows - r < 16 ? rows - r : 16;
        for (size_t c = 0; c < columns; c++) {
            const T *from = x + r * xPitch + c;
            T *to = y + c * yPitch + r;
            if (nr == 16)
                for (size_t i = 0; i < 16; i++) to[i] = from[i * xPitch];
            else
                for (size_t i = 0; i < nr; i++) to[i] = from[i * xPitch];
        }
    }
}

// y = p x
static inline void NAME(block_scale)(size_t n, T p, const T *x, T *y) {
    const V s = SPLAT(p);
    size_t i = 0;
    for (; i + W <= n; i += W) NAME(store)(y + i, s * AT(x, i));
    for (; i < n; i++) y[i] = p * x[i];
}

// y += x
static inline void NAME(block_add)(size_t n, const T *x, T *y) {
    size_t i = 0;
    for (; i + W <= n; i += W) NAME(store)(y + i, AT(y, i) + AT(x, i));
    for (; i < n; i++) y[i] += x[i];
}
