// Batch normalisation: statistics and gradients of each channel of [batch, channels, length].

static void NAME(channel_moments)(size_t batch, size_t channels, size_t length, const void *xs, void *means,
                                  void *variances, size_t first, size_t last) {
    const T *x = xs;
    double count = (double)batch * (double)length;
    for (size_t c = first; c < last; c++) {
        double total = 0, squares = 0;
        for (size_t b = 0; b < batch; b++) total += NAME(sum)(length, x + (b * channels + c) * length);
        T mean = (T)(total / count);
        for (size_t b = 0; b < batch; b++)
            squares += NAME(squares_about)(length, x + (b * channels + c) * length, mean);
        ((T *)means)[c] = mean;
        ((T *)variances)[c] = (T)(squares / count);
    }
}

static void NAME(channel_affine)(size_t batch, size_t channels, size_t length, const void *xs, const void *scale,
                                 const void *shift, void *ys, size_t first, size_t last) {
    for (size_t b = 0; b < batch; b++)
        for (size_t c = first; c < last; c++) {
            size_t at = (b * channels + c) * length;
            NAME(unary)(LK_AFFINE, length, (const T *)xs + at, (T *)ys + at, (double)((const T *)scale)[c],
                        (double)((const T *)shift)[c]);
        }
}

static void NAME(channel_gradient_sums)(size_t batch, size_t channels, size_t length, const void *xs,
                                        const void *gradient, const void *means, const void *rstds, void *sum1,
                                        void *sum2, size_t first, size_t last) {
    for (size_t c = first; c < last; c++) {
        double mean = (double)((const T *)means)[c], rstd = (double)((const T *)rstds)[c];
        double total = 0, products = 0;
        for (size_t b = 0; b < batch; b++) {
            size_t at = (b * channels + c) * length;
            const T *x = (const T *)xs + at, *g = (const T *)gradient + at;
            const V m = SPLAT(mean);
            for (size_t start = 0; start < length; start += NAME(block)) {
                size_t end = length - start < NAME(block) ? length : start + NAME(block), i = start;
                V a = SPLAT(0), p = SPLAT(0);
                for (; i + W <= end; i += W) {
                    a += AT(g, i);
                    p = MULADD(AT(g, i), AT(x, i) - m, p);
                }
                total += NAME(add_lanes)(a);
                products += NAME(add_lanes)(p);
                for (; i < end; i++) {
                    total += (double)g[i];
                    products += (double)g[i] * ((double)x[i] - mean);
                }
            }
        }
        ((T *)sum1)[c] = (T)total;
        ((T *)sum2)[c] = (T)(products * rstd);
    }
}

static void NAME(channel_norm_backward)(size_t batch, size_t channels, size_t length, const void *xs,
                                        const void *gradient, const void *means, const void *rstds, const void *scales,
                                        const void *sum1, const void *sum2, void *dxs, size_t first, size_t last) {
    double count = (double)batch * (double)length;
    for (size_t b = 0; b < batch; b++)
        for (size_t c = first; c < last; c++) {
            size_t at = (b * channels + c) * length, i = 0;
            const T *x = (const T *)xs + at, *g = (const T *)gradient + at;
            T *dx = (T *)dxs + at;
            // dx = p g + q x + r
            double scale = (double)((const T *)scales)[c], mean = (double)((const T *)means)[c];
            double slope = (double)((const T *)rstds)[c] * (double)((const T *)sum2)[c] / count;
            const T p = (T)scale, q = (T)(-scale * slope);
            const T r = (T)(-scale * (double)((const T *)sum1)[c] / count), m = (T)mean;
            for (; i + W <= length; i += W)
                NAME(store)(dx + i, MULADD(AT(g, i), SPLAT(p), MULADD(AT(x, i) - SPLAT(m), SPLAT(q), SPLAT(r))));
            for (; i < length; i++) dx[i] = g[i] * p + ((x[i] - m) * q + r);
        }
}
