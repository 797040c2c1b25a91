// Convolution over one dimension without unfolding. A tile of the input is copied into scratch, zero padded and taken
// apart by phase (position modulo the stride), so that every tap is a plain vector at a fixed offset; the inner kernel
// holds CONV_ROWS output channels times CONV_WIDE vectors of positions in registers.
#undef CONV_ROWS
#undef CONV_WIDE
#undef DOT_ROWS
#undef DOT_WIDE
#define CONV_WIDE 3
#define DOT_ROWS 4
#if VECTOR_BYTES == 64  // 32 registers
#define CONV_ROWS 8
#define DOT_WIDE 6
#else  // 16 registers
#define CONV_ROWS 4
#define DOT_WIDE 3
#endif

// y[m, p] = bias[m] + sum over t of w[t, m] x[offset[t] + p] for m < rows, p < n <= wide vectors; or y += the sum.
static inline __attribute__((always_inline)) void NAME(conv_tile)(size_t rows, size_t wide, size_t taps,
                                                                  const int32_t *offset, const T *w, const T *x, T *y,
                                                                  size_t pitch, const T *bias, bool accumulate,
                                                                  size_t n) {
    V s[CONV_ROWS][CONV_WIDE];
    for (size_t m = 0; m < rows; m++)
        for (size_t i = 0; i < wide; i++) s[m][i] = bias ? SPLAT(bias[m]) : SPLAT(0);
    for (size_t t = 0; t < taps; t++) {
        const T *at = x + offset[t];
        V v[CONV_WIDE];
        for (size_t i = 0; i < wide; i++) v[i] = AT(at, i * W);
        for (size_t m = 0; m < rows; m++) {
            V factor = SPLAT(w[t * rows + m]);
            for (size_t i = 0; i < wide; i++) s[m][i] = MULADD(factor, v[i], s[m][i]);
        }
    }
    for (size_t m = 0; m < rows; m++)
        for (size_t i = 0; i < wide; i++) {
            T *to = y + m * pitch + i * W;
            if (n >= (i + 1) * W)
                NAME(store)(to, accumulate ? AT(to, 0) + s[m][i] : s[m][i]);
            else if (n > i * W)
                NAME(store_part)(to, n - i * W, accumulate ? PART(to, 0, n - i * W) + s[m][i] : s[m][i]);
        }
}

// The positions [0, n) of `rows` output channels
#define CONV_STRIP(rows)                                                                                               \
    static void NAME(conv_strip_##rows)(size_t taps, const int32_t *offset, const T *w, const T *x, T *y,              \
                                        size_t pitch, const T *bias, bool accumulate, size_t n) {                      \
        size_t p = 0;                                                                                                  \
        for (; p + 3 * W <= n; p += 3 * W)                                                                             \
            NAME(conv_tile)(rows, 3, taps, offset, w, x + p, y + p, pitch, bias, accumulate, 3 * W);                   \
        if (n - p > 2 * W)                                                                                             \
            NAME(conv_tile)(rows, 3, taps, offset, w, x + p, y + p, pitch, bias, accumulate, n - p);                   \
        else if (n - p > W)                                                                                            \
            NAME(conv_tile)(rows, 2, taps, offset, w, x + p, y + p, pitch, bias, accumulate, n - p);                   \
        else if (n > p)                                                                                                \
            NAME(conv_tile)(rows, 1, taps, offset, w, x + p, y + p, pitch, bias, accumulate, n - p);                   \
    }
CONV_STRIP(1)
CONV_STRIP(2)
CONV_STRIP(4)
#if CONV_ROWS == 8
CONV_STRIP(8)
#endif
#undef CONV_STRIP

