// Convolutions of stride 1 with fewer multiplications (Winograd 1980, minimal filtering): a tile of 9 - kernel outputs
// depends on 8 inputs, and becomes 8 products of transformed inputs and weights, one for each of the points
// 0, 1, -1, 2, -2, 1/2, -1/2 and infinity. Over all channels these are 8 matrix products. Half a significant digit is
// lost, which is why only float takes this way.
#if IS_F32

// v[i * step] = the transform of d[0 ... 7]; the same for every kernel length
static inline __attribute__((always_inline)) void NAME(winograd_input)(const V *d, T *v, size_t step) {
    const V quarter = SPLAT(0.25), half = SPLAT(0.5), two = SPLAT(2), four = SPLAT(4);
    const V f = SPLAT(5.25), g = SPLAT(-4.25), h = SPLAT(-1.25), k = SPLAT(-2.5);
    NAME(store)(v, MULADD(f, d[4] - d[2], d[0] - d[6]));
    V a = MULADD(g, d[4], d[2] + d[6]), b = MULADD(g, d[3], d[1] + d[5]);
    NAME(store)(v + step, a + b);
    NAME(store)(v + 2 * step, a - b);
    a = MULADD(h, d[4], MULADD(quarter, d[2], d[6]));
    b = MULADD(k, d[3], MULADD(half, d[1], two * d[5]));
    NAME(store)(v + 3 * step, a + b);
    NAME(store)(v + 4 * step, a - b);
    a = MULADD(four, MULADD(h, d[4], d[2]), d[6]);
    b = MULADD(k, d[3], MULADD(half, d[5], two * d[1]));
    NAME(store)(v + 5 * step, a + b);
    NAME(store)(v + 6 * step, a - b);
    NAME(store)(v + 7 * step, MULADD(f, d[3] - d[5], d[7] - d[1]));
}

// y[q] for q < m from the products at the 8 points, s apart
static inline __attribute__((always_inline)) void NAME(winograd_output)(size_t m, const T *s, size_t step, V *y) {
    const V p1 = AT(s, step), m1 = AT(s, 2 * step), p2 = AT(s, 3 * step), m2 = AT(s, 4 * step);
    const V ph = AT(s, 5 * step), mh = AT(s, 6 * step);
    const V even[3] = {p1 + m1, p2 + m2, ph + mh}, odd[3] = {p1 - m1, p2 - m2, ph - mh};
    T power = 1;
    for (size_t q = 0; q < m; q++, power *= 2) {
        const V *from = q % 2 ? odd : even;
        y[q] = MULADD(SPLAT(1 / power), from[2], MULADD(SPLAT(power), from[1], from[0]));
    }
    y[0] += AT(s, 0);
    y[m - 1] += AT(s, 7 * step);
}

// One strip of tiles: x [positions from the first tile's first input on] to v[i * step + tile]
static inline __attribute__((always_inline)) void NAME(winograd_strip)(size_t m, const T *x, T *v, size_t step) {
    T phase[6][LK_STRIP + 16];
    // 8 / m more than a strip of each phase are read.
    const size_t count = LK_STRIP + (7 + m) / m;
    if (m == 2 || m == 4)
        for (size_t t = 0; t < count; t += W) {
            V part[4], half[4];
            for (size_t i = 0; i < m; i++) part[i] = AT(x, t * m + i * W);
            for (size_t i = 0; i < m; i += 2) NAME(unzip)(part[i], part[i + 1], half + i / 2, half + i / 2 + m / 2);
            if (m == 4) {
                NAME(unzip)(half[0], half[1], part, part + 2);
                NAME(unzip)(half[2], half[3], part + 1, part + 3);
            }
            for (size_t q = 0; q < m; q++) NAME(store)(phase[q] + t, m == 4 ? part[q] : half[q]);
        }
    else
        for (size_t t = 0; t < count; t++)
            for (size_t q = 0; q < m; q++) phase[q][t] = x[t * m + q];
    for (size_t t = 0; t < LK_STRIP; t += W) {
        V d[8];
        for (size_t j = 0; j < 8; j++) d[j] = AT(phase[j % m], t + j / m);
        NAME(winograd_input)(d, v + t, step);
    }
}

