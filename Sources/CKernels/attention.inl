// Attention of one head over tiles of queries and keys (Dao, "FlashAttention-2", 2023): the scores never exist at once.

// The keys that query `row` may see
static inline size_t NAME(visible)(const lk_attention *s, size_t row) {
    return s->causal && s->offset + row + 1 < s->keys ? s->offset + row + 1 : s->keys;
}

static inline size_t NAME(padded)(size_t n) { return (n + W - 1) / W * W; }

static void NAME(attention_pack)(const lk_attention *s, const void *ks, size_t kPitch, const void *vs, size_t vPitch,
                                 size_t first, void *kts, void *packed) {
    const T *k = ks, *v = vs;
    T *kt = kts, *to = packed;
    NAME(block_transpose)(s->keys - first, s->width, k, kPitch, kt + first, s->ktPitch);
    for (size_t r = first; r < s->keys; r++) memcpy(to + r * s->vPitch, v + (r - first) * vPitch, s->width * sizeof(T));
}

static void NAME(attention_forward)(const lk_attention *s, size_t first, size_t last, void *scratch) {
    const size_t rows = last - first, d = s->width;
    T *scores = scratch, *q = scores + rows * LK_ATTENTION_KEYS, *o = q + rows * d, *top = o + rows * d,
      *total = top + rows;
    for (size_t i = 0; i < rows; i++) {
        NAME(block_scale)(d, (T)s->scale, (const T *)s->q + (first + i) * s->qPitch, q + i * d);
        top[i] = -INFINITY;
        total[i] = 0;
    }
    const size_t keys = NAME(visible)(s, last - 1);
    for (size_t start = 0; start < keys; start += LK_ATTENTION_KEYS) {
        const size_t n = keys - start < LK_ATTENTION_KEYS ? keys - start : LK_ATTENTION_KEYS;
        const size_t pitch = NAME(padded)(n);  // ktPitch leaves room for it
        NAME(block_matmul)(rows, pitch, d, q, d, 1, (const T *)s->kt + start, s->ktPitch, scores, pitch, false);
        for (size_t i = 0; i < rows; i++) {
            T *row = scores + i * pitch;
            const size_t end = NAME(visible)(s, first + i);
            const size_t seen = end <= start ? 0 : end - start < n ? end - start : n;
            if (seen > 0) {
                const T best = NAME(row_max)(seen, row), shift = best > top[i] ? best : top[i];
                const T shrink = top[i] == shift ? 1 : (T)exp((double)top[i] - (double)shift);
                total[i] = total[i] * shrink + (T)NAME(row_exp)(seen, row, shift, row);
                top[i] = shift;
                if (start > 0 && shrink != 1) NAME(block_scale)(d, shrink, o + i * d, o + i * d);
            }
            for (size_t j = seen; j < n; j++) row[j] = 0;
        }
        const T *v = (const T *)s->v + start * s->vPitch;
        NAME(block_matmul)(rows, d, n, scores, pitch, 1, v, s->vPitch, o, d, start > 0);
    }
    for (size_t i = 0; i < rows; i++) {
        NAME(block_scale)(d, 1 / total[i], o + i * d, (T *)s->out + (first + i) * s->outPitch);
        if (s->logsum) ((T *)s->logsum)[first + i] = top[i] + (T)log((double)total[i]);
    }
}

// p = exp(score - logsum) on the visible part of a tile, ds = p (dp - delta)
static void NAME(attention_slopes)(const lk_attention *s, size_t first, size_t rows, size_t start, size_t n,
                                   size_t pitch, const T *delta, T *p, T *ds) {
    for (size_t i = 0; i < rows; i++) {
        T *row = p + i * pitch, *slope = ds + i * pitch;
        const size_t end = NAME(visible)(s, first + i);
        const size_t seen = end <= start ? 0 : end - start < n ? end - start : n;
        const V shift = SPLAT(((const T *)s->logsum)[first + i]), mean = SPLAT(delta[first + i]);
        for (size_t j = 0; j < seen; j += W) {  // rows are padded to whole vectors
            V e = NAME(vexp)(AT(row, j) - shift);
            NAME(store)(row + j, e);
            NAME(store)(slope + j, e * (AT(slope, j) - mean));
        }
        for (size_t j = seen; j < n; j++) row[j] = slope[j] = 0;
    }
}

static void NAME(attention_backward)(const lk_attention *s, const lk_attention_gradient *b, void *scratch) {
    const size_t d = s->width, wide = NAME(padded)(s->keys);
    T *q = scratch, *g = q + s->queries * d, *k = g + s->queries * d, *kt = k + s->keys * d, *vt = kt + d * wide,
      *dk = vt + d * wide, *dv = dk + s->keys * d, *delta = dv + s->keys * d, *p = delta + s->queries,
      *ds = p + LK_ATTENTION_QUERIES * LK_ATTENTION_KEYS, *dq = ds + LK_ATTENTION_QUERIES * LK_ATTENTION_KEYS;
    for (size_t i = 0; i < s->queries; i++) {
        const T *from = (const T *)b->g + i * b->gPitch;
        NAME(block_scale)(d, (T)s->scale, (const T *)s->q + i * s->qPitch, q + i * d);
        memcpy(g + i * d, from, d * sizeof(T));
        delta[i] = (T)NAME(dot)(d, from, (const T *)s->out + i * s->outPitch);
    }
    memset(kt, 0, 2 * d * wide * sizeof(T));
    NAME(block_transpose)(s->keys, d, b->k, b->kPitch, kt, wide);
    NAME(block_transpose)(s->keys, d, s->v, s->vPitch, vt, wide);
    for (size_t i = 0; i < s->keys; i++) memcpy(k + i * d, (const T *)b->k + i * b->kPitch, d * sizeof(T));
    memset(dk, 0, 2 * s->keys * d * sizeof(T));
    for (size_t first = 0; first < s->queries; first += LK_ATTENTION_QUERIES) {
        const size_t left = s->queries - first, rows = left < LK_ATTENTION_QUERIES ? left : LK_ATTENTION_QUERIES;
        const size_t keys = NAME(visible)(s, first + rows - 1);
        for (size_t start = 0; start < keys; start += LK_ATTENTION_KEYS) {
            const size_t n = keys - start < LK_ATTENTION_KEYS ? keys - start : LK_ATTENTION_KEYS;
            const size_t pitch = NAME(padded)(n);
            NAME(block_matmul)(rows, pitch, d, q + first * d, d, 1, kt + start, wide, p, pitch, false);
            NAME(block_matmul)(rows, pitch, d, g + first * d, d, 1, vt + start, wide, ds, pitch, false);
            NAME(attention_slopes)(s, first, rows, start, n, pitch, delta, p, ds);
            NAME(block_matmul)(n, d, rows, p, 1, pitch, g + first * d, d, dv + start * d, d, true);
            NAME(block_matmul)(n, d, rows, ds, 1, pitch, q + first * d, d, dk + start * d, d, true);
            NAME(block_matmul)(rows, d, n, ds, pitch, 1, k + start * d, d, dq, d, start > 0);
        }
        for (size_t i = 0; i < rows; i++)
            NAME(block_scale)(d, (T)s->scale, dq + i * d, (T *)b->dq + (first + i) * b->dqPitch);
    }
    for (size_t i = 0; i < s->keys; i++) {
        memcpy((T *)b->dk + i * b->dkPitch, dk + i * d, d * sizeof(T));
        memcpy((T *)b->dv + i * b->dvPitch, dv + i * d, d * sizeof(T));
    }
}
