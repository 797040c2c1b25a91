#include "CKernels.h"
const char *lk_instruction_set(void) { return "portable"; }
