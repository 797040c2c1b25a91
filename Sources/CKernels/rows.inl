// Softmax, cross-entropy and normalisation over the rows of [rows, d].

static T NAME(row_max)(size_t d, const T *x) {
    V m = SPLAT(-INFINITY);
    size_t i = 0;
    for (; i + W <= d; i += W) m = NAME(vmax)(AT(x, i), m);
    T best = NAME(max_lane)(m);
    for (; i < d; i++) best = x[i] > best ? x[i] : best;
    return best;
}

// y = exp(x - shift); returns the sum of y
static double NAME(row_exp)(size_t d, const T *x, T shift, T *y) {
    V s = SPLAT(0);
    size_t i = 0;
    for (; i + W <= d; i += W) {
        V e = NAME(vexp)(AT(x, i) - SPLAT(shift));
        NAME(store)(y + i, e);
        s += e;
    }
    double total = NAME(add_lanes)(s);
    if (i < d) {
        V e = NAME(vexp)(PART(x, i, d - i) - SPLAT(shift));
        NAME(store_part)(y + i, d - i, e);
        for (size_t lane = 0; lane < d - i; lane++) total += e[lane];
    }
    return total;
}

static void NAME(softmax)(size_t rows, size_t d, const void *xs, void *ys) {
    for (size_t r = 0; r < rows; r++) {
        const T *x = (const T *)xs + r * d;
        T *y = (T *)ys + r * d;
        double total = NAME(row_exp)(d, x, NAME(row_max)(d, x), y);
        NAME(unary)(LK_AFFINE, d, y, y, 1 / total, 0);
    }
}

static void NAME(softmax_backward)(size_t rows, size_t d, const void *ys, const void *gradient, void *dxs) {
    for (size_t r = 0; r < rows; r++) {
        const T *y = (const T *)ys + r * d, *g = (const T *)gradient + r * d;
        T *dx = (T *)dxs + r * d;
        const V mean = SPLAT(NAME(dot)(d, y, g));
        size_t i = 0;
        for (; i + W <= d; i += W) NAME(store)(dx + i, AT(y, i) * (AT(g, i) - mean));
        if (i < d) NAME(store_part)(dx + i, d - i, PART(y, i, d - i) * (PART(g, i, d - i) - mean));
    }
}

static void NAME(cross_entropy)(size_t rows, size_t d, const void *xs, const int32_t *target, void *probabilities,
                                void *losses) {
    for (size_t r = 0; r < rows; r++) {
        const T *x = (const T *)xs + r * d;
        T *y = (T *)probabilities + r * d, *loss = losses;
        T shift = NAME(row_max)(d, x);
        double total = NAME(row_exp)(d, x, shift, y);
        NAME(unary)(LK_AFFINE, d, y, y, 1 / total, 0);
        loss[r] = (T)(log(total) + (double)shift - (double)x[target[r]]);
    }
}

// sum of (x - mean)^2
static double NAME(squares_about)(size_t d, const T *x, T mean) {
    V s = SPLAT(0), s2 = s;
    const V m = SPLAT(mean);
    size_t i = 0;
    double total = 0;
    while (i + W <= d) {
        // Blocks as in `sum`, so that long rows (an instance norm over 10^5 samples) stay accurate.
        size_t end = d - i < NAME(block) ? d : i + NAME(block);
        s = s2 = SPLAT(0);
        for (; i + 2 * W <= end; i += 2 * W) {
            V a = AT(x, i) - m, b = AT(x, i + W) - m;
            s = MULADD(a, a, s);
            s2 = MULADD(b, b, s2);
        }
        for (; i + W <= end; i += W) {
            V a = AT(x, i) - m;
            s = MULADD(a, a, s);
        }
        total += NAME(add_lanes)(s + s2);
    }
    for (; i < d; i++) {
        double a = (double)x[i] - (double)mean;
        total += a * a;
    }
    return total;
}