// A strip's products back to n positions of `rows` output channels
static inline __attribute__((always_inline)) void NAME(winograd_collect)(size_t m, size_t rows, const T *products,
                                                                         const T *bias, T *y, size_t pitch, size_t n) {
    for (size_t row = 0; row < rows; row++) {
        T phase[6][W], line[6 * LK_STRIP];
        T *to = n == m * LK_STRIP ? y + row * pitch : line;
        const V shift = SPLAT(bias ? bias[row] : 0);
        for (size_t t = 0; t < LK_STRIP; t += W) {
            V part[6];
            NAME(winograd_output)(m, products + row * LK_STRIP + t, rows * LK_STRIP, part);
            for (size_t q = 0; q < m; q++) part[q] += shift;
            if (m == 4) {
                V half[4];
                NAME(zip)(part[0], part[2], half, half + 2);
                NAME(zip)(part[1], part[3], half + 1, half + 3);
                NAME(zip)(half[0], half[1], part, part + 1);
                NAME(zip)(half[2], half[3], part + 2, part + 3);
            } else if (m == 2) {
                NAME(zip)(part[0], part[1], part, part + 1);
            } else {
                for (size_t q = 0; q < m; q++) NAME(store)(phase[q], part[q]);
                for (size_t i = 0; i < W; i++)
                    for (size_t q = 0; q < m; q++) to[(t + i) * m + q] = phase[q][i];
                continue;
            }
            for (size_t q = 0; q < m; q++) NAME(store)(to + t * m + q * W, part[q]);
        }
        if (to == line) memcpy(y + row * pitch, line, n * sizeof(T));
    }
}

