#include "CPeak.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

double peak_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t peak_memory(void) {
    // Not ru_maxrss: a child inherits its parent's until it starts its own program.
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    size_t kilobytes = 0;
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmHWM: %zu", &kilobytes) == 1) break;
    if (status) fclose(status);
    return kilobytes * 1024;
}

#define BURST(NAME, TARGET, LANES)                                                                      \
    __attribute__((target(TARGET), noinline)) static double NAME(long rounds) {                         \
        typedef float V __attribute__((ext_vector_type(LANES)));                                        \
        V a = (V)1.0001f, b = (V)1e-7f, s[12];                                                          \
        for (int i = 0; i < 12; i++) s[i] = (V)(float)i;                                                \
        for (long r = 0; r < rounds; r++) {                                                             \
            _Pragma("unroll") for (int i = 0; i < 12; i++) s[i] = __builtin_elementwise_fma(s[i], a, b); \
            __asm__ volatile("" : "+v"(a), "+v"(b));                                                    \
        }                                                                                               \
        V t = s[0];                                                                                     \
        for (int i = 1; i < 12; i++) t += s[i];                                                         \
        volatile float sink = t[0];                                                                     \
        (void)sink;                                                                                     \
        return 2.0 * 12 * LANES * (double)rounds;                                                       \
    }
BURST(burst512, "avx512f,fma", 16)
BURST(burst256, "avx2,fma", 8)

double peak_flops(double milliseconds) {
    __builtin_cpu_init();
    int wide = __builtin_cpu_supports("avx512f");
    double done = 0, start = peak_seconds();
    do done += wide ? burst512(100000) : burst256(100000);
    while (peak_seconds() - start < milliseconds * 1e-3);
    return done / (peak_seconds() - start) * 1e-9;
}

__attribute__((target("avx2"))) double peak_read(const float *x, size_t n) {
    typedef float V __attribute__((ext_vector_type(8)));
    V s[8] = {0};
    for (size_t i = 0; i + 64 <= n; i += 64)
        for (int j = 0; j < 8; j++) {
            V v;
            memcpy(&v, x + i + 8 * j, sizeof v);
            s[j] += v;
        }
    for (int j = 1; j < 8; j++) s[0] += s[j];
    return s[0][0];
}
