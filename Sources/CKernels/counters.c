// How many bytes tensors hold, now and at most.
#include <stdatomic.h>
#include "internal.h"

static _Atomic int64_t current, peak;

void lk_count_bytes(int64_t change) {
    const int64_t now = atomic_fetch_add_explicit(&current, change, memory_order_relaxed) + change;
    int64_t most = atomic_load_explicit(&peak, memory_order_relaxed);
    while (now > most &&
           !atomic_compare_exchange_weak_explicit(&peak, &most, now, memory_order_relaxed, memory_order_relaxed)) {
    }
}
int64_t lk_current_bytes(void) { return atomic_load_explicit(&current, memory_order_relaxed); }
int64_t lk_peak_bytes(void) { return atomic_load_explicit(&peak, memory_order_relaxed); }
void lk_reset_peak_bytes(void) {
    atomic_store_explicit(&peak, atomic_load_explicit(&current, memory_order_relaxed), memory_order_relaxed);
}
