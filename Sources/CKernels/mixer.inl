// What stands around the scan of a Mamba-2 block: the causal convolution with SiLU, and the gated RMS norm.

// pre[channels] = bias + sum over j of weight[j] x[t - taps + 1 + j], for channels [first, last) of token t
static inline V NAME(conv_at)(const lk_causal_conv *s, const T *x, size_t t, size_t c, size_t n) {
    const T *weight = s->weight, *bias = s->bias;
    V sum = SOME(bias, c, n);
    for (size_t j = t + 1 < s->taps ? s->taps - 1 - t : 0; j < s->taps; j++) {
        const T *from = x + (t + 1 + j - s->taps) * s->pitch + c, *w = weight + j * s->channels + c;
        sum = MULADD(SOME(w, 0, n), SOME(from, 0, n), sum);
    }
    return sum;
}

static void NAME(causal_conv)(const lk_causal_conv *s, const void *xs, void *ys, size_t yPitch, size_t first,
                              size_t last) {
    for (size_t t = first; t < last; t++) {
        T *y = (T *)ys + t * yPitch;
        for (size_t c = 0; c < s->channels; c += W) {
            const size_t n = s->channels - c < W ? s->channels - c : W;
            V v = NAME(conv_at)(s, xs, t, c, n);
            NAME(store_some)(y + c, n, v * NAME(vsigmoid)(v));
        }
    }
}

// One sample, channels [first, last); scratch holds [tokens, last - first]
static void NAME(causal_conv_backward)(const lk_causal_conv *s, const void *xs, const void *gs, size_t gPitch,
                                       void *dxs, size_t dxPitch, void *dweight, void *dbias, size_t first, size_t last,
                                       void *scratch) {
    const T *x = xs, *g = gs, *weight = s->weight;
    T *slope = scratch;
    const size_t wide = last - first;
    for (size_t t = 0; t < s->tokens; t++)
        for (size_t c = first; c < last; c += W) {
            const size_t n = last - c < W ? last - c : W;
            V v = NAME(conv_at)(s, x, t, c, n);
            NAME(store_some)(slope + t * wide + c - first, n, SOME(g, t * gPitch + c, n) * NAME(silu_slope)(v));
        }
    for (size_t t = 0; t < s->tokens; t++)
        for (size_t c = first; c < last; c += W) {
            const size_t n = last - c < W ? last - c : W;
            V sum = SPLAT(0);
            for (size_t j = 0; j < s->taps; j++) {
                const size_t at = t + s->taps - 1 - j;  // the token whose tap j reads t
                if (at >= s->tokens) continue;
                sum = MULADD(SOME(weight, j * s->channels + c, n), SOME(slope, at * wide + c - first, n), sum);
            }
            NAME(store_some)((T *)dxs + t * dxPitch + c, n, sum);
        }
    for (size_t c = first; c < last; c += W) {
        const size_t n = last - c < W ? last - c : W;
        V sum = SPLAT(0);
        for (size_t t = 0; t < s->tokens; t++) sum += SOME(slope, t * wide + c - first, n);
        NAME(store_some)((T *)dbias + c, n, sum);
        for (size_t j = 0; j < s->taps; j++) {
            const size_t skip = s->taps - 1 - j;
            sum = SPLAT(0);
            for (size_t t = skip; t < s->tokens; t++)
                sum = MULADD(SOME(slope, t * wide + c - first, n), SOME(x, (t - skip) * s->pitch + c, n), sum);
            NAME(store_some)((T *)dweight + j * s->channels + c, n, sum);
        }
    }
}

// out = v / rms(v) gamma, v = y silu(z); rows are zPitch apart in z and d in y and out
static void NAME(gated_norm)(size_t rows, size_t d, double eps, const void *ys, const void *zs, size_t zPitch,
                             const void *gammas, void *outs) {
    const T *gamma = gammas;
    for (size_t r = 0; r < rows; r++) {
        const T *y = (const T *)ys + r * d, *z = (const T *)zs + r * zPitch;
        T *out = (T *)outs + r * d;
        for (size_t i = 0; i < d; i += W) {
            const size_t n = d - i < W ? d - i : W;
            V gate = SOME(z, i, n);
            NAME(store_some)(out + i, n, SOME(y, i, n) * gate * NAME(vsigmoid)(gate));
        }
        const V scale = SPLAT(1 / sqrt(NAME(dot)(d, out, out) / (double)d + eps));
        for (size_t i = 0; i < d; i += W) {
            const size_t n = d - i < W ? d - i : W;
            NAME(store_some)(out + i, n, SOME(out, i, n) * scale * SOME(gamma, i, n));
        }
    }
}

// dgamma [d] is added to; scratch holds [2, d]
static void NAME(gated_norm_backward)(size_t rows, size_t d, double eps, const void *ys, const void *zs, size_t zPitch,
                                      const void *gammas, const void *gs, void *dys, void *dzs, size_t dzPitch,
                                      void *dgammas, void *scratch) {
    const T *gamma = gammas;
    T *v = scratch, *dv = v + d, *dgamma = dgammas;
    for (size_t r = 0; r < rows; r++) {
        const T *y = (const T *)ys + r * d, *z = (const T *)zs + r * zPitch, *g = (const T *)gs + r * d;
        T *dy = (T *)dys + r * d, *dz = (T *)dzs + r * dzPitch;
        for (size_t i = 0; i < d; i += W) {
            const size_t n = d - i < W ? d - i : W;
            V gate = SOME(z, i, n);
            NAME(store_some)(v + i, n, SOME(y, i, n) * gate * NAME(vsigmoid)(gate));
            NAME(store_some)(dv + i, n, SOME(g, i, n) * SOME(gamma, i, n));
        }
        const double rstd = 1 / sqrt(NAME(dot)(d, v, v) / (double)d + eps);
        const V scale = SPLAT(rstd), mean = SPLAT(NAME(dot)(d, v, dv) * rstd / (double)d);
        for (size_t i = 0; i < d; i += W) {
            const size_t n = d - i < W ? d - i : W;
            V hat = SOME(v, i, n) * scale, gate = SOME(z, i, n), s = NAME(vsigmoid)(gate);
            NAME(store_some)(dgamma + i, n, MULADD(SOME(g, i, n), hat, SOME(dgamma, i, n)));
            V change = scale * (SOME(dv, i, n) - hat * mean);
            NAME(store_some)(dy + i, n, change * gate * s);
            NAME(store_some)(dz + i, n, change * SOME(y, i, n) * s * MULADD(gate, SPLAT(1) - s, SPLAT(1)));
        }
    }
}
