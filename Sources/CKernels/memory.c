// Buffers are kept for reuse: a training step allocates the same sizes again and again, and fresh pages from the system
// cost more than the arithmetic on them. Small ones are kept in size classes. Large ones are spans of huge pages, which
// are cut, and joined by moving pages to new addresses, so that the system is asked for pages only when no kept ones are
// left: what is in use and what is kept never exceed what was in use at once.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include "internal.h"

enum { SMALLEST = 64, CLASSES = 4 * 40, SPANS = 4096 };
static const size_t KEEP_SMALL = (size_t)1 << 28;
static const size_t LARGE = (size_t)1 << 22;
static const size_t PAGE = (size_t)1 << 21;  // a huge page; large buffers are whole ones

typedef struct buffer {
    struct buffer *next;
} buffer;
typedef struct {
    char *start;
    size_t bytes;
} span;

static buffer *kept[CLASSES];
static size_t keptBytes;  // of the small ones
static span spans[SPANS];
static size_t spanCount;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }
static void initialise(void) { pthread_atfork(before_fork, after_fork, after_fork); }

// Four classes an octave: 64, 80, 96, 112, 128, 160, ... The class's size is written to *rounded.
static int class_of(size_t bytes, size_t *rounded) {
    if (bytes <= SMALLEST) {
        *rounded = SMALLEST;
        return 0;
    }
    int top = 63 - __builtin_clzll(bytes - 1);  // 2^top < bytes <= 2^(top+1)
    size_t step = (size_t)1 << (top - 2);
    size_t quarter = (bytes - ((size_t)1 << top) + step - 1) / step;  // 1 ... 4
    *rounded = ((size_t)1 << top) + quarter * step;
    return (top - 6) * 4 + (int)quarter;
}

// The inverse of class_of
static size_t size_of_class(int class) {
    int top = 6 + (class - 1) / 4, quarter = (class - 1) % 4 + 1;
    return class == 0 ? SMALLEST : ((size_t)1 << top) + (size_t)quarter * ((size_t)1 << (top - 2));
}

// ---- Large buffers; the lock is held

