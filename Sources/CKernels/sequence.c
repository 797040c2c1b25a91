// Forwards the kernels of sequence models to the table of the instruction set in use.
#include <string.h>
#include "internal.h"

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

void lk_attention_pack(lk_type type, const lk_attention *s, const void *k, size_t kPitch, const void *v, size_t vPitch,
                       size_t first, void *kt, void *packed) {
    lk_kernels(type)->attentionPack(s, k, kPitch, v, vPitch, first, kt, packed);
}
void lk_attention_forward(lk_type type, const lk_attention *s, size_t first, size_t last, void *scratch) {
    lk_kernels(type)->attentionForward(s, first, last, scratch);
}
size_t lk_attention_backward_scratch(const lk_attention *s) {
    const size_t wide = (s->keys + 15) / 16 * 16;
    return s->width * (2 * s->queries + 3 * s->keys + 2 * wide + LK_ATTENTION_QUERIES) + s->queries +
           2 * LK_ATTENTION_QUERIES * LK_ATTENTION_KEYS;
}
void lk_attention_backward(lk_type type, const lk_attention *s, const lk_attention_gradient *b, void *scratch) {
    lk_kernels(type)->attentionBackward(s, b, scratch);
}

void lk_scan_scores(lk_type type, const lk_scan *s, size_t start, void *scores, void *scratch) {
    lk_kernels(type)->scanScores(s, start, scores, scratch);
}
size_t lk_scan_forward_scratch(const lk_scan *s) {
    return LK_SCAN_CHUNK * (2 * s->headDim + LK_SCAN_CHUNK) + s->state * s->headDim;
}
void lk_scan_forward(lk_type type, const lk_scan *s, size_t head, void *y, size_t yPitch, void *scratch) {
    lk_kernels(type)->scanForward(s, head, y, yPitch, scratch);
}
size_t lk_scan_backward_scratch(const lk_scan *s, size_t heads) {
    const size_t chunks = (s->tokens + LK_SCAN_CHUNK - 1) / LK_SCAN_CHUNK, states = s->state * s->headDim;
    return LK_SCAN_CHUNK * (4 * s->headDim + 2 * LK_SCAN_CHUNK + larger(s->state, s->headDim)) + 2 * states +
           heads * states * (chunks + 1);
}
void lk_scan_backward(lk_type type, const lk_scan *s, const lk_scan_gradient *b, size_t first, size_t last,
                      void *scratch) {
    lk_kernels(type)->scanBackward(s, b, first, last, scratch);
}

void lk_causal_conv_silu(lk_type type, const lk_causal_conv *s, const void *x, void *y, size_t yPitch, size_t first,
                         size_t last) {
    lk_kernels(type)->causalConv(s, x, y, yPitch, first, last);
}
void lk_causal_conv_silu_backward(lk_type type, const lk_causal_conv *s, const void *x, const void *g, size_t gPitch,
                                  void *dx, size_t dxPitch, void *dweight, void *dbias, size_t first, size_t last,
                                  void *scratch) {
    lk_kernels(type)->causalConvBackward(s, x, g, gPitch, dx, dxPitch, dweight, dbias, first, last, scratch);
}
void lk_gated_norm(lk_type type, size_t rows, size_t d, double eps, const void *y, const void *z, size_t zPitch,
                   const void *gamma, void *out) {
    lk_kernels(type)->gatedNorm(rows, d, eps, y, z, zPitch, gamma, out);
}
void lk_gated_norm_backward(lk_type type, size_t rows, size_t d, double eps, const void *y, const void *z,
                            size_t zPitch, const void *gamma, const void *g, void *dy, void *dz, size_t dzPitch,
                            void *dgamma, void *scratch) {
    lk_kernels(type)->gatedNormBackward(rows, d, eps, y, z, zPitch, gamma, g, dy, dz, dzPitch, dgamma, scratch);
}

bool lk_has_bf16(void) {
    return lk_level_in_use() == LK_AVX512 && __builtin_cpu_supports("avx512bf16");
}
void lk_to_bf16(size_t n, const float *x, uint16_t *y) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        y[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16 | 0x40) : rounded);
    }
}
void lk_from_bf16(size_t n, const uint16_t *x, float *y) {
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(y + i, &bits, sizeof bits);
    }
}
void lk_half_matmul(size_t rows, size_t depth, const float *x, const uint16_t *halves, const uint16_t *weight, float *y,
                    size_t yPitch, size_t first, size_t last) {
    if (halves)
        lk_half_matmul_bf16(rows, depth, halves, weight, y, yPitch, first, last);
    else
        lk_kernels(LK_F32)->halfMatmul(rows, depth, x, weight, y, yPitch, first, last);
}
