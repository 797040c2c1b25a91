// The machine's own limits, by the plainest code that reaches them.
#ifndef CPEAK_H
#define CPEAK_H
#include <stddef.h>

// GFLOP/s of one thread in float multiply-adds on registers, with the widest vectors of this CPU; runs ~`milliseconds`.
double peak_flops(double milliseconds);
// Sum of n floats, by wide loads: n * 4 bytes are read.
double peak_read(const float *x, size_t n);
// VmHWM of this process in bytes.
size_t peak_memory(void);
double peak_seconds(void);
#endif
