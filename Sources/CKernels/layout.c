// Data movement: strided copies, transposes, rows by index, and the unfolding that turns convolutions into products.
#include <string.h>
#include "internal.h"

static size_t size_of(lk_type type) { return type == LK_F32 ? 4 : 8; }

// Walks the outer dimensions of up to three strided operands, keeping their offsets.
typedef struct {
    int rank;
    const size_t *dims, *strideA, *strideB;
    size_t index[16], a, b;
} walk;

static walk walk_from(int rank, const size_t *dims, const size_t *strideA, const size_t *strideB, size_t position) {
    walk w = {.rank = rank, .dims = dims, .strideA = strideA, .strideB = strideB};
    for (int d = rank - 1; d >= 0; d--) {
        w.index[d] = position % dims[d];
        position /= dims[d];
        w.a += w.index[d] * strideA[d];
        w.b += w.index[d] * strideB[d];
    }
    return w;
}

static void walk_next(walk *w) {
    for (int d = w->rank - 1; d >= 0; d--) {
        w->a += w->strideA[d];
        w->b += w->strideB[d];
        if (++w->index[d] < w->dims[d]) return;
        w->index[d] = 0;
        w->a -= w->strideA[d] * w->dims[d];
        w->b -= w->strideB[d] * w->dims[d];
    }
}

void lk_binary(lk_type type, lk_binary_op op, int rank, const size_t *dims, const size_t *strideA,
               const size_t *strideB, const void *a, const void *b, void *y, size_t first, size_t last) {
    const lk_table *kernels = lk_kernels(type);
    size_t size = size_of(type), n = dims[rank - 1];
    walk w = walk_from(rank - 1, dims, strideA, strideB, first);
    for (size_t row = first; row < last; row++, walk_next(&w))
        kernels->binaryRow(op, n, (const char *)a + w.a * size, strideA[rank - 1], (const char *)b + w.b * size,
                           strideB[rank - 1], (char *)y + row * n * size);
}

void lk_copy_strided(lk_type type, int rank, const size_t *dims, const size_t *strides, const void *x, void *y,
                     size_t first, size_t last) {
    size_t size = size_of(type), n = dims[rank - 1], step = strides[rank - 1];
    walk w = walk_from(rank - 1, dims, strides, strides, first);
    for (size_t row = first; row < last; row++, walk_next(&w)) {
        if (step == 1) {
            memcpy((char *)y + row * n * size, (const char *)x + w.a * size, n * size);
        } else if (type == LK_F32) {
            const float *from = (const float *)x + w.a;
            float *to = (float *)y + row * n;
            for (size_t i = 0; i < n; i++) to[i] = from[i * step];
        } else {
            const double *from = (const double *)x + w.a;
            double *to = (double *)y + row * n;
            for (size_t i = 0; i < n; i++) to[i] = from[i * step];
        }
    }
}

// Squares of 16 x 16, which stay in the first-level cache
#define TRANSPOSE(T)                                                                          \
    for (size_t r0 = 0; r0 < rows; r0 += 16)                                                  \
        for (size_t c0 = 0; c0 < columns; c0 += 16)                                           \
            for (size_t c = c0; c < columns && c < c0 + 16; c++)                              \
                for (size_t r = r0; r < rows && r < r0 + 16; r++)                             \
                    ((T *)y)[c * rows + r] = ((const T *)x)[r * columns + c]

void lk_transpose(lk_type type, size_t rows, size_t columns, const void *x, void *y) {
    if (type == LK_F32)
        TRANSPOSE(float);
    else
        TRANSPOSE(double);
}

void lk_gather_rows(lk_type type, size_t n, size_t d, const void *x, const int32_t *index, void *y) {
    size_t bytes = d * size_of(type);
    for (size_t i = 0; i < n; i++)
        memcpy((char *)y + i * bytes, (const char *)x + (size_t)index[i] * bytes, bytes);
}

