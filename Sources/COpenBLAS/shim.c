// Three things that let OpenBLAS live inside a host without asking anything of it.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "COpenBLAS.h"

// The linker sends every getenv of the library here (--wrap=getenv). OpenBLAS picks its kernels and block sizes
// from OPENBLAS_*; a host that sets those for its own BLAS must not slow ours down or change our results.
extern char *__real_getenv(const char *name);
char *__wrap_getenv(const char *name);
char *__wrap_getenv(const char *name) {
    if (strncmp(name, "OPENBLAS_", 9) == 0 || strncmp(name, "GOTO_", 5) == 0) return NULL;
    // libjpeg-turbo's choice of instructions, and a limit on its memory that would make it write files.
    if (strncmp(name, "JSIMD_", 6) == 0 || strcmp(name, "JPEGMEM") == 0) return NULL;
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

// Work buffers are ours (--wrap=blas_memory_alloc, --wrap=blas_memory_free). The serial build looks for a free one without
// a lock: two threads that multiply at once can get the same buffer, and then both products are wrong (measured: Debian's
// 0.3.21, some calls in a thousand). And it tries for ever when the system has no memory for another one; here a thread
// waits until another gives its buffer back, which every product does when it is done.
enum { BUFFERS = 128 };
static const size_t BUFFER_BYTES = (size_t)32 << 22;  // BUFFER_SIZE of OpenBLAS on x86-64; its block sizes follow from it
static struct {
    void *start;
    bool used;
} buffers[BUFFERS];
static size_t made;
static bool (*can_spare)(size_t);
static pthread_mutex_t bufferLock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t returned = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void lock_buffers(void) { pthread_mutex_lock(&bufferLock); }
static void unlock_buffers(void) { pthread_mutex_unlock(&bufferLock); }
// Whoever used a buffer is not in the child, save for the thread that forked, which is in no product.
static void after_fork_in_child(void) {
    pthread_cond_init(&returned, NULL);
    for (size_t i = 0; i < made; i++) buffers[i].used = false;
    unlock_buffers();
}
static void watch_forks(void) { pthread_atfork(lock_buffers, unlock_buffers, after_fork_in_child); }

// One more buffer, whose pages take memory when they are used; the lock is held.
static bool make_buffer(void) {
    if (made == BUFFERS || (made > 0 && can_spare && !can_spare(BUFFER_BYTES))) return false;
    void *map = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return false;
    buffers[made].start = map;
    buffers[made++].used = false;
    return true;
}

bool openblas_prepare(bool (*spare)(size_t bytes)) {
    pthread_once(&once, watch_forks);
    lock_buffers();
    can_spare = spare;
    bool ready = made > 0 || make_buffer();
    unlock_buffers();
    return ready;
}

void *__wrap_blas_memory_alloc(int position);
void *__wrap_blas_memory_alloc(int position) {
    (void)position;
    pthread_once(&once, watch_forks);
    lock_buffers();
    size_t i = 0;
    for (;;) {
        for (i = 0; i < made && buffers[i].used; i++) {
        }
        if (i < made || make_buffer()) break;
        if (made == 0) abort();  // nobody called openblas_prepare, and OpenBLAS does not look at what it gets
        pthread_cond_wait(&returned, &bufferLock);
    }
    buffers[i].used = true;
    void *start = buffers[i].start;
    unlock_buffers();
    return start;
}

// Named so that a program which is linked with one of the two alone does not link.
extern void __real_blas_memory_free(void *start);
void __wrap_blas_memory_free(void *start);
void __wrap_blas_memory_free(void *start) {
    bool ours = false;
    lock_buffers();
    for (size_t i = 0; i < made && !ours; i++)
        if (buffers[i].start == start) {
            ours = true;
            buffers[i].used = false;
            pthread_cond_signal(&returned);
        }
    unlock_buffers();
    if (!ours) __real_blas_memory_free(start);
}
