// The state of differentiation that Swift has no cheap word for: an order of creation and a flag per thread.
#include <stdatomic.h>
#include "internal.h"

static _Atomic uint64_t order;
static _Thread_local int gradientsOff;

uint64_t lk_next_order(void) { return atomic_fetch_add_explicit(&order, 1, memory_order_relaxed); }
bool lk_gradients_enabled(void) { return gradientsOff == 0; }
void lk_gradients_off(int change) { gradientsOff += change; }

static _Thread_local int recomputing;
bool lk_recomputing(void) { return recomputing > 0; }
void lk_recomputation(int change) { recomputing += change; }
