// Kernels of sequence models: attention, the scan of Mamba-2, products with bf16 weights. Pitches are in elements.
#ifndef LK_SEQUENCE_H
#define LK_SEQUENCE_H

// ---- Attention of one head (attention.inl)

enum { LK_ATTENTION_QUERIES = 48, LK_ATTENTION_KEYS = 256 };  // a tile of scores

typedef struct {
    size_t queries, keys, width;  // width: numbers a head
    size_t offset;                // causal: query i sees the keys 0 ... offset + i
    bool causal;
    double scale;                 // of the scores
    const void *q;                // [queries, width]
    size_t qPitch;
    const void *kt;               // packed: [width, keys]; ktPitch is a multiple of 16, at least keys
    size_t ktPitch;
    const void *v;                // packed: [keys, width]
    size_t vPitch;
    void *out;                    // [queries, width]
    size_t outPitch;
    void *logsum;                 // [queries] log of the sum of exp(scores); null when no gradient will be asked for
} lk_attention;

// Takes the keys k [keys - first, width] and values v of the positions [first, keys) into kt and `packed` (v's form).
void lk_attention_pack(lk_type type, const lk_attention *s, const void *k, size_t kPitch, const void *v, size_t vPitch,
                       size_t first, void *kt, void *packed);
// out = softmax(scale q kᵀ) v for the queries [first, last), at most LK_ATTENTION_QUERIES of them.
// scratch: rows (LK_ATTENTION_KEYS + 2 width + 2) elements.
void lk_attention_forward(lk_type type, const lk_attention *s, size_t first, size_t last, void *scratch);

typedef struct {
    const void *k;  // [keys, width]; lk_attention's v is [keys, width] as it came, and kt is not read
    size_t kPitch;
    const void *g;  // the gradient of out
    size_t gPitch;
    void *dq, *dk, *dv;
    size_t dqPitch, dkPitch, dvPitch;
} lk_attention_gradient;
size_t lk_attention_backward_scratch(const lk_attention *s);
void lk_attention_backward(lk_type type, const lk_attention *s, const lk_attention_gradient *b, void *scratch);

// ---- The scan of Mamba-2 on one sample (scan.inl)

enum { LK_SCAN_CHUNK = 64 };

typedef struct {
    size_t tokens, heads, headDim, state;
    const void *x, *b, *c;  // [tokens, heads * headDim], [tokens, state] twice; all `pitch` apart
    size_t pitch;
    const void *dt;         // [tokens, heads] before softplus(dt + dtBias)
    size_t dtPitch;
    const void *dtBias, *aLog, *d;  // [heads]
    const void *scores;     // [chunks, LK_SCAN_CHUNK, LK_SCAN_CHUNK] from lk_scan_scores
    void *states;           // [heads, state, headDim]: before the first token, and on return after the last; null: zeros
} lk_scan;

// The scores C Bᵀ of the chunk that starts at token `start`; scratch: state * LK_SCAN_CHUNK elements.
void lk_scan_scores(lk_type type, const lk_scan *s, size_t start, void *scores, void *scratch);
size_t lk_scan_forward_scratch(const lk_scan *s);
// y [tokens, heads * headDim] of one head. With `states`, tokens that are cut into runs of whole chunks give the same bytes.
void lk_scan_forward(lk_type type, const lk_scan *s, size_t head, void *y, size_t yPitch, void *scratch);

typedef struct {
    const void *g;  // the gradient of y
    size_t gPitch;
    void *dx;       // [tokens, heads * headDim]
    size_t dxPitch;
    void *db, *dc;  // [tokens, state]: the part of these heads
    void *ddt;      // [tokens, heads], of dt before softplus
    size_t ddtPitch;
    double *sums;   // [heads, 3], added to: the gradients of dtBias, aLog and d
    void *dscores;  // [LK_SCAN_CHUNK, LK_SCAN_CHUNK], working space
} lk_scan_gradient;
size_t lk_scan_backward_scratch(const lk_scan *s, size_t heads);
// For the heads [first, last)
void lk_scan_backward(lk_type type, const lk_scan *s, const lk_scan_gradient *b, size_t first, size_t last,
                      void *scratch);

// ---- Around the scan (mixer.inl)

typedef struct {
    size_t tokens, channels, taps, pitch;  // pitch: of x
    const void *weight;                    // [taps, channels]
    const void *bias;                      // [channels]
} lk_causal_conv;
// y[t] = silu(bias + sum over j of weight[j] x[t - taps + 1 + j]) for the tokens [first, last) of one sample
void lk_causal_conv_silu(lk_type type, const lk_causal_conv *s, const void *x, void *y, size_t yPitch, size_t first,
                         size_t last);
// dx, dweight [taps, channels] and dbias [channels] of one sample, channels [first, last); scratch: tokens times
// their number
void lk_causal_conv_silu_backward(lk_type type, const lk_causal_conv *s, const void *x, const void *g, size_t gPitch,
                                  void *dx, size_t dxPitch, void *dweight, void *dbias, size_t first, size_t last,
                                  void *scratch);
// out [rows, d] = v / sqrt(mean(v^2) + eps) gamma with v = y silu(z); z's rows are zPitch apart
void lk_gated_norm(lk_type type, size_t rows, size_t d, double eps, const void *y, const void *z, size_t zPitch,
                   const void *gamma, void *out);
// dgamma [d] is added to; scratch: 2 d elements
void lk_gated_norm_backward(lk_type type, size_t rows, size_t d, double eps, const void *y, const void *z,
                            size_t zPitch, const void *gamma, const void *g, void *dy, void *dz, size_t dzPitch,
                            void *dgamma, void *scratch);

// ---- bf16 weights (half.inl, half_bf16.c)

// Whether the CPU multiplies bf16 itself and the level in use is AVX-512.
bool lk_has_bf16(void);
// float to bf16, rounded to nearest even; NaN stays NaN
void lk_to_bf16(size_t n, const float *x, uint16_t *y);
void lk_from_bf16(size_t n, const uint16_t *x, float *y);
// y [rows, columns] += x [rows, depth] weightᵀ for the columns [first, last); weight [columns, depth] in bf16. With
// `halves`, x in bf16, the CPU multiplies bf16 (lk_has_bf16()); with null the weights are widened.
void lk_half_matmul(size_t rows, size_t depth, const float *x, const uint16_t *halves, const uint16_t *weight,
                    float *y, size_t yPitch, size_t first, size_t last);

// ---- Bytes in tensors (counters.c)

void lk_count_bytes(int64_t change);
int64_t lk_current_bytes(void);
int64_t lk_peak_bytes(void);
// The peak becomes the current count.
void lk_reset_peak_bytes(void);

#endif
