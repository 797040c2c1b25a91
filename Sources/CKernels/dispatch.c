// Chooses the instruction set once, at first use, and forwards each kernel to its table.
#include <stdatomic.h>
#include "internal.h"

static const lk_table *const tables[3][2] = {
    [LK_PORTABLE] = {&lk_table_portable_f32, &lk_table_portable_f64},
    [LK_AVX2] = {&lk_table_avx2_f32, &lk_table_avx2_f64},
    [LK_AVX512] = {&lk_table_avx512_f32, &lk_table_avx512_f64},
};
static _Atomic int chosen = -1;

static lk_level best_level(void) {
    __builtin_cpu_init();
    bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return LK_AVX512;
    return fma ? LK_AVX2 : LK_PORTABLE;
}

lk_level lk_level_in_use(void) {
    int level = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (level < 0) {
        level = best_level();
        atomic_store_explicit(&chosen, level, memory_order_relaxed);
    }
    return (lk_level)level;
}

bool lk_force_level(lk_level level) {
    if (level > best_level()) return false;
    atomic_store_explicit(&chosen, level, memory_order_relaxed);
    return true;
}

const char *lk_instruction_set(void) {
    static const char *const names[] = {"portable", "avx2", "avx512"};
    return names[lk_level_in_use()];
}

const lk_table *lk_kernels(lk_type type) { return tables[lk_level_in_use()][type]; }