static void NAME(norm)(bool centre, size_t rows, size_t d, double eps, const void *xs, const void *gammas,
                       const void *betas, void *ys, void *means, void *rstds) {
    const T *gamma = gammas, *beta = betas;
    for (size_t r = 0; r < rows; r++) {
        const T *x = (const T *)xs + r * d;
        T *y = (T *)ys + r * d;
        T mean = centre ? (T)(NAME(sum)(d, x) / (double)d) : 0;
        T rstd = (T)(1 / sqrt(NAME(squares_about)(d, x, mean) / (double)d + eps));
        ((T *)means)[r] = mean;
        ((T *)rstds)[r] = rstd;
        const V m = SPLAT(mean), s = SPLAT(rstd);
        for (size_t i = 0; i < d; i += W) {
            size_t n = d - i < W ? d - i : W;
            V v = ((n == W ? AT(x, i) : PART(x, i, n)) - m) * s;
            if (gamma) v *= n == W ? AT(gamma, i) : PART(gamma, i, n);
            if (beta) v += n == W ? AT(beta, i) : PART(beta, i, n);
            if (n == W)
                NAME(store)(y + i, v);
            else
                NAME(store_part)(y + i, n, v);
        }
    }
}

// dgamma += g xhat, dbeta += g for one row
static void NAME(norm_parameters)(size_t d, const T *x, T mean, T rstd, const T *g, T *dgamma, T *dbeta) {
    const V m = SPLAT(mean), s = SPLAT(rstd);
    size_t i = 0;
    for (; i + W <= d; i += W) {
        V v = AT(g, i);
        if (dgamma) NAME(store)(dgamma + i, MULADD((AT(x, i) - m) * s, v, AT(dgamma, i)));
        if (dbeta) NAME(store)(dbeta + i, AT(dbeta, i) + v);
    }
    for (; i < d; i++) {
        if (dgamma) dgamma[i] += (x[i] - mean) * rstd * g[i];
        if (dbeta) dbeta[i] += g[i];
    }
}

static void NAME(norm_backward)(bool centre, size_t rows, size_t d, const void *xs, const void *gammas,
                                const void *means, const void *rstds, const void *gradient, void *dxs, void *dgamma,
                                void *dbeta) {
    const T *gamma = gammas;
    for (size_t r = 0; r < rows; r++) {
        const T *x = (const T *)xs + r * d, *g = (const T *)gradient + r * d;
        T mean = ((const T *)means)[r], rstd = ((const T *)rstds)[r];
        if (dgamma || dbeta) NAME(norm_parameters)(d, x, mean, rstd, g, dgamma, dbeta);
        if (!dxs) continue;
        T *dx = (T *)dxs + r * d;
        const V m = SPLAT(mean), s = SPLAT(rstd);
        double sumG = 0, sumGX = 0;
        for (size_t start = 0; start < d; start += NAME(block)) {
            size_t end = d - start < NAME(block) ? d : start + NAME(block);
            V a = SPLAT(0), b = SPLAT(0);
            for (size_t i = start; i < end; i += W) {
                size_t n = end - i < W ? end - i : W;
                V v = n == W ? AT(g, i) : PART(g, i, n);
                if (gamma) v *= n == W ? AT(gamma, i) : PART(gamma, i, n);
                V hat = ((n == W ? AT(x, i) : PART(x, i, n)) - m) * s;
                a += v;
                b = MULADD(v, hat, b);
            }
            sumG += NAME(add_lanes)(a);
            sumGX += NAME(add_lanes)(b);
        }
        const V meanG = SPLAT(centre ? sumG / (double)d : 0), meanGX = SPLAT(sumGX / (double)d);
        for (size_t i = 0; i < d; i += W) {
            size_t n = d - i < W ? d - i : W;
            V v = n == W ? AT(g, i) : PART(g, i, n);
            if (gamma) v *= n == W ? AT(gamma, i) : PART(gamma, i, n);
            V hat = ((n == W ? AT(x, i) : PART(x, i, n)) - m) * s;
            V result = s * (v - meanG - hat * meanGX);
            if (n == W)
                NAME(store)(dx + i, result);
            else
                NAME(store_part)(dx + i, n, result);
        }
    }
}
