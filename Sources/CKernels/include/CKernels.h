#ifndef CKERNELS_H
#define CKERNELS_H
#include <stddef.h>
// The instruction set that was chosen: "avx512", "avx2" or "portable".
const char *lk_instruction_set(void);
#endif
