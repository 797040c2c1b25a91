#include "headers.h"
#define LEVEL portable
#define VECTOR_BYTES 16
#define HAS_FMA 0
#include "level.inl"
