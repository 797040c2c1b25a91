// Sums. Vectors of four accumulators over blocks, blocks in double: the rounding error does not grow with n.
enum { NAME(block) = 1024 };

#undef REDUCE
#define REDUCE(vectorTerm, partTerm)                                                        \
    double total = 0;                                                                       \
    for (size_t start = 0; start < n; start += NAME(block)) {                               \
        size_t end = n - start < NAME(block) ? n : start + NAME(block), i = start;          \
        V s0 = SPLAT(0), s1 = s0, s2 = s0, s3 = s0;                                         \
        for (; i + 4 * W <= end; i += 4 * W) {                                              \
            s0 = vectorTerm(i, s0);                                                         \
            s1 = vectorTerm(i + W, s1);                                                     \
            s2 = vectorTerm(i + 2 * W, s2);                                                 \
            s3 = vectorTerm(i + 3 * W, s3);                                                 \
        }                                                                                   \
        for (; i + W <= end; i += W) s0 = vectorTerm(i, s0);                                \
        if (i < end) s1 = partTerm(i, end - i, s1);                                         \
        total += NAME(add_lanes)((s0 + s1) + (s2 + s3));                                    \
    }                                                                                       \
    return total

#undef AT
#undef PART
#define AT(p, i) NAME(load)((p) + (i))
#define PART(p, i, m) NAME(load_part)((p) + (i), m)

static double NAME(sum)(size_t n, const void *xs) {
    const T *x = xs;
#define WHOLE(i, s) (s + AT(x, i))
#define REST(i, m, s) (s + PART(x, i, m))
    REDUCE(WHOLE, REST);
#undef WHOLE
#undef REST
}

static double NAME(dot)(size_t n, const void *xs, const void *ys) {
    const T *x = xs, *y = ys;
#define WHOLE(i, s) MULADD(AT(x, i), AT(y, i), s)
#define REST(i, m, s) MULADD(PART(x, i, m), PART(y, i, m), s)
    REDUCE(WHOLE, REST);
#undef WHOLE
#undef REST
}

static inline V NAME(weighted_square)(V x, V y, V w, V s) {
    V d = x - y;
    return MULADD(w * d, d, s);
}

static double NAME(squared_distance)(size_t n, const void *xs, const void *ys, const void *ws) {
    const T *x = xs, *y = ys, *w = ws;
#define WHOLE(i, s) NAME(weighted_square)(AT(x, i), AT(y, i), w ? AT(w, i) : SPLAT(1), s)
#define REST(i, m, s) NAME(weighted_square)(PART(x, i, m), PART(y, i, m), w ? PART(w, i, m) : SPLAT(1), s)
    REDUCE(WHOLE, REST);
#undef WHOLE
#undef REST
}

// [reduced, inner] -> y[inner]: columns in registers over 64 rows, then the blocks are added up.
static void NAME(sum_columns)(size_t reduced, size_t inner, const T *x, T *y) {
    for (size_t c = 0; c < inner; c++) y[c] = 0;
    for (size_t start = 0; start < reduced; start += 64) {
        size_t end = reduced - start < 64 ? reduced : start + 64, c = 0;
        for (; c + 4 * W <= inner; c += 4 * W) {
            V s0 = SPLAT(0), s1 = s0, s2 = s0, s3 = s0;
            for (size_t r = start; r < end; r++) {
                const T *row = x + r * inner + c;
                s0 += AT(row, 0), s1 += AT(row, W), s2 += AT(row, 2 * W), s3 += AT(row, 3 * W);
            }
            NAME(store)(y + c, AT(y, c) + s0);
            NAME(store)(y + c + W, AT(y, c + W) + s1);
            NAME(store)(y + c + 2 * W, AT(y, c + 2 * W) + s2);
            NAME(store)(y + c + 3 * W, AT(y, c + 3 * W) + s3);
        }
        for (; c < inner; c += W) {
            size_t m = inner - c < W ? inner - c : W;
            V s = SPLAT(0);
            for (size_t r = start; r < end; r++) {
                const T *row = x + r * inner + c;
                s += m == W ? AT(row, 0) : PART(row, 0, m);
            }
            NAME(store_part)(y + c, m, PART(y, c, m) + s);
        }
    }
}

static void NAME(sum_middle)(size_t outer, size_t reduced, size_t inner, const void *xs, void *ys) {
    const T *x = xs;
    T *y = ys;
    for (size_t o = 0; o < outer; o++) {
        if (inner == 1)
            y[o] = (T)NAME(sum)(reduced, x + o * reduced);
        else
            NAME(sum_columns)(reduced, inner, x + o * reduced * inner, y + o * inner);
    }
}

// x - x is 0 for finite x and NaN otherwise.
static bool NAME(all_finite)(size_t n, const void *xs) {
    const T *x = xs;
    VI bad = (VI)(I)0;
    size_t i = 0;
    for (; i + W <= n; i += W) {
        V d = AT(x, i) - AT(x, i);
        bad |= d != d;
    }
    bool any = false;
    for (size_t lane = 0; lane < W; lane++) any |= bad[lane] != 0;
    for (; i < n; i++) any |= !isfinite(x[i]);
    return !any;
}
