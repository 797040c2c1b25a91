// One vector type V of W lanes with loads, stores and selects.
typedef T V __attribute__((ext_vector_type(VECTOR_BYTES / sizeof(T))));
typedef I VI __attribute__((ext_vector_type(VECTOR_BYTES / sizeof(T))));

#undef SPLAT
#define SPLAT(x) ((V)(T)(x))

static inline V NAME(load)(const T *p) {
    V v;
    memcpy(&v, p, sizeof v);
    return v;
}
// The first n lanes; the others are zero.
static inline V NAME(load_part)(const T *p, size_t n) {
    V v = (V)(T)0;
    memcpy(&v, p, n * sizeof(T));
    return v;
}
static inline void NAME(store)(T *p, V v) { memcpy(p, &v, sizeof v); }
static inline void NAME(store_part)(T *p, size_t n, V v) { memcpy(p, &v, n * sizeof(T)); }
// a * b + c; the portable level has no fused operation, so it rounds twice.
static inline V NAME(muladd)(V a, V b, V c) {
#if HAS_FMA
    return __builtin_elementwise_fma(a, b, c);
#else
    return a * b + c;
#endif
}
static inline V NAME(select)(VI mask, V a, V b) {
    union {
        V v;
        VI i;
    } x = {.v = a}, y = {.v = b};
    x.i = (x.i & mask) | (y.i & ~mask);
    return x.v;
}
static inline VI NAME(bits)(V v) {
    VI i;
    memcpy(&i, &v, sizeof i);
    return i;
}
static inline V NAME(from_bits)(VI i) {
    V v;
    memcpy(&v, &i, sizeof v);
    return v;
}
static inline V NAME(vmax)(V a, V b) { return NAME(select)(a > b, a, b); }
static inline V NAME(vabs)(V a) { return __builtin_elementwise_abs(a); }
static inline V NAME(vsqrt)(V a) { return __builtin_elementwise_sqrt(a); }
// Lanes are added in a fixed tree.
static inline double NAME(add_lanes)(V v) {
    double lane[VECTOR_BYTES / sizeof(T)];
    for (size_t i = 0; i < W; i++) lane[i] = (double)v[i];
    for (size_t step = W / 2; step > 0; step /= 2)
        for (size_t i = 0; i < step; i++) lane[i] += lane[i + step];
    return lane[0];
}
#undef EVENS
#undef ODDS
#undef LOWS
#undef HIGHS
#if VECTOR_BYTES == 64 && IS_F32
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define LOWS 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGHS 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif (VECTOR_BYTES == 64) || (VECTOR_BYTES == 32 && IS_F32)
#define EVENS 0, 2, 4, 6, 8, 10, 12, 14
#define ODDS 1, 3, 5, 7, 9, 11, 13, 15
#define LOWS 0, 8, 1, 9, 2, 10, 3, 11
#define HIGHS 4, 12, 5, 13, 6, 14, 7, 15
#elif (VECTOR_BYTES == 32) || IS_F32
#define EVENS 0, 2, 4, 6
#define ODDS 1, 3, 5, 7
#define LOWS 0, 4, 1, 5
#define HIGHS 2, 6, 3, 7
#else
#define EVENS 0, 2
#define ODDS 1, 3
#define LOWS 0, 2
#define HIGHS 1, 3
#endif
// a[i], b[i] = z[2i], z[2i + 1] for z = x, y; and back
static inline __attribute__((always_inline)) void NAME(unzip)(V x, V y, V *a, V *b) {
    *a = __builtin_shufflevector(x, y, EVENS);
    *b = __builtin_shufflevector(x, y, ODDS);
}
static inline __attribute__((always_inline)) void NAME(zip)(V a, V b, V *x, V *y) {
    *x = __builtin_shufflevector(a, b, LOWS);
    *y = __builtin_shufflevector(a, b, HIGHS);
}
// Neighbouring lanes added up: those of a in the first half, those of b in the second
static inline V NAME(add_pairs)(V a, V b) {
    V even, odd;
    NAME(unzip)(a, b, &even, &odd);
    return even + odd;
}
// sums[i] = the sum of the lanes of s[i], for i < count; `count` is a constant
static inline __attribute__((always_inline)) void NAME(lane_sums)(size_t count, const V *s, T *sums) {
    for (size_t start = 0; start < count; start += W) {
        V t[W];
        for (size_t i = 0; i < W; i++) t[i] = start + i < count ? s[start + i] : SPLAT(0);
        for (size_t left = W / 2; left > 0; left /= 2)
            for (size_t i = 0; i < left; i++) t[i] = NAME(add_pairs)(t[2 * i], t[2 * i + 1]);
        NAME(store_part)(sums + start, count - start < W ? count - start : W, t[0]);
    }
}
static inline T NAME(max_lane)(V v) {
    T m = v[0];
    for (size_t i = 1; i < W; i++) m = v[i] > m ? v[i] : m;
    return m;
}

#undef MULADD
#define MULADD(a, b, c) NAME(muladd)(a, b, c)
