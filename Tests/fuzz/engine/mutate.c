#include "mutate.h"

#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t max_out, unsigned seed);

static char made[2u << 20];

/* Whether an input is several files: their lengths fill it to the byte. */
static int is_parts(const uint8_t *data, size_t size) {
    size_t at = 0;
    for (int count = 0; count < PARTS; count++) {
        uint32_t length;
        if (size - at < 4) { return 0; }
        memcpy(&length, data + at, 4);
        at += 4;
        if (length > size - at) { return 0; }
        at += length;
        if (at == size) { return count > 0; }
    }
    return 0;
}

static int mutate_file(const uint8_t *data, size_t size, const uint8_t *other, size_t other_size, struct text *out) {
    return mutate_safetensors(data, size, other, other_size, out) || mutate_json(data, size, other, other_size, out)
        || mutate_gguf(data, size, out) || mutate_zip(data, size, out) || mutate_png(data, size, out) || mutate_protobuf(data, size, out);
}

/* One part changes, or two of one kind change places. `other` has parts too, or is NULL. */
static int mutate_parts(const uint8_t *data, size_t size, const uint8_t *other, size_t other_size, struct text *out) {
    struct part parts[PARTS], others[PARTS];
    const size_t count = split_parts(data, size, parts);
    const size_t other_count = other && is_parts(other, other_size) ? split_parts(other, other_size, others) : 0;
    const size_t chosen = pick(count);
    const int swap = chosen < other_count && pick(2);
    for (size_t i = 0; i < count; i++) {
        const size_t begin = out->length;
        uint32_t length = 0;
        text_add(out, &length, 4);
        if (i != chosen) { text_add(out, parts[i].bytes, parts[i].count); }
        else if (swap) { text_add(out, others[i].bytes, others[i].count); }
        else if (!mutate_file(parts[i].bytes, parts[i].count, i < other_count ? others[i].bytes : NULL,
                              i < other_count ? others[i].count : 0, out)) {
            if (out->room - out->length < parts[i].count + 16) { return 0; }
            memcpy(out->bytes + out->length, parts[i].bytes, parts[i].count);
            out->length += LLVMFuzzerMutate((uint8_t *)out->bytes + out->length, parts[i].count, parts[i].count + 16);
        }
        length = (uint32_t)(out->length - begin - 4);
        if (!out->full) { memcpy(out->bytes + begin, &length, 4); }
    }
    return 1;
}

static size_t mutate(const uint8_t *data, size_t size, const uint8_t *other, size_t other_size, size_t max_size) {
    json_reset();
    struct text out = {.bytes = made, .room = max_size < sizeof made ? max_size : sizeof made};
    const int done = is_parts(data, size) ? mutate_parts(data, size, other, other_size, &out)
                                          : mutate_file(data, size, other, other_size, &out);
    return done && !out.full ? out.length : 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    seed_random(seed);
    if (size && pick(8)) {
        const size_t count = mutate(data, size, NULL, 0, max_size);
        if (count) {
            memcpy(data, made, count);
            return count;
        }
    }
    return LLVMFuzzerMutate(data, size, max_size);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t max_out, unsigned seed) {
    seed_random(seed);
    const size_t count = a_size ? mutate(a, a_size, b, b_size, max_out) : 0;
    if (count) { memcpy(out, made, count); }
    return count;
}
