// One vector type V of W lanes with loads, stores and selects.
typedef T V __attribute__((ext_vector_type(VECTOR_BYTES / sizeof(T))));
typedef I VI __attribute__((ext_vector_type(VECTOR_BYTES / sizeof(T))));

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
// The same tree in the vector's own type
static inline T NAME(lane_sum)(V v) {
#if VECTOR_BYTES == 64
    typedef T H __attribute__((ext_vector_type(32 / sizeof(T))));
    H h = v.lo + v.hi;
    typedef T Q __attribute__((ext_vector_type(16 / sizeof(T))));
    Q q = h.lo + h.hi;
#elif VECTOR_BYTES == 32
    typedef T Q __attribute__((ext_vector_type(16 / sizeof(T))));
    Q q = v.lo + v.hi;
#else
    V q = v;
#endif
#if IS_F32
    return (q[0] + q[2]) + (q[1] + q[3]);
#else
    return q[0] + q[1];
#endif
}
static inline T NAME(max_lane)(V v) {
    T m = v[0];
    for (size_t i = 1; i < W; i++) m = v[i] > m ? v[i] : m;
    return m;
}

#undef MULADD
#define MULADD(a, b, c) NAME(muladd)(a, b, c)
#undef SPLAT
#define SPLAT(x) ((V)(T)(x))
