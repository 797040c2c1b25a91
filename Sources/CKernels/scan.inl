// The selective scan of Mamba-2 in chunks, as matrix products (Dao & Gu, "Transformers are SSMs", 2024, section 6).
// Within a chunk, with c the running sum of dt A, u = dt x and H the state [state, headDim] at its start:
//     y_i = sum over j <= i of (C_i B_j) exp(c_i - c_j) u_j  +  exp(c_i) C_i H  +  D x_i
//     H' = exp(c_last) H + sum over j of B_j exp(c_last - c_j) u_j
enum { NAME(Q) = LK_SCAN_CHUNK };

// As many numbers in double: for sums that cancel
typedef double NAME(exact) __attribute__((ext_vector_type(VECTOR_BYTES / sizeof(T))));

// A head's numbers of one chunk of tokens [start, start + n)
typedef struct {
    size_t start, n;
    T dt[LK_SCAN_CHUNK];     // softplus(raw + bias)
    T slope[LK_SCAN_CHUNK];  // its derivative, 1 - exp(-dt)
    double sum[LK_SCAN_CHUNK];  // c: rounded to float, a long sum would spoil exp(c_i - c_j)
    T grown[LK_SCAN_CHUNK];  // exp(c)
    T left[LK_SCAN_CHUNK];   // exp(c_last - c)
} NAME(chunk);

// c_j - from for W tokens j
static inline V NAME(scan_gaps)(const NAME(chunk) * c, size_t j, double from) {
    NAME(exact) sum;
    memcpy(&sum, c->sum + j, sizeof sum);
    return __builtin_convertvector(sum - (NAME(exact))from, V);
}

// exp(c_i - c_j) for W tokens j; 1 for those later than i, where it might overflow
static inline V NAME(scan_decays)(const NAME(chunk) * c, size_t i, size_t j) {
    V gap = NAME(scan_gaps)(c, j, c->sum[i]);
    return NAME(vexp)(-NAME(select)(gap < SPLAT(0), SPLAT(0), gap));
}

static void NAME(scan_open)(const lk_scan *s, size_t head, size_t start, NAME(chunk) * c) {
    const double a = -exp((double)((const T *)s->aLog)[head]);
    const T bias = ((const T *)s->dtBias)[head];
    c->start = start;
    c->n = s->tokens - start < LK_SCAN_CHUNK ? s->tokens - start : LK_SCAN_CHUNK;
    for (size_t i = 0; i < NAME(Q); i++)
        c->dt[i] = i < c->n ? ((const T *)s->dt)[(start + i) * s->dtPitch + head] + bias : 0;
    for (size_t i = 0; i < NAME(Q); i += W) {
        V raw = AT(c->dt, i);
        V dt = NAME(select)(raw < SPLAT(0), SPLAT(0), raw) + NAME(vlog1p)(NAME(vexp)(-NAME(vabs)(raw)));
        NAME(store)(c->dt + i, dt);
        NAME(store)(c->slope + i, -NAME(vexpm1)(-dt));
    }
    double sum = 0;
    for (size_t i = 0; i < NAME(Q); i++) c->sum[i] = i < c->n ? sum += (double)c->dt[i] * a : sum;
    for (size_t i = 0; i < NAME(Q); i += W) {
        NAME(store)(c->grown + i, NAME(vexp)(NAME(scan_gaps)(c, i, 0)));
        NAME(store)(c->left + i, NAME(vexp)(-NAME(scan_gaps)(c, i, sum)));
    }
}

// m[i, j] = scores[i, j] exp(c_i - c_j) for j <= i, 0 above
static void NAME(scan_decay)(const NAME(chunk) * c, const T *scores, T *m) {
    for (size_t i = 0; i < c->n; i++) {
        size_t j = 0;
        for (; j <= i; j += W)  // the chunk is a multiple of every vector's length
            NAME(store)(m + i * NAME(Q) + j, AT(scores, i * NAME(Q) + j) * NAME(scan_decays)(c, i, j));
        for (j = i + 1; j < NAME(Q); j++) m[i * NAME(Q) + j] = 0;
    }
}

