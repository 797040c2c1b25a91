/* PNG: chunks change, and their check sums are put right again; pixels change behind their compression. */
#include "mutate.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

enum { ROOM = 1 << 16 };

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void add_number(struct text *out, uint32_t n) {
    const uint8_t bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    text_add(out, bytes, 4);
}

/* A chunk's name and data follow each other in `chunk`. */
static void add_chunk(struct text *out, const uint8_t *chunk, size_t count) {
    add_number(out, (uint32_t)count);
    text_add(out, chunk, 4 + count);
    add_number(out, (uint32_t)crc32(0, chunk, (uInt)(4 + count)));
}

/* Changes the data of a chunk in `chunk`, which has room; pixels are unpacked first, where they can be. */
static size_t change(uint8_t *chunk, size_t count) {
    static uint8_t raw[ROOM];
    uLongf length = ROOM - 64;
    if (memcmp(chunk, "IDAT", 4) == 0 && pick(4) && uncompress(raw, &length, chunk + 4, (uLong)count) == Z_OK) {
        const size_t made = LLVMFuzzerMutate(raw, length, length + 16);
        uLongf packed = 2 * ROOM - 8;
        if (compress2(chunk + 4, &packed, raw, (uLong)made, 1) == Z_OK) { return packed; }
    }
    if (pick(16) == 0) {
        static const char names[] = "IHDRPLTEIDATIENDtRNSeXIfiTXtzTXtiCCPgAMAacTLfcTLfdATsPLT";
        memcpy(chunk, names + 4 * pick(sizeof names / 4), 4);
        return count;
    }
    return LLVMFuzzerMutate(chunk + 4, count, count + 8);
}

int mutate_png(const uint8_t *data, size_t size, struct text *out) {
    static uint8_t chunk[2 * ROOM];
    if (size < 8 || memcmp(data, "\x89PNG\r\n\x1a\n", 8) != 0 || size > ROOM / 2) { return 0; }
    size_t chunks = 0;
    for (size_t at = 8; size - at >= 12 && big_endian(data + at) <= size - at - 12; at += 12 + big_endian(data + at)) { chunks++; }
    if (chunks == 0) { return 0; }
    const size_t chosen = pick(chunks), repeated = pick(8) ? chunks : pick(chunks), dropped = pick(16) ? chunks : pick(chunks);
    text_add(out, data, 8);
    size_t at = 8;
    for (size_t i = 0; i < chunks; i++) {
        size_t count = big_endian(data + at);
        memcpy(chunk, data + at + 4, 4 + count);
        at += 12 + count;
        if (i == chosen) { count = change(chunk, count); }
        if (i != dropped) { add_chunk(out, chunk, count); }
        if (i == repeated) { add_chunk(out, chunk, count); }
    }
    return 1;
}
