// The double forms serve as the reference, so each lane goes to the C library.
#undef LANES
#define LANES(expression)                                        \
    V y;                                                         \
    for (size_t lane = 0; lane < W; lane++) {                    \
        double a = x[lane];                                      \
        y[lane] = expression;                                    \
    }                                                            \
    return y

static inline V NAME(vexp)(V x) { LANES(exp(a)); }
static inline V NAME(vlog)(V x) { LANES(log(a)); }
static inline V NAME(vtanh)(V x) { LANES(tanh(a)); }
static inline V NAME(vsigmoid)(V x) { LANES(1 / (1 + exp(-a))); }
static inline V NAME(vlog1p)(V x) { LANES(log1p(a)); }
static inline V NAME(vexpm1)(V x) { LANES(expm1(a)); }
static inline V NAME(vphi)(V x) { LANES(0.5 * erfc(-a * 0.70710678118654752440)); }