// How many channels are done together, when this many are left
static inline size_t NAME(conv_rows)(size_t left) {
    if (CONV_ROWS == 8 && left >= 8) return 8;
    return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

static void NAME(conv_strip)(size_t rows, size_t taps, const int32_t *offset, const T *w, const T *x, T *y,
                             size_t pitch, const T *bias, bool accumulate, size_t n) {
    switch (rows) {
        case 1: NAME(conv_strip_1)(taps, offset, w, x, y, pitch, bias, accumulate, n); break;
        case 2: NAME(conv_strip_2)(taps, offset, w, x, y, pitch, bias, accumulate, n); break;
        case 4: NAME(conv_strip_4)(taps, offset, w, x, y, pitch, bias, accumulate, n); break;
#if CONV_ROWS == 8
        case 8: NAME(conv_strip_8)(taps, offset, w, x, y, pitch, bias, accumulate, n); break;
#endif
    }
}

// Taps of phase r
static inline size_t NAME(phase_taps)(const lk_conv *g, size_t r) {
    return r < g->kernel ? (g->kernel - r + g->stride - 1) / g->stride : 0;
}

// The order in which the strips read: for each phase of the output (one, unless transposed), for each block of rows,
// [input channel][tap][row].
static void NAME(conv_pack)(const lk_conv *g, const void *weights, void *packeds, size_t first, size_t last) {
    const T *weight = weights;
    size_t phases = g->transposed ? g->stride : 1, done = 0;
    size_t stepOut = g->transposed ? g->kernel : g->inputs * g->kernel;
    size_t stepIn = g->transposed ? g->outputs * g->kernel : g->kernel;
    for (size_t r = 0; r < phases; r++) {
        size_t taps = g->transposed ? NAME(phase_taps)(g, r) : g->kernel;
        for (size_t o = first; o < last;) {
            size_t rows = NAME(conv_rows)(g->outputs - o);
            T *to = (T *)packeds + (done * g->outputs + o * taps) * g->inputs;
            for (size_t c = 0; c < g->inputs; c++)
                for (size_t j = 0; j < taps; j++)
                    for (size_t m = 0; m < rows; m++)
                        *to++ = weight[(o + m) * stepOut + c * stepIn + (g->transposed ? r + j * g->stride : j)];
            o += rows;
        }
        done += taps;
    }
}

// buffer[c][r][i] = x[c][(start + i) stride + r - shift] for i < count, zero outside of x; rows are `pitch` apart. A
// fused addend and factor come before (stride 1).
static void NAME(conv_load)(size_t channels, size_t extent, size_t stride, ptrdiff_t start, ptrdiff_t shift,
                            size_t count, size_t pitch, const T *x, T *buffer, const lk_conv_fusion *fusion) {
    const T *add = fusion ? fusion->add : NULL, *multiply = fusion ? fusion->multiply : NULL;
    for (size_t c = 0; c < channels; c++, x += extent)
        for (size_t r = 0; r < stride; r++, buffer += pitch) {
            ptrdiff_t base = start * (ptrdiff_t)stride + (ptrdiff_t)r - shift;  // x's position for i = 0
            ptrdiff_t s = (ptrdiff_t)stride, room = (ptrdiff_t)extent - base;
            size_t from = base < 0 ? (size_t)((-base + s - 1) / s) : 0;
            size_t to = room <= 0 ? 0 : (size_t)((room + s - 1) / s);
            if (to > count) to = count;
            if (from > to) from = to;
            memset(buffer, 0, from * sizeof(T));
            if (add) {
                for (size_t i = from; i < to; i += W) {
                    ptrdiff_t at = base + (ptrdiff_t)i;
                    if (i + W <= to)
                        NAME(store)(buffer + i, (AT(x, at) + AT(add, at)) * AT(multiply, at));
                    else
                        NAME(store_part)(buffer + i, to - i, (PART(x, at, to - i) + PART(add, at, to - i)) *
                                                                 PART(multiply, at, to - i));
                }
            } else if (stride == 1)
                memcpy(buffer + from, x + base + (ptrdiff_t)from, (to - from) * sizeof(T));
            else
                for (size_t i = from; i < to; i++) buffer[i] = x[base + (ptrdiff_t)(i * stride)];
            memset(buffer + to, 0, (pitch - to) * sizeof(T));
        }
}

static void NAME(conv_forward)(const lk_conv *g, const void *packeds, const void *biases, const void *xs, void *ys,
                               size_t first, size_t n, size_t rowFirst, size_t rowLast, void *scratch,
                               const lk_conv_fusion *fusion) {
    const T *packed = packeds, *bias = biases, *x = xs;
    T *y = ys, *tile = scratch;
    lk_conv_plan plan = lk_conv_planned(g);
    size_t s = g->stride, k = g->kernel, halo = (k - 1) / s;
    size_t pitch = lk_conv_pitch(plan.positions + halo);
    int32_t *offset = (int32_t *)(tile + plan.tile);
    T *stage = tile + plan.tile + plan.offsets;

    if (!g->transposed) {
        for (size_t c = 0; c < plan.depth; c++)
            for (size_t j = 0; j < k; j++) offset[c * k + j] = (int32_t)((c * s + j % s) * pitch + j / s);
        for (size_t c0 = 0; c0 < g->inputs; c0 += plan.depth) {
            size_t depth = g->inputs - c0 < plan.depth ? g->inputs - c0 : plan.depth;
            NAME(conv_load)(depth, g->inputExtent, s, (ptrdiff_t)first, (ptrdiff_t)g->padding, n + halo, pitch,
                            x + c0 * g->inputExtent, tile, fusion);
            for (size_t o = rowFirst; o < rowLast;) {
                size_t rows = NAME(conv_rows)(g->outputs - o);
                NAME(conv_strip)(rows, depth * k, offset, packed + (o * g->inputs + c0 * rows) * k, tile,
                                 y + o * g->outputExtent + first, g->outputExtent,
                                 bias && c0 == 0 ? bias + o : NULL, c0 > 0, n);
                if (fusion && fusion->activated && c0 + depth == g->inputs)
                    for (size_t m = 0; m < rows; m++) {
                        T *row = y + (o + m) * g->outputExtent + first;
                        NAME(unary)(fusion->activation, n, row, row, fusion->p, 0);
                    }
                o += rows;
            }
        }
        return;
    }
    // u = fine position + padding = q stride + r; taps of phase r read positions q, q - 1, ...
    size_t q0 = g->padding / s + first;
    NAME(conv_load)(g->inputs, g->inputExtent, 1, (ptrdiff_t)q0 - (ptrdiff_t)halo, 0, n + halo, pitch, x, tile, NULL);
    for (size_t o = rowFirst; o < rowLast;) {
        size_t rows = NAME(conv_rows)(g->outputs - o), done = 0;
        for (size_t r = 0; r < s; r++) {
            size_t taps = NAME(phase_taps)(g, r);
            if (o == rowFirst || s > 1)
                for (size_t c = 0; c < g->inputs; c++)
                    for (size_t j = 0; j < taps; j++) offset[c * taps + j] = (int32_t)(c * pitch + halo - j);
            const T *w = packed + (done * g->outputs + o * taps) * g->inputs;
            if (s == 1)
                NAME(conv_strip)(rows, g->inputs * taps, offset, w, tile, y + o * g->outputExtent + first,
                                 g->outputExtent, bias ? bias + o : NULL, false, n);
            else
                NAME(conv_strip)(rows, g->inputs * taps, offset, w, tile, stage + r * rows * n, n,
                                 bias ? bias + o : NULL, false, n);
            done += taps;
        }
        if (s > 1)
            for (size_t m = 0; m < rows; m++) {
                T *to = y + (o + m) * g->outputExtent;
                for (size_t r = 0; r < s; r++) {
                    const T *from = stage + (r * rows + m) * n;
                    ptrdiff_t f = (ptrdiff_t)(q0 * s + r) - (ptrdiff_t)g->padding, step = (ptrdiff_t)s;
                    size_t i = f < 0 ? (size_t)((-f + step - 1) / step) : 0;
                    for (; i < n && f + (ptrdiff_t)i * step < (ptrdiff_t)g->outputExtent; i++)
                        to[f + (ptrdiff_t)i * step] = from[i];
                }
            }
        o += rows;
    }
}

// d[m * pitch + t] += sum over p < n of g[m, p] x[offset[t] + p], for m < rows and t < wide
static inline __attribute__((always_inline)) void NAME(conv_dots)(size_t rows, size_t wide, const int32_t *offset,
                                                                  const T *g, size_t gPitch, const T *x, size_t n,
                                                                  T *d, size_t pitch) {
    V s[DOT_ROWS * DOT_WIDE];
    for (size_t i = 0; i < rows * wide; i++) s[i] = SPLAT(0);
    const T *at[DOT_WIDE];
    for (size_t t = 0; t < wide; t++) at[t] = x + offset[t];
    size_t p = 0;
    for (; p + W <= n; p += W) {
        V left[DOT_ROWS];
        for (size_t m = 0; m < rows; m++) left[m] = AT(g, m * gPitch + p);
        for (size_t t = 0; t < wide; t++) {
            V right = AT(at[t], p);
            for (size_t m = 0; m < rows; m++) s[m * wide + t] = MULADD(left[m], right, s[m * wide + t]);
        }
    }
    if (p < n)
        for (size_t t = 0; t < wide; t++) {
            V right = AT(at[t], p);
            for (size_t m = 0; m < rows; m++)
                s[m * wide + t] = MULADD(PART(g, m * gPitch + p, n - p), right, s[m * wide + t]);
        }
    T sums[DOT_ROWS * DOT_WIDE];
    NAME(lane_sums)(rows * wide, s, sums);
    for (size_t m = 0; m < rows; m++)
        for (size_t t = 0; t < wide; t++) d[m * pitch + t] += sums[m * wide + t];
}

#define CONV_DOTS(rows)                                                                                                \
    static void NAME(conv_dots_##rows)(size_t taps, const int32_t *offset, const T *g, size_t gPitch, const T *x,      \
                                       size_t n, T *d, size_t pitch) {                                                 \
        size_t t = 0;                                                                                                  \
        for (; t + DOT_WIDE <= taps; t += DOT_WIDE)                                                                    \
            NAME(conv_dots)(rows, DOT_WIDE, offset + t, g, gPitch, x, n, d + t, pitch);                                \
        for (; t < taps; t++) NAME(conv_dots)(rows, 1, offset + t, g, gPitch, x, n, d + t, pitch);                     \
    }
CONV_DOTS(1)
CONV_DOTS(2)
CONV_DOTS(4)
#undef CONV_DOTS

static void NAME(conv_weight_gradient)(const lk_conv *g, const void *fines, const void *coarses, void *ds, size_t first,
                                       size_t n, size_t rowFirst, size_t rowLast, void *scratch) {
    const T *fine = fines, *coarse = coarses;
    T *d = ds, *tile = scratch;
    lk_conv_plan plan = lk_conv_planned_gradient(g);
    size_t s = g->stride, k = g->kernel, halo = (k - 1) / s;
    size_t pitch = lk_conv_pitch(plan.positions + halo);
    int32_t *offset = (int32_t *)(tile + plan.tile);
    for (size_t c = 0; c < plan.depth; c++)
        for (size_t j = 0; j < k; j++) offset[c * k + j] = (int32_t)((c * s + j % s) * pitch + j / s);
    for (size_t c0 = 0; c0 < g->inputs; c0 += plan.depth) {
        size_t depth = g->inputs - c0 < plan.depth ? g->inputs - c0 : plan.depth;
        NAME(conv_load)(depth, g->inputExtent, s, (ptrdiff_t)first, (ptrdiff_t)g->padding, n + halo, pitch,
                        fine + c0 * g->inputExtent, tile, NULL);
        for (size_t o = rowFirst; o < rowLast;) {
            size_t rows = rowLast - o >= 4 ? 4 : rowLast - o >= 2 ? 2 : 1;
            const T *left = coarse + o * g->outputExtent + first;
            T *to = d + (o * g->inputs + c0) * k;
            if (rows == 4)
                NAME(conv_dots_4)(depth * k, offset, left, g->outputExtent, tile, n, to, g->inputs * k);
            else if (rows == 2)
                NAME(conv_dots_2)(depth * k, offset, left, g->outputExtent, tile, n, to, g->inputs * k);
            else
                NAME(conv_dots_1)(depth * k, offset, left, g->outputExtent, tile, n, to, g->inputs * k);
            o += rows;
        }
    }
}