// The chunk's C Bᵀ, shared by the heads; scratch holds [state, chunk]
static void NAME(scan_scores)(const lk_scan *s, size_t start, void *scores, void *scratch) {
    const size_t n = s->tokens - start < LK_SCAN_CHUNK ? s->tokens - start : LK_SCAN_CHUNK;
    memset(scratch, 0, s->state * NAME(Q) * sizeof(T));
    NAME(block_transpose)(n, s->state, (const T *)s->b + start * s->pitch, s->pitch, scratch, NAME(Q));
    NAME(block_matmul)(n, NAME(Q), s->state, (const T *)s->c + start * s->pitch, s->pitch, 1, scratch, NAME(Q), scores,
                       NAME(Q), false);
}

// u = dt x and late = exp(c_last - c) u, both [chunk, headDim]
static void NAME(scan_inputs)(const lk_scan *s, size_t head, const NAME(chunk) * c, T *u, T *late) {
    for (size_t i = 0; i < c->n; i++) {
        const T *x = (const T *)s->x + (c->start + i) * s->pitch + head * s->headDim;
        NAME(block_scale)(s->headDim, c->dt[i], x, u + i * s->headDim);
        NAME(block_scale)(s->headDim, c->dt[i] * c->left[i], x, late + i * s->headDim);
    }
}

// H = exp(c_last) H + Bᵀ late
static void NAME(scan_advance)(const lk_scan *s, const NAME(chunk) * c, const T *late, T *h) {
    const size_t p = s->headDim;
    NAME(block_scale)(s->state * p, c->grown[c->n - 1], h, h);
    NAME(block_matmul)(s->state, p, c->n, (const T *)s->b + c->start * s->pitch, 1, s->pitch, late, p, h, p, true);
}

static void NAME(scan_forward)(const lk_scan *s, size_t head, void *ys, size_t yPitch, void *scratch) {
    const size_t p = s->headDim;
    T *u = scratch, *late = u + NAME(Q) * p, *m = late + NAME(Q) * p, *h = m + NAME(Q) * NAME(Q);
    const T skip = ((const T *)s->d)[head];
    if (s->states)
        h = (T *)s->states + head * s->state * p;
    else
        memset(h, 0, s->state * p * sizeof(T));
    NAME(chunk) c;
    for (size_t start = 0; start < s->tokens; start += NAME(Q)) {
        NAME(scan_open)(s, head, start, &c);
        NAME(scan_inputs)(s, head, &c, u, late);
        NAME(scan_decay)(&c, (const T *)s->scores + start * NAME(Q), m);
        T *y = (T *)ys + start * yPitch + head * p;
        NAME(block_matmul)(c.n, p, s->state, (const T *)s->c + start * s->pitch, s->pitch, 1, h, p, y, yPitch, false);
        for (size_t i = 0; i < c.n; i++) {
            const T *x = (const T *)s->x + (start + i) * s->pitch + head * p;
            NAME(block_scale)(p, c.grown[i], y + i * yPitch, y + i * yPitch);
            NAME(axpby)(p, (double)skip, x, 1, y + i * yPitch);
        }
        // Rows of the lower triangle, 12 at a time: no further than the diagonal
        for (size_t i = 0; i < c.n; i += 12) {
            const size_t rows = c.n - i < 12 ? c.n - i : 12;
            NAME(block_matmul)(rows, p, i + rows, m + i * NAME(Q), NAME(Q), 1, u, p, y + i * yPitch, yPitch, true);
        }
        NAME(scan_advance)(s, &c, late, h);
    }
}

// What a chunk's gradient needs besides the inputs
typedef struct {
    T *u, *late, *m, *dm, *gGrown, *du, *ut, *ht, *dht;
} NAME(scan_room);

