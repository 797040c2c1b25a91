// The table of kernels that each instruction set fills, once per element type.
#ifndef LK_INTERNAL_H
#define LK_INTERNAL_H
#include "CKernels.h"

typedef struct {
    void (*unary)(lk_unary_op, size_t, const void *, void *, double, double);
    void (*unaryBackward)(lk_unary_op, size_t, const void *, const void *, void *, double, double);
    void (*binaryRow)(lk_binary_op, size_t, const void *, size_t, const void *, size_t, void *);
    void (*axpby)(size_t, double, const void *, double, void *);
    void (*fill)(size_t, double, void *);
    double (*sum)(size_t, const void *);
    double (*dot)(size_t, const void *, const void *);
    double (*squaredDistance)(size_t, const void *, const void *, const void *);
    void (*sumMiddle)(size_t, size_t, size_t, const void *, void *);
    bool (*allFinite)(size_t, const void *);
    void (*softmax)(size_t, size_t, const void *, void *);
    void (*softmaxBackward)(size_t, size_t, const void *, const void *, void *);
    void (*crossEntropy)(size_t, size_t, const void *, const int32_t *, void *, void *);
    void (*norm)(bool, size_t, size_t, double, const void *, const void *, const void *, void *, void *, void *);
    void (*normBackward)(bool, size_t, size_t, const void *, const void *, const void *, const void *, const void *,
                         void *, void *, void *);
    void (*channelMoments)(size_t, size_t, size_t, const void *, void *, void *, size_t, size_t);
    void (*channelAffine)(size_t, size_t, size_t, const void *, const void *, const void *, void *, size_t, size_t);
    void (*channelGradientSums)(size_t, size_t, size_t, const void *, const void *, const void *, const void *, void *,
                                void *, size_t, size_t);
    void (*channelNormBackward)(size_t, size_t, size_t, const void *, const void *, const void *, const void *,
                                const void *, const void *, const void *, void *, size_t, size_t);
    void (*skinnyMatmul)(bool, size_t, size_t, const void *, size_t, const void *, size_t, void *, size_t, size_t, bool,
                         size_t, size_t);
    void (*convPack)(const lk_conv *, const void *, void *, size_t, size_t);
    void (*convForward)(const lk_conv *, const void *, const void *, const void *, void *, size_t, size_t, size_t,
                        size_t, void *, const lk_conv_fusion *);
    void (*convWeightGradient)(const lk_conv *, const void *, const void *, void *, size_t, size_t, size_t, size_t,
                               void *);
    void (*gemmPackRows)(size_t, size_t, const void *, size_t, bool, void *, size_t, size_t);
    void (*gemmPackColumns)(size_t, size_t, const void *, size_t, bool, void *, size_t, size_t);
    void (*gemmBlock)(size_t, size_t, size_t, const void *, const void *, void *, size_t, bool, size_t, size_t, size_t,
                      size_t);
    void (*adamwStep)(const lk_adamw *, size_t, void *, const void *, void *, void *);
    void (*boxMuller)(size_t, const uint32_t *, const uint32_t *, double *, double *);  // f64 only
    void (*attentionPack)(const lk_attention *, const void *, size_t, const void *, size_t, size_t, void *, void *);
    void (*attentionForward)(const lk_attention *, size_t, size_t, void *);
    void (*attentionBackward)(const lk_attention *, const lk_attention_gradient *, void *);
    void (*scanScores)(const lk_scan *, size_t, void *, void *);
    void (*scanForward)(const lk_scan *, size_t, void *, size_t, void *);
    void (*scanBackward)(const lk_scan *, const lk_scan_gradient *, size_t, size_t, void *);
    void (*causalConv)(const lk_causal_conv *, const void *, void *, size_t, size_t, size_t);
    void (*causalConvBackward)(const lk_causal_conv *, const void *, const void *, size_t, void *, size_t, void *,
                               void *, size_t, size_t, void *);
    void (*gatedNorm)(size_t, size_t, double, const void *, const void *, size_t, const void *, void *);
    void (*gatedNormBackward)(size_t, size_t, double, const void *, const void *, size_t, const void *, const void *,
                              void *, void *, size_t, void *, void *);
    void (*halfMatmul)(size_t, size_t, const float *, const uint16_t *, float *, size_t, size_t, size_t);  // f32 only
    // f32 only
    void (*winogradPack)(const lk_conv *, const void *, void *, size_t, size_t);
    void (*winogradForward)(const lk_conv *, const void *, const void *, const void *, void *, size_t, size_t, void *,
                            const lk_conv_fusion *);
    void (*winogradGradientSums)(const lk_conv *, const void *, const void *, void *, size_t, size_t, bool, void *);
    void (*winogradGradient)(const lk_conv *, const void *, void *, size_t, size_t);
} lk_table;

// half_bf16.c; only on CPUs with AVX512-BF16
void lk_half_matmul_bf16(size_t rows, size_t depth, const uint16_t *x, const uint16_t *weight, float *y,
                         size_t yPitch, size_t first, size_t last);

extern const lk_table lk_table_portable_f32, lk_table_portable_f64;
extern const lk_table lk_table_avx2_f32, lk_table_avx2_f64;
extern const lk_table lk_table_avx512_f32, lk_table_avx512_f64;

// Elements between the rows of a convolution's tile (conv.c)
size_t lk_conv_pitch(size_t count);

// The table of the level in use
const lk_table *lk_kernels(lk_type type);

#endif
