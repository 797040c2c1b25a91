// Counter-based random numbers: element i depends on seed, stream and i alone, so any thread can make any part.
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

// The four words of a block make two pairs, each of them two normal numbers; a few hundred pairs at a time.
void lk_normal(lk_type type, uint64_t seed, uint64_t stream, uint64_t position, size_t n, double mean, double deviation,
               void *out) {
    enum { BLOCKS = 64 };
    uint32_t words[4 * BLOCKS], first[2 * BLOCKS], second[2 * BLOCKS];
    double cosines[2 * BLOCKS], sines[2 * BLOCKS];
    for (size_t start = 0; start < n; start += 4 * BLOCKS) {
        size_t count = n - start < 4 * BLOCKS ? n - start : 4 * BLOCKS, pairs = (count + 3) / 4 * 2;
        lk_philox(seed, stream, position + start / 4, pairs / 2, words);
        for (size_t i = 0; i < pairs; i++) first[i] = words[2 * i], second[i] = words[2 * i + 1];
        lk_kernels(LK_F64)->boxMuller(pairs, first, second, cosines, sines);
        for (size_t i = 0; i < count; i++)
            put(type, out, start + i, mean + deviation * (i & 1 ? sines[i / 2] : cosines[i / 2]));
    }
}
