// Vector kernels on plain buffers, the thread pool and the buffer cache. All buffers are contiguous unless a stride is
// passed; `type` says what the untyped pointers hold. Scalars travel as double and are rounded to the buffer's type.
#ifndef CKERNELS_H
#define CKERNELS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { LK_F32 = 0, LK_F64 = 1 } lk_type;

// ---- Instruction sets (dispatch.c)

typedef enum { LK_PORTABLE = 0, LK_AVX2 = 1, LK_AVX512 = 2 } lk_level;

// The instruction set in use: "avx512", "avx2" or "portable".
const char *lk_instruction_set(void);
lk_level lk_level_in_use(void);
// Test hook: use this level from now on in the whole process. False, and no change, if the CPU lacks it.
bool lk_force_level(lk_level level);

// ---- Element by element (elementwise.inl)

// y = f(x); p and q are the operation's parameters.
typedef enum {
    LK_AFFINE,      // p x + q
    LK_SQUARE,      // x^2
    LK_SQRT,        // x^(1/2)
    LK_RECIPROCAL,  // 1 / x
    LK_EXP,
    LK_LOG,
    LK_ABS,
    LK_CLAMP,  // min(max(x, p), q)
    LK_TANH,
    LK_SIGMOID,     // 1 / (1 + exp(-x))
    LK_SILU,        // x sigmoid(x)
    LK_GELU_ERF,    // x Phi(x)
    LK_GELU_TANH,   // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    LK_RELU,        // max(x, 0)
    LK_LEAKY_RELU,  // x > 0 ? x : p x
    LK_ELU,         // x > 0 ? x : p (exp(x) - 1)
    LK_SOFTPLUS,    // log(1 + exp(x))
} lk_unary_op;

// y[n] = op(x[n])
void lk_unary(lk_type type, lk_unary_op op, size_t n, const void *x, void *y, double p, double q);
// dx[n] = g[n] * op'(x); `saved` is the operation's output for SQRT, RECIPROCAL, EXP, TANH and SIGMOID and its input
// for all others (AFFINE needs neither).
void lk_unary_backward(lk_type type, lk_unary_op op, size_t n, const void *saved, const void *g, void *dx, double p,
                       double q);

typedef enum { LK_ADD, LK_SUB, LK_MUL, LK_DIV } lk_binary_op;

// y = a op b over `rank` dimensions (outermost first); y is contiguous; a stride is in elements, 0 where the operand
// is broadcast. The innermost strides are 0 or 1. Only rows [first, last) of the flattened outer dimensions are done.
void lk_binary(lk_type type, lk_binary_op op, int rank, const size_t *dims, const size_t *strideA,
               const size_t *strideB, const void *a, const void *b, void *y, size_t first, size_t last);
// y[n] = a * x[n] + b * y[n]
void lk_axpby(lk_type type, size_t n, double a, const void *x, double b, void *y);
// y[n] = value
void lk_fill(lk_type type, size_t n, double value, void *y);

// ---- Reductions (reduce.inl)

// sum of x[n]; lanes in vectors, blocks of 1024 in double.
double lk_sum(lk_type type, size_t n, const void *x);
// sum of x[n] * y[n]
double lk_dot(lk_type type, size_t n, const void *x, const void *y);
// sum of w[n] * (x[n] - y[n])^2; w may be null (all ones).
double lk_squared_distance(lk_type type, size_t n, const void *x, const void *y, const void *w);
// y[i, k] = sum over j of x[i, j, k], x is [outer, reduced, inner]
void lk_sum_middle(lk_type type, size_t outer, size_t reduced, size_t inner, const void *x, void *y);
bool lk_all_finite(lk_type type, size_t n, const void *x);

// ---- Rows (rows.inl); x, y, g, dx are [rows, d]

void lk_softmax(lk_type type, size_t rows, size_t d, const void *x, void *y);
// dx = y (g - sum(g y))
void lk_softmax_backward(lk_type type, size_t rows, size_t d, const void *y, const void *g, void *dx);
// loss[rows] = logsumexp(x) - x[target]; probabilities [rows, d] = softmax(x)
void lk_cross_entropy(lk_type type, size_t rows, size_t d, const void *x, const int32_t *target, void *probabilities,
                      void *loss);
