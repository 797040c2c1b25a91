// All kernels of one instruction set and element type.
#define W (VECTOR_BYTES / sizeof(T))
#define V NAME(vector)
#define VI NAME(integers)
#include "vector.inl"
#if IS_F32
#include "math_f32.inl"
#else
#include "math_f64.inl"
#endif
#include "elementwise.inl"
#include "reduce.inl"
#include "rows.inl"
#include "channels.inl"
#include "skinny.inl"
#include "optimiser.inl"
#if !IS_F32
#include "box_muller.inl"
#endif

const lk_table NAME(lk_table) = {
    .unary = NAME(unary),
    .unaryBackward = NAME(unary_backward),
    .binaryRow = NAME(binary_row),
    .axpby = NAME(axpby),
    .fill = NAME(fill),
    .sum = NAME(sum),
    .dot = NAME(dot),
    .squaredDistance = NAME(squared_distance),
    .sumMiddle = NAME(sum_middle),
    .allFinite = NAME(all_finite),
    .softmax = NAME(softmax),
    .softmaxBackward = NAME(softmax_backward),
    .crossEntropy = NAME(cross_entropy),
    .norm = NAME(norm),
    .normBackward = NAME(norm_backward),
    .channelMoments = NAME(channel_moments),
    .channelAffine = NAME(channel_affine),
    .channelGradientSums = NAME(channel_gradient_sums),
    .channelNormBackward = NAME(channel_norm_backward),
    .skinnyMatmul = NAME(skinny_matmul),
    .adamwStep = NAME(adamw_step),
#if !IS_F32
    .boxMuller = NAME(box_muller),
#endif
};
#undef W
#undef V
#undef VI
