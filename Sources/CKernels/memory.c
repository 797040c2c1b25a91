// Buffers in size classes, kept for reuse: a training step allocates the same sizes again and again, and fresh pages
// from the system cost more than the arithmetic on them.
#include <pthread.h>
#include <stdlib.h>
#include "internal.h"

enum { SMALLEST = 64, CLASSES = 4 * 40 };
static const size_t KEEP_AT_MOST = (size_t)1 << 29;

typedef struct buffer {
    struct buffer *next;
} buffer;

static buffer *kept[CLASSES];
static size_t keptBytes;
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

void *lk_allocate(size_t bytes) {
    pthread_once(&once, initialise);
    size_t rounded;
    if (bytes > (size_t)1 << 44) return NULL;
    int class = class_of(bytes, &rounded);
    pthread_mutex_lock(&lock);
    buffer *found = kept[class];
    if (found) {
        kept[class] = found->next;
        keptBytes -= rounded;
    }
    pthread_mutex_unlock(&lock);
    if (found) return found;
    // A multiple of the alignment: aligned_alloc asks for it.
    return aligned_alloc(64, (rounded + 63) / 64 * 64);
}

void lk_deallocate(void *memory, size_t bytes) {
    size_t rounded;
    int class = class_of(bytes, &rounded);
    pthread_mutex_lock(&lock);
    bool keep = keptBytes + rounded <= KEEP_AT_MOST;
    if (keep) {
        ((buffer *)memory)->next = kept[class];
        kept[class] = memory;
        keptBytes += rounded;
    }
    pthread_mutex_unlock(&lock);
    if (!keep) free(memory);
}

void lk_trim(void) {
    for (int class = 0; class < CLASSES; class++) {
        pthread_mutex_lock(&lock);
        buffer *list = kept[class];
        kept[class] = NULL;
        size_t rounded = 0;
        for (buffer *b = list; b; b = b->next) {
            // The class's size from its number: the inverse of class_of.
            int top = 6 + (class - 1) / 4, quarter = (class - 1) % 4 + 1;
            rounded += class == 0 ? SMALLEST : ((size_t)1 << top) + (size_t)quarter * ((size_t)1 << (top - 2));
        }
        keptBytes -= rounded;
        pthread_mutex_unlock(&lock);
        while (list) {
            buffer *next = list->next;
            free(list);
            list = next;
        }
    }
}