void lk_unary(lk_type type, lk_unary_op op, size_t n, const void *x, void *y, double p, double q) {
    lk_kernels(type)->unary(op, n, x, y, p, q);
}
void lk_unary_backward(lk_type type, lk_unary_op op, size_t n, const void *saved, const void *g, void *dx, double p,
                       double q) {
    lk_kernels(type)->unaryBackward(op, n, saved, g, dx, p, q);
}
void lk_axpby(lk_type type, size_t n, double a, const void *x, double b, void *y) {
    lk_kernels(type)->axpby(n, a, x, b, y);
}
void lk_fill(lk_type type, size_t n, double value, void *y) { lk_kernels(type)->fill(n, value, y); }
double lk_sum(lk_type type, size_t n, const void *x) { return lk_kernels(type)->sum(n, x); }
double lk_dot(lk_type type, size_t n, const void *x, const void *y) { return lk_kernels(type)->dot(n, x, y); }
double lk_squared_distance(lk_type type, size_t n, const void *x, const void *y, const void *w) {
    return lk_kernels(type)->squaredDistance(n, x, y, w);
}
void lk_sum_middle(lk_type type, size_t outer, size_t reduced, size_t inner, const void *x, void *y) {
    lk_kernels(type)->sumMiddle(outer, reduced, inner, x, y);
}
bool lk_all_finite(lk_type type, size_t n, const void *x) { return lk_kernels(type)->allFinite(n, x); }
void lk_softmax(lk_type type, size_t rows, size_t d, const void *x, void *y) { lk_kernels(type)->softmax(rows, d, x, y); }
void lk_softmax_backward(lk_type type, size_t rows, size_t d, const void *y, const void *g, void *dx) {
    lk_kernels(type)->softmaxBackward(rows, d, y, g, dx);
}
void lk_cross_entropy(lk_type type, size_t rows, size_t d, const void *x, const int32_t *target, void *probabilities,
                      void *loss) {
    lk_kernels(type)->crossEntropy(rows, d, x, target, probabilities, loss);
}
void lk_norm(lk_type type, bool centre, size_t rows, size_t d, double eps, const void *x, const void *gamma,
             const void *beta, void *y, void *mean, void *rstd) {
    lk_kernels(type)->norm(centre, rows, d, eps, x, gamma, beta, y, mean, rstd);
}
void lk_norm_backward(lk_type type, bool centre, size_t rows, size_t d, const void *x, const void *gamma,
                      const void *mean, const void *rstd, const void *g, void *dx, void *dgamma, void *dbeta) {
    lk_kernels(type)->normBackward(centre, rows, d, x, gamma, mean, rstd, g, dx, dgamma, dbeta);
}
void lk_channel_moments(lk_type type, size_t batch, size_t channels, size_t length, const void *x, void *mean,
                        void *variance, size_t first, size_t last) {
    lk_kernels(type)->channelMoments(batch, channels, length, x, mean, variance, first, last);
}
void lk_channel_affine(lk_type type, size_t batch, size_t channels, size_t length, const void *x, const void *scale,
                       const void *shift, void *y, size_t first, size_t last) {
    lk_kernels(type)->channelAffine(batch, channels, length, x, scale, shift, y, first, last);
}
void lk_channel_gradient_sums(lk_type type, size_t batch, size_t channels, size_t length, const void *x, const void *g,
                              const void *mean, const void *rstd, void *sum1, void *sum2, size_t first, size_t last) {
    lk_kernels(type)->channelGradientSums(batch, channels, length, x, g, mean, rstd, sum1, sum2, first, last);
}
void lk_channel_norm_backward(lk_type type, size_t batch, size_t channels, size_t length, const void *x, const void *g,
                              const void *mean, const void *rstd, const void *scale, const void *sum1,
                              const void *sum2, void *dx, size_t first, size_t last) {
    lk_kernels(type)->channelNormBackward(batch, channels, length, x, g, mean, rstd, scale, sum1, sum2, dx, first, last);
}
void lk_skinny_matmul(lk_type type, bool rowsOfB, size_t rows, size_t depth, const void *a, size_t lda,
                      const void *b, size_t ldb, void *c, size_t cm, size_t cn, bool accumulate, size_t first, size_t last) {
    lk_kernels(type)->skinnyMatmul(rowsOfB, rows, depth, a, lda, b, ldb, c, cm, cn, accumulate, first, last);
}
void lk_conv_pack(lk_type type, const lk_conv *geometry, const void *weight, void *packed, size_t first, size_t last) {
    lk_kernels(type)->convPack(geometry, weight, packed, first, last);
}
void lk_conv_forward(lk_type type, const lk_conv *geometry, const void *packed, const void *bias, const void *x,
                     void *y, size_t first, size_t n, size_t rowFirst, size_t rowLast, void *scratch,
                     const lk_conv_fusion *fusion) {
    lk_kernels(type)->convForward(geometry, packed, bias, x, y, first, n, rowFirst, rowLast, scratch, fusion);
}
void lk_conv_weight_gradient(lk_type type, const lk_conv *geometry, const void *fine, const void *coarse, void *d,
                             size_t first, size_t n, size_t rowFirst, size_t rowLast, void *scratch) {
    lk_kernels(type)->convWeightGradient(geometry, fine, coarse, d, first, n, rowFirst, rowLast, scratch);
}
void lk_gemm_pack_rows(lk_type type, size_t rows, size_t depth, const void *a, size_t lda, bool transposed, void *packed,
                       size_t first, size_t last) {
    lk_kernels(type)->gemmPackRows(rows, depth, a, lda, transposed, packed, first, last);
}
void lk_gemm_pack_columns(lk_type type, size_t columns, size_t depth, const void *b, size_t ldb, bool transposed,
                          void *packed, size_t first, size_t last) {
    lk_kernels(type)->gemmPackColumns(columns, depth, b, ldb, transposed, packed, first, last);
}
void lk_gemm_block(lk_type type, size_t rows, size_t columns, size_t depth, const void *a, const void *b, void *c,
                   size_t ldc, bool accumulate, size_t rowFirst, size_t rowLast, size_t panelFirst, size_t panelLast) {
    lk_kernels(type)->gemmBlock(rows, columns, depth, a, b, c, ldc, accumulate, rowFirst, rowLast, panelFirst, panelLast);
}
void lk_winograd_pack(const lk_conv *geometry, const float *weight, float *packed, size_t first, size_t last) {
    lk_kernels(LK_F32)->winogradPack(geometry, weight, packed, first, last);
}
void lk_winograd_forward(const lk_conv *geometry, const float *packed, const float *bias, const float *x, float *y,
                         size_t first, size_t strips, float *scratch, const lk_conv_fusion *fusion) {
    lk_kernels(LK_F32)->winogradForward(geometry, packed, bias, x, y, first, strips, scratch, fusion);
}
void lk_winograd_gradient_sums(const lk_conv *geometry, const float *fine, const float *coarse, float *sums,
                               size_t first, size_t strips, bool accumulate, float *scratch) {
    lk_kernels(LK_F32)->winogradGradientSums(geometry, fine, coarse, sums, first, strips, accumulate, scratch);
}
void lk_winograd_gradient(const lk_conv *geometry, const float *sums, float *d, size_t first, size_t last) {
    lk_kernels(LK_F32)->winogradGradient(geometry, sums, d, first, last);
}
void lk_adamw_step(lk_type type, const lk_adamw *settings, size_t n, void *value, const void *g, void *m, void *v) {
    lk_kernels(type)->adamwStep(settings, n, value, g, m, v);
}