// y = (x - mean) rstd gamma + beta with the row's biased variance; centre false: rstd = (mean(x^2) + eps)^(-1/2) and
// no mean is taken. gamma, beta [d] may be null. mean, rstd [rows] are results (mean is 0 when not centred).
void lk_norm(lk_type type, bool centre, size_t rows, size_t d, double eps, const void *x, const void *gamma,
             const void *beta, void *y, void *mean, void *rstd);
// dx = rstd (g' - mean(g') - xhat mean(g' xhat)), g' = g gamma; mean(g') is left out when not centred.
// dgamma += sum over rows of g xhat, dbeta += sum over rows of g; dx, dgamma, dbeta may be null.
void lk_norm_backward(lk_type type, bool centre, size_t rows, size_t d, const void *x, const void *gamma,
                      const void *mean, const void *rstd, const void *g, void *dx, void *dgamma, void *dbeta);

// ---- Channels of x [batch, channels, length] (channels.inl), for channels [first, last)

// mean[c], variance[c] (biased) over batch and length
void lk_channel_moments(lk_type type, size_t batch, size_t channels, size_t length, const void *x, void *mean,
                        void *variance, size_t first, size_t last);
// y = x scale[c] + shift[c]
void lk_channel_affine(lk_type type, size_t batch, size_t channels, size_t length, const void *x, const void *scale,
                       const void *shift, void *y, size_t first, size_t last);
// sum1[c] = sum of g, sum2[c] = sum of g (x - mean[c]) rstd[c]
void lk_channel_gradient_sums(lk_type type, size_t batch, size_t channels, size_t length, const void *x, const void *g,
                              const void *mean, const void *rstd, void *sum1, void *sum2, size_t first, size_t last);
// dx = scale[c] (g - sum1[c]/N - (x - mean[c]) rstd[c] sum2[c]/N), N = batch * length
void lk_channel_norm_backward(lk_type type, size_t batch, size_t channels, size_t length, const void *x, const void *g,
                              const void *mean, const void *rstd, const void *scale, const void *sum1,
                              const void *sum2, void *dx, size_t first, size_t last);

// ---- Layout (layout.c)

// y (contiguous, dims) from x with these element strides; rows [first, last) of the flattened outer dimensions
void lk_copy_strided(lk_type type, int rank, const size_t *dims, const size_t *strides, const void *x, void *y,
                     size_t first, size_t last);
// y[c, r] = x[r, c]
void lk_transpose(lk_type type, size_t rows, size_t columns, const void *x, void *y);
// y[i, :] = x[index[i], :]
void lk_gather_rows(lk_type type, size_t n, size_t d, const void *x, const int32_t *index, void *y);
// y[index[i], :] += x[i, :], in the order of i
void lk_scatter_add_rows(lk_type type, size_t n, size_t d, const void *x, const int32_t *index, void *y);

// float to double and back
void lk_widen(size_t n, const void *x, void *y);
void lk_narrow(size_t n, const void *x, void *y);

// A window sweep over one dimension (1-D) or two: position (h, w) of the output reads input rows h*strideH - padH + i
// and columns w*strideW - padW + j. One dimension has height = kernelH = strideH = 1 and padH = 0.
typedef struct {
    size_t channels, height, width;
    size_t kernelH, kernelW, strideH, strideW, padH, padW;
    size_t outH, outW;
} lk_window;

// columns [channels * kernelH * kernelW, last - first] from x [channels, height, width], for the output positions
// [first, last) of outH * outW
void lk_unfold(lk_type type, const lk_window *window, const void *x, void *columns, size_t first, size_t last);
// The adjoint: x += what `columns` came from
void lk_fold_add(lk_type type, const lk_window *window, const void *columns, void *x, size_t first, size_t last);

// ---- Convolution over one dimension (conv.c, conv.inl)

// Forward: y[o, p] = bias[o] + sum over c, j of w[o, c, j] x[c, p stride + j - padding], w [outputs, inputs, kernel].
// Transposed: y[o, p stride + j - padding] += w[c, o, j] x[c, p] (on top of the bias), w [inputs, outputs, kernel].
typedef struct {
    size_t inputs, inputExtent, outputs, outputExtent;  // channels and length of x and of y, one sample
    size_t kernel, stride, padding;
    bool transposed;
} lk_conv;

