// Element-by-element kernels. MAP1/2/3 run an expression of a (and b, c) over whole vectors and then over the rest.
#undef MAP1
#undef MAP2
#undef MAP3
#define MAP1(expression)                                                                  \
    do {                                                                                  \
        size_t i = 0;                                                                     \
        for (; i + W <= n; i += W) {                                                      \
            V a = NAME(load)(x + i);                                                      \
            NAME(store)(y + i, expression);                                               \
        }                                                                                 \
        if (i < n) {                                                                      \
            V a = NAME(load_part)(x + i, n - i);                                          \
            NAME(store_part)(y + i, n - i, expression);                                   \
        }                                                                                 \
    } while (0)
// a from x (saved by the forward pass), g the gradient of the result
#define MAP2(expression)                                                                  \
    do {                                                                                  \
        size_t i = 0;                                                                     \
        for (; i + W <= n; i += W) {                                                      \
            V a = NAME(load)(x + i), g = NAME(load)(gs + i);                              \
            NAME(store)(y + i, expression);                                               \
        }                                                                                 \
        if (i < n) {                                                                      \
            V a = NAME(load_part)(x + i, n - i), g = NAME(load_part)(gs + i, n - i);      \
            NAME(store_part)(y + i, n - i, expression);                                   \
        }                                                                                 \
    } while (0)

// sqrt(2/pi) (x + 0.044715 x^3)
static inline V NAME(gelu_argument)(V a) {
    return SPLAT(0.79788456080286536) * MULADD(SPLAT(0.044715) * a * a, a, a);
}

static void NAME(unary)(lk_unary_op op, size_t n, const void *xs, void *ys, double ps, double qs) {
    const T *x = xs;
    T *y = ys;
    const V p = SPLAT(ps), q = SPLAT(qs), one = SPLAT(1), zero = SPLAT(0);
    switch (op) {
        case LK_AFFINE: MAP1(MULADD(a, p, q)); break;
        case LK_SQUARE: MAP1(a * a); break;
        case LK_SQRT: MAP1(NAME(vsqrt)(a)); break;
        case LK_RECIPROCAL: MAP1(one / a); break;
        case LK_EXP: MAP1(NAME(vexp)(a)); break;
        case LK_LOG: MAP1(NAME(vlog)(a)); break;
        case LK_ABS: MAP1(NAME(vabs)(a)); break;
        case LK_CLAMP: MAP1(NAME(select)(a < p, p, NAME(select)(a > q, q, a))); break;
        case LK_TANH: MAP1(NAME(vtanh)(a)); break;
        case LK_SIGMOID: MAP1(NAME(vsigmoid)(a)); break;
        case LK_SILU: MAP1(a * NAME(vsigmoid)(a)); break;
        case LK_GELU_ERF: MAP1(a * NAME(vphi)(a)); break;
        case LK_GELU_TANH: MAP1(SPLAT(0.5) * a * (one + NAME(vtanh)(NAME(gelu_argument)(a)))); break;
        case LK_RELU: MAP1(NAME(select)(a < zero, zero, a)); break;
        case LK_LEAKY_RELU: MAP1(NAME(select)(a > zero, a, p * a)); break;
        case LK_ELU: MAP1(NAME(select)(a > zero, a, p * NAME(vexpm1)(a))); break;
        case LK_SOFTPLUS: MAP1(NAME(select)(a < zero, zero, a) + NAME(vlog1p)(NAME(vexp)(-NAME(vabs)(a)))); break;
    }
}

// x Phi(x): Phi(x) + x phi(x)
static inline V NAME(gelu_erf_slope)(V a) {
    V density = SPLAT(0.39894228040143268) * NAME(vexp)(SPLAT(-0.5) * a * a);
    return MULADD(a, density, NAME(vphi)(a));
}
static inline V NAME(gelu_tanh_slope)(V a) {
    V t = NAME(vtanh)(NAME(gelu_argument)(a));
    V inner = SPLAT(0.79788456080286536) * MULADD(SPLAT(3 * 0.044715) * a, a, SPLAT(1));
    return SPLAT(0.5) * (SPLAT(1) + t) + SPLAT(0.5) * a * (SPLAT(1) - t * t) * inner;
}
static inline V NAME(silu_slope)(V a) {
    V s = NAME(vsigmoid)(a);
    return s * MULADD(a, SPLAT(1) - s, SPLAT(1));
}

