// Two things that let OpenBLAS live inside a host without asking anything of it.
#include <stdlib.h>
#include <string.h>

// The linker sends every getenv of the library here (--wrap=getenv). OpenBLAS picks its kernels and block sizes
// from OPENBLAS_*; a host that sets those for its own BLAS must not slow ours down or change our results.
extern char *__real_getenv(const char *name);
char *__wrap_getenv(const char *name);
char *__wrap_getenv(const char *name) {
    if (strncmp(name, "OPENBLAS_", 9) == 0 || strncmp(name, "GOTO_", 5) == 0) return NULL;
    return __real_getenv(name);
}

// LAPACK's error path joins two option letters through libgfortran; this is the one function that it needs.
void _gfortran_concat_string(long n, char *to, long la, const char *a, long lb, const char *b);
void _gfortran_concat_string(long n, char *to, long la, const char *a, long lb, const char *b) {
    long i = 0;
    for (long j = 0; j < la && i < n; j++) to[i++] = a[j];
    for (long j = 0; j < lb && i < n; j++) to[i++] = b[j];
    while (i < n) to[i++] = ' ';
}