// How the work is cut, from the geometry alone: `tiles` tiles of `positions` out of `span` (of y; when transposed, of y's
// positions divided by the stride), `depth` input channels at a time; `scratch` elements of working memory.
typedef struct {
    size_t span, positions, tiles, depth, tile, offsets, scratch;
} lk_conv_plan;
lk_conv_plan lk_conv_planned(const lk_conv *geometry);
lk_conv_plan lk_conv_planned_gradient(const lk_conv *geometry);

// The weights [inputs * outputs * kernel] in the order of the instruction set's kernels; output channels [first, last),
// first a multiple of 8.
void lk_conv_pack(lk_type type, const lk_conv *geometry, const void *weight, void *packed, size_t first, size_t last);
// What is done on the way, without another pass over memory: x becomes (x + add) * multiply, both [inputExtent] and
// null or not together (stride 1, not transposed); y becomes activation(y).
typedef struct {
    const void *add, *multiply;
    bool activated;
    lk_unary_op activation;
    double p;
} lk_conv_fusion;

// The n positions from `first` and the output channels [rowFirst, rowLast), rowFirst a multiple of 8, of one sample. bias
// and fusion may be null.
void lk_conv_forward(lk_type type, const lk_conv *geometry, const void *packed, const void *bias, const void *x,
                     void *y, size_t first, size_t n, size_t rowFirst, size_t rowLast, void *scratch,
                     const lk_conv_fusion *fusion);
// d[o, c, j] += sum over n positions p from `first` of coarse[o, p] fine[c, p stride + j - padding], for the rows o in
// [rowFirst, rowLast). The geometry is not transposed: fine is its input, coarse its output.
void lk_conv_weight_gradient(lk_type type, const lk_conv *geometry, const void *fine, const void *coarse, void *d,
                             size_t first, size_t n, size_t rowFirst, size_t rowLast, void *scratch);

// ---- The same with fewer multiplications, where that pays: float, stride 1, kernels of 3 to 7 (winograd.inl)

// Strips of tiles that cover the output, strips in a chunk of work, working memory of a chunk; zero strips: does not pay
typedef struct {
    size_t strips, chunk, scratch;
} lk_winograd_plan;
lk_winograd_plan lk_winograd_planned(const lk_conv *geometry);
lk_winograd_plan lk_winograd_planned_gradient(const lk_conv *geometry);

// packed [8 * inputs * outputs]; output channels [first, last), first a multiple of 8
void lk_winograd_pack(const lk_conv *geometry, const float *weight, float *packed, size_t first, size_t last);
// Strips [first, first + strips) of all output channels of one sample. bias and fusion may be null.
void lk_winograd_forward(const lk_conv *geometry, const float *packed, const float *bias, const float *x, float *y,
                         size_t first, size_t strips, float *scratch, const lk_conv_fusion *fusion);
// The gradient of the weight before its last transform: sums [8, inputs, outputs], set or added to, over these strips
// of one sample. The geometry is not transposed: fine is its input, coarse its output.
void lk_winograd_gradient_sums(const lk_conv *geometry, const float *fine, const float *coarse, float *sums,
                               size_t first, size_t strips, bool accumulate, float *scratch);
// d [outputs, inputs, kernel] from the sums, for the output channels [first, last)
void lk_winograd_gradient(const lk_conv *geometry, const float *sums, float *d, size_t first, size_t last);

// ---- Matrix product from packed operands (gemm.inl)

// Columns of a panel of b, and tiles that winograd.inl handles together; the most that one packed block is deep
enum { LK_STRIP = 48, LK_GEMM_DEPTH = 1024 };

// op(a) [rows, depth], rows [first, last), first a multiple of 8, to packed [rows * depth]
void lk_gemm_pack_rows(lk_type type, size_t rows, size_t depth, const void *a, size_t lda, bool transposed, void *packed,
                       size_t first, size_t last);
// op(b) [depth, columns], its panels [first, last), to packed [columns rounded up to panels, times depth]
void lk_gemm_pack_columns(lk_type type, size_t columns, size_t depth, const void *b, size_t ldb, bool transposed,
                          void *packed, size_t first, size_t last);
