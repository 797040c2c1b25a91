// The thread pool: one job at a time, a bounded spin and then a futex. Each thread first takes the chunks of a range of its
// own, the same for every job of as many chunks, so that it finds in its caches what it wrote or read before; then it takes
// what is left of the others' ranges.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "internal.h"

enum { MAX_THREADS = 16, SPIN_NANOSECONDS = 40000 };

// A range's ticket is generation << 32 | next chunk. A chunk is claimed by compare-and-swap, so a worker that wakes late
// sees another generation (or CLOSED) and takes nothing from a job that it did not read.
static const uint64_t CLOSED = 0xffffffff;
static struct {
    _Alignas(64) _Atomic uint64_t ticket;
} ranges[MAX_THREADS];
static _Atomic size_t jobRanges;
static _Atomic(void (*)(void *, size_t)) jobBody;
static _Atomic(void *) jobContext;
static _Atomic size_t jobChunks;
static _Atomic uint32_t completed;   // chunks of the current job that have run; the owner's futex
static _Atomic uint32_t ownerSleeps;
static _Atomic uint32_t wake;        // counts jobs; the workers' futex
static _Atomic uint32_t sleepers;
static _Atomic size_t wanted;        // 0: not chosen yet
static size_t workers;               // started ones; guarded by `owner`
static pthread_mutex_t owner = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local bool inside;    // this thread runs chunks

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static void futex_wake(_Atomic uint32_t *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// Waits until *word differs from value: spinning first, asleep after SPIN_NANOSECONDS.
static void wait_change(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *asleep) {
    int64_t deadline = 0;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != value) return;
            __builtin_ia32_pause();
        }
        int64_t t = now_ns();
        if (!deadline) deadline = t + SPIN_NANOSECONDS;
        if (t >= deadline) break;
    }
    atomic_fetch_add(asleep, 1);
    while (atomic_load(word) == value) futex_wait(word, value);
    atomic_fetch_sub(asleep, 1);
}

static inline size_t range_start(size_t range, size_t count, size_t chunks) { return chunks * range / count; }

static void run_range(size_t range) {
    _Atomic uint64_t *ticket = &ranges[range].ticket;
    uint64_t t = atomic_load_explicit(ticket, memory_order_acquire);
    for (;;) {
        size_t chunk = (uint32_t)t;
        size_t chunks = atomic_load_explicit(&jobChunks, memory_order_relaxed);
        size_t count = atomic_load_explicit(&jobRanges, memory_order_relaxed);
        void (*body)(void *, size_t) = atomic_load_explicit(&jobBody, memory_order_relaxed);
        void *context = atomic_load_explicit(&jobContext, memory_order_relaxed);
        if (chunk == CLOSED || range >= count || chunk >= range_start(range + 1, count, chunks)) return;
        if (!atomic_compare_exchange_weak_explicit(ticket, &t, t + 1, memory_order_acq_rel, memory_order_acquire))
            continue;
        t++;
        body(context, chunk);
        uint32_t done = atomic_fetch_add(&completed, 1) + 1;
        if (done == chunks && atomic_load(&ownerSleeps)) futex_wake(&completed, 1);
    }
}

static void run_chunks(size_t self) {
    if (self >= atomic_load_explicit(&wanted, memory_order_relaxed)) return;  // the host asks for fewer by now
    size_t count = atomic_load_explicit(&jobRanges, memory_order_acquire);
    for (size_t i = 0; i < count; i++) run_range((self + i) % count);
}

static void *worker(void *index) {
    inside = true;
    uint32_t seen = atomic_load(&wake);
    for (;;) {
        run_chunks((size_t)index);
        wait_change(&wake, seen, &sleepers);
        seen = atomic_load_explicit(&wake, memory_order_acquire);
    }
    return NULL;
}

// The child of a fork has no workers: it starts its own when it first needs them.
static void after_fork_in_child(void) {
    pthread_mutex_init(&owner, NULL);
    workers = 0;
    inside = false;
    for (size_t i = 0; i < MAX_THREADS; i++) atomic_store(&ranges[i].ticket, CLOSED);
    atomic_store(&completed, 0);
    atomic_store(&ownerSleeps, 0);
    atomic_store(&sleepers, 0);
}

static void initialise(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

static void start_workers(size_t count) {
    if (workers >= count) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 2 << 20);
    // A thread takes a stack, and an arena of malloc with its first small object.
    for (pthread_t thread; workers < count && lk_can_spare((size_t)(64 + 8) << 20); workers++)
        if (pthread_create(&thread, &attributes, worker, (void *)(workers + 1)) != 0) break;
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

size_t lk_thread_count(void) {
    size_t count = atomic_load_explicit(&wanted, memory_order_relaxed);
    if (count) return count;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    lk_set_thread_count(online > 0 ? (size_t)online : 1);
    return atomic_load_explicit(&wanted, memory_order_relaxed);
}

void lk_set_thread_count(size_t count) {
    atomic_store_explicit(&wanted, count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count, memory_order_relaxed);
}

static void run_serially(size_t chunks, void (*body)(void *, size_t), void *context) {
    for (size_t i = 0; i < chunks; i++) body(context, i);
}

void lk_parallel(size_t chunks, void (*body)(void *context, size_t chunk), void *context) {
    size_t threads = lk_thread_count();
    if (chunks < 2 || chunks >= CLOSED || threads < 2 || inside) {
        run_serially(chunks, body, context);
        return;
    }
    pthread_once(&once, initialise);
    if (pthread_mutex_trylock(&owner) != 0) {
        run_serially(chunks, body, context);
        return;
    }
    start_workers(threads - 1);
    // Close the old job, describe the new one, open it: in this order, so that no claim mixes the two.
    uint64_t generation = (atomic_load(&ranges[0].ticket) >> 32) + 1;
    for (size_t i = 0; i < MAX_THREADS; i++) atomic_store(&ranges[i].ticket, generation << 32 | CLOSED);
    size_t count = threads < chunks ? threads : chunks;
    atomic_store(&jobBody, body);
    atomic_store(&jobContext, context);
    atomic_store(&jobChunks, chunks);
    atomic_store(&jobRanges, count);
    atomic_store(&completed, 0);
    for (size_t i = 0; i < count; i++)
        atomic_store(&ranges[i].ticket, (generation + 1) << 32 | range_start(i, count, chunks));
    atomic_fetch_add(&wake, 1);
    if (atomic_load(&sleepers)) futex_wake(&wake, workers < threads ? (int)(count - 1) : (int)workers);
    inside = true;
    run_chunks(0);
    for (uint32_t done; (done = atomic_load(&completed)) != (uint32_t)chunks;)
        wait_change(&completed, done, &ownerSleeps);
    inside = false;
    pthread_mutex_unlock(&owner);
}

int lk_run_in_fork(bool (*body)(void)) {
    pid_t child = fork();
    if (child == 0) _exit(body() ? 0 : 1);
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