static void NAME(unary_backward)(lk_unary_op op, size_t n, const void *xs, const void *gradient, void *ys, double ps,
                                 double qs) {
    const T *x = xs, *gs = gradient;
    T *y = ys;
    const V p = SPLAT(ps), q = SPLAT(qs), one = SPLAT(1), zero = SPLAT(0);
    switch (op) {
        case LK_AFFINE: NAME(unary)(LK_AFFINE, n, gradient, ys, ps, 0); break;
        case LK_SQUARE: MAP2(g * (a + a)); break;
        case LK_SQRT: MAP2(SPLAT(0.5) * g / a); break;
        case LK_RECIPROCAL: MAP2(-g * a * a); break;
        case LK_EXP: MAP2(g * a); break;
        case LK_LOG: MAP2(g / a); break;
        case LK_ABS: MAP2(NAME(select)(a > zero, g, NAME(select)(a < zero, -g, zero))); break;
        case LK_CLAMP: MAP2(NAME(select)((a < p) | (a > q), zero, g)); break;
        case LK_TANH: MAP2(g * (one - a * a)); break;
        case LK_SIGMOID: MAP2(g * a * (one - a)); break;
        case LK_SILU: MAP2(g * NAME(silu_slope)(a)); break;
        case LK_GELU_ERF: MAP2(g * NAME(gelu_erf_slope)(a)); break;
        case LK_GELU_TANH: MAP2(g * NAME(gelu_tanh_slope)(a)); break;
        case LK_RELU: MAP2(NAME(select)(a > zero, g, zero)); break;
        case LK_LEAKY_RELU: MAP2(NAME(select)(a > zero, g, p * g)); break;
        case LK_ELU: MAP2(NAME(select)(a > zero, g, g * p * NAME(vexp)(a))); break;
        case LK_SOFTPLUS: MAP2(g * NAME(vsigmoid)(a)); break;
    }
}

#undef COMBINE
#define COMBINE(operator)                                                                              \
    do {                                                                                               \
        size_t i = 0;                                                                                  \
        if (stepA && stepB)                                                                            \
            for (; i + W <= n; i += W) NAME(store)(y + i, NAME(load)(a + i) operator NAME(load)(b + i)); \
        else if (stepA)                                                                                \
            for (; i + W <= n; i += W) NAME(store)(y + i, NAME(load)(a + i) operator SPLAT(*b));         \
        else                                                                                           \
            for (; i + W <= n; i += W) NAME(store)(y + i, SPLAT(*a) operator NAME(load)(b + i));         \
        for (; i < n; i++) y[i] = a[stepA ? i : 0] operator b[stepB ? i : 0];                          \
    } while (0)

static void NAME(binary_row)(lk_binary_op op, size_t n, const void *as, size_t stepA, const void *bs, size_t stepB,
                             void *ys) {
    const T *a = as, *b = bs;
    T *y = ys;
    if (!stepA && !stepB) {
        T value = op == LK_ADD ? *a + *b : op == LK_SUB ? *a - *b : op == LK_MUL ? *a * *b : *a / *b;
        for (size_t i = 0; i < n; i++) y[i] = value;
        return;
    }
    switch (op) {
        case LK_ADD: COMBINE(+); break;
        case LK_SUB: COMBINE(-); break;
        case LK_MUL: COMBINE(*); break;
        case LK_DIV: COMBINE(/); break;
    }
}

static void NAME(axpby)(size_t n, double as, const void *xs, double bs, void *ys) {
    const T *x = xs;
    T *y = ys;
    const V p = SPLAT(as), q = SPLAT(bs);
    size_t i = 0;
    for (; i + W <= n; i += W) NAME(store)(y + i, MULADD(p, NAME(load)(x + i), q * NAME(load)(y + i)));
    if (i < n) {
        V a = NAME(load_part)(x + i, n - i), b = NAME(load_part)(y + i, n - i);
        NAME(store_part)(y + i, n - i, MULADD(p, a, q * b));
    }
}

static void NAME(fill)(size_t n, double value, void *ys) {
    T *y = ys;
    for (size_t i = 0; i < n; i++) y[i] = (T)value;
}