// c [rows, columns] = a b, or c += when `accumulate`, for these rows (rowFirst a multiple of 8) and panels
void lk_gemm_block(lk_type type, size_t rows, size_t columns, size_t depth, const void *a, const void *b, void *c,
                   size_t ldc, bool accumulate, size_t rowFirst, size_t rowLast, size_t panelFirst, size_t panelLast);

// ---- Matrix product with few rows (skinny.inl)

// c[m, n] = sum over k of a[m, k] b(k, n) for m < rows; a is [rows, depth], lda apart.
// rowsOfB: b is stored [columns, depth] (ldb apart), else [depth, columns]. c's element (m, n) is at m*cm + n*cn.
// accumulate: add to c. Only the columns [first, last) are done.
void lk_skinny_matmul(lk_type type, bool rowsOfB, size_t rows, size_t depth, const void *a, size_t lda,
                      const void *b, size_t ldb, void *c, size_t cm, size_t cn, bool accumulate, size_t first, size_t last);

// ---- Optimisers (optimiser.inl)

// One AdamW step (Loshchilov & Hutter 2019): value *= 1 - rate decay; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
// value -= rate/correction1 * m / (sqrt(v)/sqrt(correction2) + eps). g is scaled by `scale` first (gradient clip).
typedef struct {
    double rate, beta1, beta2, eps, decay, correction1, correction2, scale;
} lk_adamw;
void lk_adamw_step(lk_type type, const lk_adamw *settings, size_t n, void *value, const void *g, void *m, void *v);

// ---- Random numbers (random.c)

// Philox-4x32-10 (Salmon et al. 2011): out[4 * blocks], block i from counter (position + i, stream) and key `seed`
void lk_philox(uint64_t seed, uint64_t stream, uint64_t position, size_t blocks, uint32_t *out);
// Block i gives the elements 4i ... 4i+3 (f64 uniform: 2i, 2i+1). The sequence starts at a block.
void lk_uniform(lk_type type, uint64_t seed, uint64_t stream, uint64_t position, size_t n, double low, double high,
                void *out);
// Box-Muller in double without fused operations, so the bytes are the same on every CPU
void lk_normal(lk_type type, uint64_t seed, uint64_t stream, uint64_t position, size_t n, double mean, double deviation,
               void *out);

// ---- Buffers (memory.c): 64-byte aligned, kept for reuse up to a bound. Null when memory runs out.

void *lk_allocate(size_t bytes);
void lk_deallocate(void *buffer, size_t bytes);
// Gives all kept buffers back to the system.
void lk_trim(void);
// Whether the system would give this many bytes now, which the caller is about to take.
bool lk_can_map(size_t bytes);
// Whether this many bytes of addresses can go to what can be done without (a thread, a second work buffer): always without
// a limit on the address space, else if as many are left as was asked for at most, and 1 GiB.
bool lk_can_spare(size_t bytes);
// For tests: lets the allocation after this many others return null, once; a negative number lets none.
void lk_fail_allocation(int64_t after);

// ---- Threads (pool.c)

// Runs body(context, 0 ... chunks-1), each once, on up to lk_thread_count() threads. Serial when nested or when another
// thread has the pool.
void lk_parallel(size_t chunks, void (*body)(void *context, size_t chunk), void *context);
size_t lk_thread_count(void);
// Clamped to 1 ... 16.
void lk_set_thread_count(size_t count);
// Test helper: forks, runs `body` in the child, and returns the child's exit status (0: body returned true).
int lk_run_in_fork(bool (*body)(void));

// ---- Differentiation state (state.c)

// Numbers nodes of the graph in the order of their creation, over all threads.
uint64_t lk_next_order(void);
// This thread's count of nested `withoutGradients`; lk_gradients_off adds to it.
bool lk_gradients_enabled(void);
void lk_gradients_off(int change);
// This thread's count of nested second runs of `recomputed`.
bool lk_recomputing(void);
void lk_recomputation(int change);

// ---- SHA-256 (sha256.c)

// Takes `count` blocks of 64 bytes into the state. False, and nothing done, where the CPU has no instructions for it.
bool lk_sha256_blocks(uint32_t state[8], const uint8_t *data, size_t count);

#include "sequence.h"
#endif
