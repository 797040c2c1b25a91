#include "headers.h"
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define LEVEL avx2
#define VECTOR_BYTES 32
#define HAS_FMA 1
#include "level.inl"
#pragma clang attribute pop
