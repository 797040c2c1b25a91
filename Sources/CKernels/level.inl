// All kernels of one instruction set, for both element types. Expects LEVEL, VECTOR_BYTES and HAS_FMA.
#define GLUE_(a, b, c) a##_##b##_##c
#define GLUE(a, b, c) GLUE_(a, b, c)
#define NAME(x) GLUE(x, LEVEL, SUFFIX)

#define T float
#define I int32_t
#define SUFFIX f32
#define IS_F32 1
#include "kernels.inl"
#undef T
#undef I
#undef SUFFIX
#undef IS_F32

#define T double
#define I int64_t
#define SUFFIX f64
#define IS_F32 0
#include "kernels.inl"