void lk_scatter_add_rows(lk_type type, size_t n, size_t d, const void *x, const int32_t *index, void *y) {
    size_t bytes = d * size_of(type);
    for (size_t i = 0; i < n; i++) {
        char *row = (char *)y + (size_t)index[i] * bytes;
        lk_kernels(type)->binaryRow(LK_ADD, d, row, 1, (const char *)x + i * bytes, 1, row);
    }
}

// The outputs [*from, *to) of a row of `out` whose input position out * stride + shift lies in [0, extent)
static void valid_range(size_t out, size_t stride, ptrdiff_t shift, size_t extent, size_t *from, size_t *to) {
    size_t low = shift < 0 ? ((size_t)-shift + stride - 1) / stride : 0;
    ptrdiff_t room = (ptrdiff_t)extent - shift;  // positions below it are inside
    size_t high = room <= 0 ? 0 : ((size_t)room + stride - 1) / stride;
    *to = high < out ? high : out;
    *from = low < *to ? low : *to;
}

// One row of the output grid at a time: COPY runs for the valid positions, REST for the zero padding.
#define SWEEP(T, COPY, REST)                                                                                     \
    size_t span = last - first;                                                                                  \
    for (size_t c = 0; c < w->channels; c++)                                                                     \
        for (size_t i = 0; i < w->kernelH; i++)                                                                  \
            for (size_t j = 0; j < w->kernelW; j++) {                                                            \
                size_t row = (c * w->kernelH + i) * w->kernelW + j, from, to;                                    \
                ptrdiff_t shift = (ptrdiff_t)j - (ptrdiff_t)w->padW;                                             \
                valid_range(w->outW, w->strideW, shift, w->width, &from, &to);                                   \
                for (size_t start = first; start < last;) {                                                      \
                    size_t h = start / w->outW, low = start - h * w->outW;                                       \
                    size_t high = last - h * w->outW < w->outW ? last - h * w->outW : w->outW;                   \
                    ptrdiff_t line = (ptrdiff_t)(h * w->strideH + i) - (ptrdiff_t)w->padH;                       \
                    bool inside = line >= 0 && (size_t)line < w->height;                                         \
                    T *column = (T *)columns + row * span + (start - first) - low;                               \
                    T *input = (T *)x + ((ptrdiff_t)(c * w->height) + line) * (ptrdiff_t)w->width + shift;       \
                    size_t a = !inside || from > high ? high : from < low ? low : from;                          \
                    size_t b = !inside || to < a ? a : to < high ? to : high;                                    \
                    REST(T, low, a);                                                                             \
                    COPY;                                                                                        \
                    REST(T, b, high);                                                                            \
                    start = h * w->outW + high;                                                                  \
                }                                                                                                \
            }
#define ZERO(T, from, to) memset(column + from, 0, (to - from) * sizeof(T))
#define SKIP(T, from, to) (void)0

#define GATHER                                                                            \
    if (w->strideW == 1)                                                                  \
        memcpy(column + a, input + a, (b - a) * sizeof *column);                          \
    else                                                                                  \
        for (size_t p = a; p < b; p++) column[p] = input[p * w->strideW]
#define SCATTER                                                                           \
    if (w->strideW == 1)                                                                  \
        for (size_t p = a; p < b; p++) input[p] += column[p];                             \
    else                                                                                  \
        for (size_t p = a; p < b; p++) input[p * w->strideW] += column[p]

void lk_unfold(lk_type type, const lk_window *w, const void *x, void *columns, size_t first, size_t last) {
    if (type == LK_F32) {
        SWEEP(float, GATHER, ZERO)
    } else {
        SWEEP(double, GATHER, ZERO)
    }
}

void lk_fold_add(lk_type type, const lk_window *w, const void *columns, void *x, size_t first, size_t last) {
    if (type == LK_F32) {
        SWEEP(float, SCATTER, SKIP)
    } else {
        SWEEP(double, SCATTER, SKIP)
    }
}

void lk_widen(size_t n, const void *x, void *y) {
    for (size_t i = 0; i < n; i++) ((double *)y)[i] = (double)((const float *)x)[i];
}
void lk_narrow(size_t n, const void *x, void *y) {
    for (size_t i = 0; i < n; i++) ((float *)y)[i] = (float)((const double *)x)[i];
}