#define WINOGRAD(m)                                                                                                    \
    static void NAME(winograd_strip_##m)(const T *x, T *v, size_t step) { NAME(winograd_strip)(m, x, v, step); }       \
    static void NAME(winograd_collect_##m)(size_t rows, const T *products, const T *bias, T *y, size_t pitch,          \
                                           size_t n) {                                                                 \
        NAME(winograd_collect)(m, rows, products, bias, y, pitch, n);                                                  \
    }
WINOGRAD(2)
WINOGRAD(3)
WINOGRAD(4)
WINOGRAD(5)
WINOGRAD(6)
#undef WINOGRAD

static void (*const NAME(winograd_strips)[])(const T *, T *, size_t) = {
    [2] = NAME(winograd_strip_2), [3] = NAME(winograd_strip_3), [4] = NAME(winograd_strip_4),
    [5] = NAME(winograd_strip_5), [6] = NAME(winograd_strip_6)};
static void (*const NAME(winograd_collects)[])(size_t, const T *, const T *, T *, size_t, size_t) = {
    [2] = NAME(winograd_collect_2), [3] = NAME(winograd_collect_3), [4] = NAME(winograd_collect_4),
    [5] = NAME(winograd_collect_5), [6] = NAME(winograd_collect_6)};

// The transform of one filter: u[i] = scale of i times the polynomial w at point i
static inline void NAME(winograd_filter)(size_t taps, const T *w, ptrdiff_t step, double *u) {
    double even[3] = {0}, odd[3] = {0}, power[3] = {1, 1, 1};
    static const double point[3] = {1, 2, 0.5}, scale[3] = {-2.0 / 9, 1.0 / 90, 32.0 / 45};
    for (size_t j = 0; j < taps; j++)
        for (size_t i = 0; i < 3; i++) {
            *(j % 2 ? odd + i : even + i) += power[i] * (double)w[(ptrdiff_t)j * step];
            power[i] *= point[i];
        }
    u[0] = (double)w[0];
    for (size_t i = 0; i < 3; i++) {
        u[1 + 2 * i] = scale[i] * (even[i] + odd[i]);
        u[2 + 2 * i] = scale[i] * (even[i] - odd[i]);
    }
    u[7] = (double)w[(ptrdiff_t)(taps - 1) * step];
}

// For each block of output channels: [point][input channel][row]
static void NAME(winograd_pack)(const lk_conv *g, const void *weights, void *packeds, size_t first, size_t last) {
    const T *weight = weights;
    const size_t k = g->kernel;
    const size_t stepOut = g->transposed ? k : g->inputs * k, stepIn = g->transposed ? g->outputs * k : k;
    for (size_t o = first; o < last;) {
        const size_t rows = NAME(conv_rows)(g->outputs - o);
        T *to = (T *)packeds + o * g->inputs * 8;
        for (size_t c = 0; c < g->inputs; c++)
            for (size_t m = 0; m < rows; m++) {
                const T *w = weight + (o + m) * stepOut + c * stepIn;
                double u[8];
                NAME(winograd_filter)(k, g->transposed ? w + k - 1 : w, g->transposed ? -1 : 1, u);
                for (size_t i = 0; i < 8; i++) to[(i * g->inputs + c) * rows + m] = (T)u[i];
            }
        o += rows;
    }
}

static void NAME(winograd_forward)(const lk_conv *g, const void *packeds, const void *biases, const void *xs, void *ys,
                                   size_t first, size_t strips, void *scratch, const lk_conv_fusion *fusion) {
    const T *packed = packeds, *bias = biases, *x = xs;
    T *y = ys;
    const size_t m = 9 - g->kernel, width = m * LK_STRIP, inputs = g->inputs;
    const ptrdiff_t shift = g->transposed ? (ptrdiff_t)g->kernel - 1 - (ptrdiff_t)g->padding : (ptrdiff_t)g->padding;
    T *v = scratch, *products = v + strips * 8 * inputs * LK_STRIP, *line = products + 64 * LK_STRIP;
    int32_t *offset = (int32_t *)(line + 6 * (LK_STRIP + 16));
    for (size_t c = 0; c < inputs; c++) offset[c] = (int32_t)(c * LK_STRIP);
    for (size_t s = 0; s < strips; s++)
        for (size_t c = 0; c < inputs; c++) {
            NAME(conv_load)(1, g->inputExtent, 1, (ptrdiff_t)((first + s) * width), shift, width + 7,
                            m * (LK_STRIP + 16), x + c * g->inputExtent, line, fusion);
            NAME(winograd_strips)[m](line, v + (s * 8 * inputs + c) * LK_STRIP, inputs * LK_STRIP);
        }
    for (size_t o = 0; o < g->outputs;) {
        const size_t rows = NAME(conv_rows)(g->outputs - o);
        for (size_t s = 0; s < strips; s++) {
            for (size_t i = 0; i < 8; i++)
                NAME(conv_strip)(rows, inputs, offset, packed + (o * 8 + i * rows) * inputs,
                                 v + (s * 8 + i) * inputs * LK_STRIP, products + i * rows * LK_STRIP, LK_STRIP, NULL,
                                 false, LK_STRIP);
            const size_t at = (first + s) * width, n = g->outputExtent - at < width ? g->outputExtent - at : width;
            T *to = y + o * g->outputExtent + at;
            NAME(winograd_collects)[m](rows, products, bias ? bias + o : NULL, to, g->outputExtent, n);
            if (fusion && fusion->activated)
                for (size_t row = 0; row < rows; row++) {
                    T *line = to + row * g->outputExtent;
                    NAME(unary)(fusion->activation, n, line, line, fusion->p, 0);
                }
        }
        o += rows;
    }
}

// g's transform at the 8 points from m rows of `columns`, without the points' scales (winograd_gradient has them)
static inline __attribute__((always_inline)) void NAME(winograd_taps)(size_t m, size_t columns, const T *g, size_t gPitch,
                                                                      T *u, size_t step) {
    for (size_t o = 0; o < columns; o += W) {
        V even[3], odd[3];
        for (size_t i = 0; i < 3; i++) {
            const T point = i == 0 ? 1 : i == 1 ? 2 : 0.5f;
            T power = point * point;
            even[i] = AT(g, o);
            odd[i] = SPLAT(point) * AT(g, gPitch + o);
            for (size_t q = 2; q < m; q++, power *= point)
                *(q % 2 ? odd + i : even + i) = MULADD(SPLAT(power), AT(g, q * gPitch + o), q % 2 ? odd[i] : even[i]);
        }
        NAME(store)(u + o, AT(g, o));
        for (size_t i = 0; i < 3; i++) {
            NAME(store)(u + (1 + 2 * i) * step + o, even[i] + odd[i]);
            NAME(store)(u + (2 + 2 * i) * step + o, even[i] - odd[i]);
        }
        NAME(store)(u + 7 * step + o, AT(g, (m - 1) * gPitch + o));
    }
}

static void NAME(winograd_gradient_sums)(const lk_conv *g, const void *fines, const void *coarses, void *sums,
                                         size_t first, size_t strips, bool accumulate, void *scratch) {
    const T *fine = fines, *coarse = coarses;
    const size_t m = 9 - g->kernel, width = m * LK_STRIP, tiles = strips * LK_STRIP, pitch = g->outputs + 16;
    const size_t at = first * width, room = g->outputExtent - at, n = room < tiles * m ? room : tiles * m;
    T *v = scratch, *u = v + 8 * g->inputs * tiles, *turned = u + 8 * tiles * pitch, *line = turned + tiles * m * pitch;
    for (size_t c = 0; c < g->inputs; c++)
        for (size_t s = 0; s < strips; s++) {
            NAME(conv_load)(1, g->inputExtent, 1, (ptrdiff_t)(at + s * width), (ptrdiff_t)g->padding, width + 7,
                            m * (LK_STRIP + 16), fine + c * g->inputExtent, line, NULL);
            NAME(winograd_strips)[m](line, v + c * tiles + s * LK_STRIP, g->inputs * tiles);
        }
    NAME(block_transpose)(g->outputs, n, coarse + at, g->outputExtent, turned, pitch);
    memset(turned + n * pitch, 0, (tiles * m - n) * pitch * sizeof(T));
    for (size_t t = 0; t < tiles; t++) {
        const T *from = turned + t * m * pitch;
        T *to = u + t * pitch;
        switch (m) {
            case 2: NAME(winograd_taps)(2, g->outputs, from, pitch, to, tiles * pitch); break;
            case 3: NAME(winograd_taps)(3, g->outputs, from, pitch, to, tiles * pitch); break;
            case 4: NAME(winograd_taps)(4, g->outputs, from, pitch, to, tiles * pitch); break;
            case 5: NAME(winograd_taps)(5, g->outputs, from, pitch, to, tiles * pitch); break;
            default: NAME(winograd_taps)(6, g->outputs, from, pitch, to, tiles * pitch); break;
        }
    }
    const size_t size = g->inputs * g->outputs;
    for (size_t i = 0; i < 8; i++)
        NAME(block_matmul)(g->inputs, g->outputs, tiles, v + i * g->inputs * tiles, tiles, 1, u + i * tiles * pitch,
                           pitch, (T *)sums + i * size, g->outputs, accumulate);
}

static void NAME(winograd_gradient)(const lk_conv *g, const void *sums, void *ds, size_t first, size_t last) {
    const T *s = sums;
    T *d = ds;
    const size_t size = g->inputs * g->outputs, k = g->kernel;
    for (size_t o = first; o < last; o++)
        for (size_t c = 0; c < g->inputs; c++) {
            double value[8];
            for (size_t i = 0; i < 8; i++) value[i] = (double)s[i * size + c * g->outputs + o];
            const double p1 = -2.0 / 9 * value[1], m1 = -2.0 / 9 * value[2], p2 = value[3] / 90, m2 = value[4] / 90;
            const double ph = 32.0 / 45 * value[5], mh = 32.0 / 45 * value[6];
            T *to = d + (o * g->inputs + c) * k;
            double power = 1;
            for (size_t j = 0; j < k; j++, power *= 2) {
                double sum = j % 2 ? (p1 - m1) + power * (p2 - m2) + (ph - mh) / power
                                   : (p1 + m1) + power * (p2 + m2) + (ph + mh) / power;
                to[j] = (T)(sum + (j == 0 ? value[0] : 0) + (j + 1 == k ? value[7] : 0));
            }
        }
}
#endif
