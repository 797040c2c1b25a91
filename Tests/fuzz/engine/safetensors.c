/* Safetensors: the header changes, then lengths and offsets follow its types and shapes. And JSON by itself, one value or
 * one a line. */
#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t little(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) { value |= (uint64_t)bytes[i] << (8 * i); }
    return value;
}

static size_t bits_of(const struct json *type) {
    static const struct { const char *name; size_t bits; } types[] = {
        {"F64", 64}, {"I64", 64}, {"U64", 64}, {"F32", 32}, {"I32", 32}, {"U32", 32}, {"F16", 16}, {"BF16", 16},
        {"I16", 16}, {"U16", 16}, {"F4", 4}};
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++) {
        if (type->length == strlen(types[i].name) && memcmp(type->text, types[i].name, type->length) == 0) {
            return types[i].bits;
        }
    }
    return 8;
}

/* Bytes that a tensor's type and shape ask for; SIZE_MAX for more than `room`. */
static size_t bytes_of(const struct json *tensor, size_t room) {
    const struct json *shape = json_member(tensor, "shape");
    size_t count = 1;
    for (const struct json *d = shape ? shape->first : NULL; d; d = d->next) {
        char digits[24] = "";
        if (d->kind == JSON_WORD) { snprintf(digits, sizeof digits, "%.*s", (int)(d->length < 23 ? d->length : 23), d->text); }
        const long long size = strtoll(digits, NULL, 10);
        if (size < 0 || (unsigned long long)size > room * 8) { return SIZE_MAX; }
        count *= (size_t)size;
        if (count > room * 8) { return SIZE_MAX; }
    }
    return (count * bits_of(json_member(tensor, "dtype")) + 7) / 8;
}

static const uint32_t floats[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f7fffff,
                                  0xff7fffff, 0x00000001, 0x00800000, 0x5a000000, 0x5f000000, 0x1e000000};

/* One number of the data, or all from one on. */
static void change_numbers(uint8_t *data, size_t count) {
    if (count < 4) { return; }
    const uint32_t value = floats[pick(sizeof floats / sizeof *floats)];
    const size_t first = pick(count / 4);
    const size_t last = pick(4) ? first + 1 : count / 4;
    for (size_t i = first; i < last; i++) { memcpy(data + 4 * i, &value, 4); }
}

/* Gives each tensor the place that its type and shape ask for, its old bytes, and zeros where there were none. */
static int lay_out(struct json *header, const uint8_t *data, size_t size, struct text *body) {
    for (struct json *tensor = header->first; tensor; tensor = tensor->next) {
        struct json *offsets = (struct json *)json_member(tensor, "data_offsets");
        if (tensor->kind != JSON_OBJECT || !offsets || !offsets->first || !offsets->first->next) { continue; }
        struct json *ends[] = {offsets->first, offsets->first->next};
        const size_t count = bytes_of(tensor, body->room);
        if (count > body->room - body->length) { return 0; }
        char digits[24] = "";
        snprintf(digits, sizeof digits, "%.*s", (int)(ends[0]->length < 23 ? ends[0]->length : 23), ends[0]->text ? ends[0]->text : "");
        const unsigned long long old = strtoull(digits, NULL, 10);
        const size_t there = old < size ? size - (size_t)old : 0, kept = there < count ? there : count;
        const size_t places[] = {body->length, body->length + count};
        if (kept) { memcpy(body->bytes + body->length, data + old, kept); }
        memset(body->bytes + body->length + kept, 0, count - kept);
        body->length += count;
        for (int i = 0; i < 2; i++) {
            char made[24];
            const int length = snprintf(made, sizeof made, "%zu", places[i]);
            ends[i]->kind = JSON_WORD;
            ends[i]->text = json_copy(made, (size_t)length);
            ends[i]->length = ends[i]->text ? (size_t)length : 0;
        }
    }
    return 1;
}

static struct json *header_of(const uint8_t *data, size_t size, size_t *data_start) {
    if (size < 10 || data[8] != '{') { return NULL; }
    const uint64_t length = little(data, 8);
    if (length > size - 8) { return NULL; }
    *data_start = 8 + (size_t)length;
    size_t used;
    return json_parse((const char *)data + 8, (size_t)length, &used);
}

static uint8_t body_bytes[1u << 20];

int mutate_safetensors(const uint8_t *data, size_t size, const uint8_t *other, size_t other_size, struct text *out) {
    size_t start, other_start;
    struct json *header = header_of(data, size, &start);
    if (!header || header->kind != JSON_OBJECT) { return 0; }
    struct json *second = other ? header_of(other, other_size, &other_start) : NULL;
    struct text body = {.bytes = (char *)body_bytes, .room = sizeof body_bytes};
    const size_t numbers = pick(4) == 0;
    for (size_t changes = numbers ? 0 : 1 + pick(3); changes; changes--) { change_value(header, second); }
    if (pick(8) == 0 || !lay_out(header, data + start, size - start, &body)) {
        body.length = size - start < body.room ? size - start : body.room;
        memcpy(body.bytes, data + start, body.length);
    }
    if (numbers || pick(8) == 0) { change_numbers(body_bytes, body.length); }
    uint64_t length = 0;
    const size_t begin = out->length;
    text_add(out, &length, 8);
    json_write(header, out);
    while ((out->length - begin) % 8 && !out->full) { text_add(out, " ", 1); }
    length = out->length - begin - 8;
    if (!out->full) { memcpy(out->bytes + begin, &length, 8); }
    text_add(out, body.bytes, body.length);
    return 1;
}

int mutate_json(const uint8_t *data, size_t size, const uint8_t *other, size_t other_size, struct text *out) {
    size_t used = 0;
    struct json *second = other ? json_parse((const char *)other, other_size, &used) : NULL;
    struct json lines = {.kind = JSON_ARRAY}, **place = &lines.first;
    for (size_t at = 0; at < size;) {
        struct json *line = json_parse((const char *)data + at, size - at, &used);
        if (!line || !used) { break; }
        *place = line;
        place = &line->next;
        at += used;
        while (at < size && (data[at] == '\n' || data[at] == '\r' || data[at] == ' ')) { at++; }
    }
    if (!lines.first || lines.first->kind == JSON_WORD) { return 0; }
    for (size_t changes = 1 + pick(3); changes; changes--) { change_value(&lines, second); }
    for (const struct json *line = lines.first; line; line = line->next) {
        json_write(line, out);
        if (line->next) { text_add(out, "\n", 1); }
    }
    return 1;
}