// One chunk and head of the way back: dh is the gradient of the state at its end on entry, at its start on return.
static void NAME(scan_chunk_backward)(const lk_scan *s, const lk_scan_gradient *b, size_t head, NAME(chunk) * c,
                                      const T *h, T *dh, const NAME(scan_room) * r) {
    const size_t p = s->headDim, k = s->state, n = c->n, at = c->start * s->pitch;
    const T *x = (const T *)s->x + at + head * p, *bs = (const T *)s->b + at, *cs = (const T *)s->c + at;
    const T *g = (const T *)b->g + c->start * b->gPitch + head * p;
    T *dx = (T *)b->dx + c->start * b->dxPitch + head * p, *db = (T *)b->db + c->start * k,
      *dc = (T *)b->dc + c->start * k;
    double dsum[LK_SCAN_CHUNK] = {0}, last = 0;  // gradients of c
    NAME(scan_inputs)(s, head, c, r->u, r->late);
    NAME(scan_decay)(c, (const T *)s->scores + c->start * NAME(Q), r->m);
    // dM = g uᵀ, masked; d(c_i - c_j) = dM M; d(C_i B_j) = dM exp(c_i - c_j)
    memset(r->ut, 0, p * NAME(Q) * sizeof(T));
    NAME(block_transpose)(n, p, r->u, p, r->ut, NAME(Q));
    NAME(block_matmul)(n, NAME(Q), p, g, b->gPitch, 1, r->ut, NAME(Q), r->dm, NAME(Q), false);
    // Reverse running sums take most of the row and column sums of dM M away again: in double both are sums of the same
    // numbers, and what cancels does so exactly.
    NAME(exact) columns[LK_SCAN_CHUNK / W];
    memset(columns, 0, sizeof columns);
    T *scoreGradient = b->dscores;
    for (size_t i = 0; i < n; i++) {
        NAME(exact) total = (NAME(exact))0.0;
        for (size_t j = 0; j <= i; j += W) {
            V dm = AT(r->dm, i * NAME(Q) + j), change = dm * AT(r->m, i * NAME(Q) + j);
            const NAME(exact) exact = __builtin_convertvector(change, NAME(exact));
            total += exact;
            columns[j / W] += exact;
            V slope = dm * NAME(scan_decays)(c, i, j);
            if (j + W > i + 1)  // m is 0 above the diagonal, but the score's gradient needs the mask
                for (size_t lane = i + 1 - j; lane < W; lane++) slope[lane] = 0;
            NAME(store)(scoreGradient + i * NAME(Q) + j, AT(scoreGradient, i * NAME(Q) + j) + slope);
        }
        for (size_t lane = 0; lane < W; lane++) dsum[i] += total[lane];
    }
    for (size_t j = 0; j < n; j++) dsum[j] -= columns[j / W][j % W];
    // Through the state at the start: dC_i = exp(c_i) H g_i, and d(c_i) = C_i dC_i
    NAME(block_transpose)(k, p, h, p, r->ht, k);
    NAME(block_transpose)(k, p, dh, p, r->dht, k);
    for (size_t i = 0; i < n; i++) NAME(block_scale)(p, c->grown[i], g + i * b->gPitch, r->gGrown + i * p);
    NAME(block_matmul)(n, k, p, r->gGrown, p, 1, r->ht, k, r->du, k, false);
    for (size_t i = 0; i < n; i++) {
        dsum[i] += NAME(dot)(k, cs + i * s->pitch, r->du + i * k);
        NAME(block_add)(k, r->du + i * k, dc + i * k);
    }
    // Through the state at the end: dB_j = exp(c_last - c_j) dH u_j
    NAME(block_matmul)(n, k, p, r->late, p, 1, r->dht, k, r->du, k, false);
    for (size_t j = 0; j < n; j++) {
        const double change = NAME(dot)(k, bs + j * s->pitch, r->du + j * k);
        dsum[j] -= change;
        last += change;
        NAME(block_add)(k, r->du + j * k, db + j * k);
    }
    last += (double)c->grown[n - 1] * NAME(dot)(k * p, h, dh);
    dsum[n - 1] += last;
    // du = exp(c_last - c) B dH + Mᵀ g
    NAME(block_matmul)(n, p, k, bs, s->pitch, 1, dh, p, r->du, p, false);
    for (size_t j = 0; j < n; j++) NAME(block_scale)(p, c->left[j], r->du + j * p, r->du + j * p);
    for (size_t j = 0; j < n; j += 12) {
        const size_t rows = n - j < 12 ? n - j : 12;
        NAME(block_matmul)(rows, p, n - j, r->m + j * NAME(Q) + j, 1, NAME(Q), g + j * b->gPitch, b->gPitch,
                           r->du + j * p, p, true);
    }
    // dH at the start = exp(c_last) dH + Cᵀ exp(c) g
    NAME(block_scale)(k * p, c->grown[n - 1], dh, dh);
    NAME(block_matmul)(k, p, n, cs, 1, s->pitch, r->gGrown, p, dh, p, true);
    // c is the running sum of dt A; u = dt x
    const double a = -exp((double)((const T *)s->aLog)[head]);
    const T skip = ((const T *)s->d)[head];
    double *sums = b->sums + 3 * head, running = 0;
    for (size_t i = n; i-- > 0;) {
        running += dsum[i];
        const T *xi = x + i * s->pitch, *gi = g + i * b->gPitch, *du = r->du + i * p;
        const double draw = (a * running + NAME(dot)(p, xi, du)) * (double)c->slope[i];
        ((T *)b->ddt)[(c->start + i) * b->ddtPitch + head] = (T)draw;
        sums[0] += draw;
        sums[1] += a * running * (double)c->dt[i];
        sums[2] += NAME(dot)(p, xi, gi);
        NAME(block_scale)(p, c->dt[i], du, dx + i * b->dxPitch);
        NAME(axpby)(p, (double)skip, gi, 1, dx + i * b->dxPitch);
    }
}

