// Counter-based random numbers: element i depends on seed, stream and i alone, so any thread can make any part.
#include <string.h>
#include "internal.h"

// The same bytes on every CPU: no fused operations, and baseline instructions only.
#pragma STDC FP_CONTRACT OFF

static void philox_block(const uint32_t counter[4], uint64_t seed, uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

void lk_philox(uint64_t seed, uint64_t stream, uint64_t position, size_t blocks, uint32_t *out) {
    for (size_t i = 0; i < blocks; i++) {
        uint64_t at = position + i;
        uint32_t counter[4] = {(uint32_t)at, (uint32_t)(at >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
        philox_block(counter, seed, out + 4 * i);
    }
}

static void put(lk_type type, void *out, size_t i, double value) {
    if (type == LK_F32)
        ((float *)out)[i] = (float)value;
    else
        ((double *)out)[i] = value;
}

void lk_uniform(lk_type type, uint64_t seed, uint64_t stream, uint64_t position, size_t n, double low, double high,
                void *out) {
    size_t each = type == LK_F32 ? 4 : 2;
    for (size_t i = 0; i < n; i += each) {
        uint32_t bits[4];
        lk_philox(seed, stream, position + i / each, 1, bits);
        for (size_t lane = 0; lane < each && i + lane < n; lane++) {
            double unit;
            if (type == LK_F32) {
                unit = (double)(bits[lane] >> 8) * 0x1p-24;
            } else {
                uint64_t wide = (uint64_t)bits[2 * lane + 1] << 32 | bits[2 * lane];
                unit = (double)(wide >> 11) * 0x1p-53;
            }
            put(type, out, i + lane, low + (high - low) * unit);
        }
    }
}

// Natural logarithm for x in (0, 1]: x = m 2^e, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m-1)/(m+1)).
static double log_exact(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    int64_t e = (int64_t)((bits - 0x3fe6a09e667f3bcdull) >> 52);
    e = (e & 0x800) ? e - 0x1000 : e;
    bits -= (uint64_t)e << 52;
    double m;
    memcpy(&m, &bits, 8);
    double s = (m - 1) / (m + 1), z = s * s;
    double p = 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    return (double)e * 0.69314718055994530942 + 2 * (s + s * z * p);
}

// sin and cos of 2 pi turn, turn in [0, 1): Taylor on a quarter turn about its middle axis.
static void sincos_turn(double turn, double *sine, double *cosine) {
    double quarters = turn * 4 + 0.5;
    int q = (int)quarters;
    double x = (turn * 4 - (double)q) * 1.57079632679489661923, z = x * x;  // |x| <= pi/4
    double s = -1.0 / 1307674368000;
    s = s * z + 1.0 / 6227020800;
    s = s * z - 1.0 / 39916800;
    s = s * z + 1.0 / 362880;
    s = s * z - 1.0 / 5040;
    s = s * z + 1.0 / 120;
    s = s * z - 1.0 / 6;
    s = x + x * z * s;
    double c = 1.0 / 20922789888000;
    c = c * z - 1.0 / 87178291200;
    c = c * z + 1.0 / 479001600;
    c = c * z - 1.0 / 3628800;
    c = c * z + 1.0 / 40320;
    c = c * z - 1.0 / 720;
    c = c * z + 1.0 / 24;
    c = c * z - 0.5;
    c = 1 + z * c;
    double table[4][2] = {{s, c}, {c, -s}, {-s, -c}, {-c, s}};
    *sine = table[q & 3][0];
    *cosine = table[q & 3][1];
}

void lk_normal(lk_type type, uint64_t seed, uint64_t stream, uint64_t position, size_t n, double mean, double deviation,
               void *out) {
    for (size_t i = 0; i < n; i += 4) {
        uint32_t bits[4];
        lk_philox(seed, stream, position + i / 4, 1, bits);
        for (size_t pair = 0; pair < 2 && i + 2 * pair < n; pair++) {
            double unit = ((double)bits[2 * pair] + 0.5) * 0x1p-32;  // in (0, 1)
            double square = -2 * log_exact(unit), sine, cosine;
            double radius = __builtin_sqrt(square);
            sincos_turn((double)bits[2 * pair + 1] * 0x1p-32, &sine, &cosine);
            put(type, out, i + 2 * pair, mean + deviation * (radius * cosine));
            if (i + 2 * pair + 1 < n) put(type, out, i + 2 * pair + 1, mean + deviation * (radius * sine));
        }
    }
}
