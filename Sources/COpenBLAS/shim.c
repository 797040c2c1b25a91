// Three things that let OpenBLAS live inside a host without asking anything of it.
#include <pthread.h>
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

// The serial build looks for a free work buffer without a lock: two threads that multiply at once can get the same
// buffer, and then both products are wrong (measured: Debian's 0.3.21, some calls in a thousand). The linker sends the
// search here (--wrap=blas_memory_alloc); giving a buffer back is one store and needs no lock.
static pthread_mutex_t bufferLock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void lock_buffers(void) { pthread_mutex_lock(&bufferLock); }
static void unlock_buffers(void) { pthread_mutex_unlock(&bufferLock); }
static void watch_forks(void) { pthread_atfork(lock_buffers, unlock_buffers, unlock_buffers); }

extern void *__real_blas_memory_alloc(int position);
void *__wrap_blas_memory_alloc(int position);
void *__wrap_blas_memory_alloc(int position) {
    pthread_once(&once, watch_forks);
    lock_buffers();
    void *buffer = __real_blas_memory_alloc(position);
    unlock_buffers();
    return buffer;
}
