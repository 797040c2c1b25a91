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
#include "conv.inl"
#include "optimiser.inl"
#if !IS_F32
#include "box_muller.inl"
#endif
#include "block.inl"
#include "winograd.inl"
#include "gemm.inl"
#include "attention.inl"
#include "scan.inl"
#include "mixer.inl"
#include "half.inl"

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
    .convPack = NAME(conv_pack),
    .convForward = NAME(conv_forward),
    .convWeightGradient = NAME(conv_weight_gradient),
    .gemmPackRows = NAME(gemm_pack_rows),
    .gemmPackColumns = NAME(gemm_pack_columns),
    .gemmBlock = NAME(gemm_block),
    .adamwStep = NAME(adamw_step),
#if !IS_F32
    .boxMuller = NAME(box_muller),
#endif
    .attentionPack = NAME(attention_pack),
    .attentionForward = NAME(attention_forward),
    .attentionBackward = NAME(attention_backward),
    .scanScores = NAME(scan_scores),
    .scanForward = NAME(scan_forward),
    .scanBackward = NAME(scan_backward),
    .causalConv = NAME(causal_conv),
    .causalConvBackward = NAME(causal_conv_backward),
    .gatedNorm = NAME(gated_norm),
    .gatedNormBackward = NAME(gated_norm_backward),
#if IS_F32
    .halfMatmul = NAME(half_matmul),
    .winogradPack = NAME(winograd_pack),
    .winogradForward = NAME(winograd_forward),
    .winogradGradientSums = NAME(winograd_gradient_sums),
    .winogradGradient = NAME(winograd_gradient),
#endif
};
#undef W
#undef V
#undef VI