static void NAME(scan_backward)(const lk_scan *s, const lk_scan_gradient *b, size_t first, size_t last, void *scratch) {
    const size_t p = s->headDim, k = s->state, heads = last - first, widest = k > p ? k : p;
    const size_t chunks = (s->tokens + NAME(Q) - 1) / NAME(Q);
    NAME(scan_room) r;
    T *free = scratch;
#define TAKE(field, count) r.field = free, free += (count)
    TAKE(u, NAME(Q) * p), TAKE(late, NAME(Q) * p), TAKE(m, NAME(Q) * NAME(Q)), TAKE(dm, NAME(Q) * NAME(Q));
    TAKE(gGrown, NAME(Q) * p), TAKE(du, NAME(Q) * widest), TAKE(ut, NAME(Q) * p);
    TAKE(ht, k * p), TAKE(dht, k * p);
#undef TAKE
    T *dh = free, *states = dh + heads * k * p;  // [heads, k, p]; [chunks, heads, k, p]: at each chunk's start
    NAME(chunk) c;
    memset(dh, 0, heads * k * p * sizeof(T));
    memset(states, 0, heads * k * p * sizeof(T));
    memset(b->db, 0, s->tokens * k * sizeof(T));
    memset(b->dc, 0, s->tokens * k * sizeof(T));
    for (size_t i = 0; i + 1 < chunks; i++)
        for (size_t head = first; head < last; head++) {
            T *h = states + (i * heads + head - first) * k * p, *next = h + heads * k * p;
            NAME(scan_open)(s, head, i * NAME(Q), &c);
            NAME(scan_inputs)(s, head, &c, r.u, r.late);
            memcpy(next, h, k * p * sizeof(T));
            NAME(scan_advance)(s, &c, r.late, next);
        }
    for (size_t i = chunks; i-- > 0;) {
        memset(b->dscores, 0, NAME(Q) * NAME(Q) * sizeof(T));
        for (size_t head = first; head < last; head++) {
            NAME(scan_open)(s, head, i * NAME(Q), &c);
            NAME(scan_chunk_backward)(s, b, head, &c, states + (i * heads + head - first) * k * p,
                                      dh + (head - first) * k * p, &r);
        }
        // The heads share the scores C_i B_j.
        const T *bs = (const T *)s->b + c.start * s->pitch, *cs = (const T *)s->c + c.start * s->pitch;
        T *db = (T *)b->db + c.start * k, *dc = (T *)b->dc + c.start * k;
        NAME(block_matmul)(c.n, k, c.n, b->dscores, NAME(Q), 1, bs, s->pitch, dc, k, true);
        NAME(block_matmul)(c.n, k, c.n, b->dscores, 1, NAME(Q), cs, s->pitch, db, k, true);
    }
}
