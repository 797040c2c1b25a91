#include "headers.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), \
                             apply_to = function)
#define LEVEL avx512
#define VECTOR_BYTES 64
#define HAS_FMA 1
#include "level.inl"
#pragma clang attribute pop