// Addresses for this many bytes, from a huge page's start on
static char *reserve(size_t bytes, int protection) {
    char *map = mmap(NULL, bytes + PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return NULL;
    char *start = (char *)(((uintptr_t)map + PAGE - 1) / PAGE * PAGE);
    if (start != map) munmap(map, (size_t)(start - map));
    if (start != map + PAGE) munmap(start + bytes, (size_t)(map + PAGE - start));
    return start;
}

static char *fresh(size_t bytes) {
    char *start = reserve(bytes, PROT_READ | PROT_WRITE);
    if (start) madvise(start, bytes, MADV_HUGEPAGE);
    return start;
}

// Moves pages to other addresses. A span may consist of several mappings, which the system does not move in one call.
static bool move_pages(char *from, size_t bytes, char *to) {
    if (mremap(from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED) return true;
    for (size_t done = 0; done < bytes; done += PAGE)
        if (mremap(from + done, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + done) == MAP_FAILED) return false;
    return true;
}

static void keep_span(char *start, size_t bytes) {
    for (size_t i = 0; i < spanCount;) {
        bool before = spans[i].start + spans[i].bytes == start, after = start + bytes == spans[i].start;
        if (before) start = spans[i].start;
        if (before || after) {
            bytes += spans[i].bytes;
            spans[i] = spans[--spanCount];
        } else {
            i++;
        }
    }
    if (spanCount < SPANS)
        spans[spanCount++] = (span){start, bytes};
    else
        munmap(start, bytes);
}

// The last `bytes` of span i
static char *take_from(size_t i, size_t bytes) {
    char *start = spans[i].start + spans[i].bytes - bytes;
    spans[i].bytes -= bytes;
    if (spans[i].bytes == 0) spans[i] = spans[--spanCount];
    return start;
}

static char *allocate_large(size_t bytes) {
    size_t best = SPANS;
    for (size_t i = 0; i < spanCount; i++)
        if (spans[i].bytes >= bytes && (best == SPANS || spans[i].bytes < spans[best].bytes)) best = i;
    if (best < SPANS) return take_from(best, bytes);
    if (spanCount == 0) return fresh(bytes);
    // No span is large enough: join some, the largest first, and only the rest is fresh.
    char *start = reserve(bytes, PROT_NONE);
    if (!start) return NULL;
    size_t done = 0;
    while (done < bytes && spanCount > 0) {
        size_t largest = 0;
        for (size_t i = 1; i < spanCount; i++)
            if (spans[i].bytes > spans[largest].bytes) largest = i;
        size_t part = spans[largest].bytes < bytes - done ? spans[largest].bytes : bytes - done;
        char *from = take_from(largest, part);
        if (!move_pages(from, part, start + done)) {
            munmap(from, part);
            break;
        }
        done += part;
    }
    if (done < bytes) {
        char *rest = mmap(start + done, bytes - done, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        if (rest == MAP_FAILED) {
            munmap(start, bytes);
            return NULL;
        }
        madvise(rest, bytes - done, MADV_HUGEPAGE);
    }
    return start;
}

static size_t whole_pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

// ---- All buffers

// Allocations from now until one fails, for tests; negative: none does.
static _Atomic int64_t untilFailure = -1;
void lk_fail_allocation(int64_t after) { atomic_store(&untilFailure, after); }

void *lk_allocate(size_t bytes) {
    pthread_once(&once, initialise);
    if (atomic_load_explicit(&untilFailure, memory_order_relaxed) >= 0 && atomic_fetch_sub(&untilFailure, 1) == 0)
        return NULL;
    if (bytes > (size_t)1 << 44) return NULL;
    if (bytes >= LARGE) {
        pthread_mutex_lock(&lock);
        void *memory = allocate_large(whole_pages(bytes));
        pthread_mutex_unlock(&lock);
        return memory;
    }
    size_t rounded;
    int class = class_of(bytes, &rounded);
    pthread_mutex_lock(&lock);
    buffer *found = kept[class];
    if (found) {
        kept[class] = found->next;
        keptBytes -= rounded;
    }
    pthread_mutex_unlock(&lock);
    // A multiple of the alignment: aligned_alloc asks for it.
    return found ? found : aligned_alloc(64, (rounded + 63) / 64 * 64);
}

void lk_deallocate(void *memory, size_t bytes) {
    if (bytes >= LARGE) {
        pthread_mutex_lock(&lock);
        keep_span(memory, whole_pages(bytes));
        pthread_mutex_unlock(&lock);
        return;
    }
    size_t rounded;
    int class = class_of(bytes, &rounded);
    pthread_mutex_lock(&lock);
    bool keep = keptBytes + rounded <= KEEP_SMALL;
    if (keep) {
        ((buffer *)memory)->next = kept[class];
        kept[class] = memory;
        keptBytes += rounded;
    }
    pthread_mutex_unlock(&lock);
    if (!keep) free(memory);
}

static bool can_map(size_t bytes, int protection) {
    void *map = mmap(NULL, bytes ? bytes : 1, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return false;
    munmap(map, bytes ? bytes : 1);
    return true;
}

static _Atomic size_t mostWanted;

bool lk_can_map(size_t bytes) {
    size_t most = atomic_load(&mostWanted);
    while (bytes > most && bytes < (size_t)1 << 44 && !atomic_compare_exchange_weak(&mostWanted, &most, bytes)) {
    }
    return can_map(bytes, PROT_READ | PROT_WRITE);
}

bool lk_can_spare(size_t bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return true;
    size_t most = atomic_load(&mostWanted), least = (size_t)1 << 30;
    return can_map(bytes + (most > least ? most : least), PROT_NONE);
}

void lk_trim(void) {
    pthread_mutex_lock(&lock);
    while (spanCount > 0) {
        spanCount--;
        munmap(spans[spanCount].start, spans[spanCount].bytes);
    }
    for (int class = 0; class < CLASSES; class++)
        while (kept[class]) {
            buffer *first = kept[class];
            kept[class] = first->next;
            keptBytes -= size_of_class(class);
            free(first);
        }
    pthread_mutex_unlock(&lock);
}
