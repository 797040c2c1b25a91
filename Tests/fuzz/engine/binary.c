/* GGUF, zip archives and protobuf: a field changes, and counts, check sums and lengths follow. */
#include "mutate.h"

#include <string.h>

static const uint64_t integers[] = {0, 1, 2, 3, 4, 8, 16, 31, 32, 33, 255, 256, 65535, 65536, 0x7fffffff, 0x80000000,
    0xffffffff, 0x100000000, 1ull << 40, (1ull << 53) + 1, 1ull << 60, 1ull << 61, 1ull << 62, (1ull << 63) - 1, 1ull << 63,
    ~0ull - 1, ~0ull};
static uint64_t pick_integer(void) { return integers[pick(sizeof integers / sizeof *integers)]; }

static uint64_t little(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) { value |= (uint64_t)bytes[i] << (8 * i); }
    return value;
}

/* Bytes `start ..< end` of the file; of a text, behind its length. */
struct span {
    size_t start, end;
};
enum { SPANS = 512 };
struct spans {
    struct span at[SPANS];
    size_t count;
};
static void note(struct spans *spans, size_t start, size_t end) {
    if (spans->count < SPANS) { spans->at[spans->count++] = (struct span){start, end}; }
}

/* --------------------------------------------------------------------------------------------------------- GGUF */

struct gguf {
    struct spans entries, tensors; /* whole key-values and tensor descriptions */
    struct spans numbers, texts;
    size_t entries_end, tensors_end;
};

static int gguf_text(const uint8_t *data, size_t size, size_t *at, struct gguf *file) {
    if (size - *at < 8) { return 0; }
    const uint64_t length = little(data + *at, 8);
    if (length > size - *at - 8) { return 0; }
    note(&file->texts, *at, *at + 8 + (size_t)length);
    *at += 8 + (size_t)length;
    return 1;
}

static int gguf_value(const uint8_t *data, size_t size, size_t *at, uint64_t type, int depth, struct gguf *file) {
    static const uint8_t widths[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == 8) { return gguf_text(data, size, at, file); }
    if (type == 9) {
        if (size - *at < 12 || depth > 3) { return 0; }
        const uint64_t inner = little(data + *at, 4), count = little(data + *at + 4, 8);
        note(&file->numbers, *at, *at + 4);
        note(&file->numbers, *at + 4, *at + 12);
        *at += 12;
        for (uint64_t i = 0; i < count; i++) {
            if (!gguf_value(data, size, at, inner, depth + 1, file)) { return 0; }
        }
        return 1;
    }
    if (type >= sizeof widths || size - *at < widths[type]) { return 0; }
    note(&file->numbers, *at, *at + widths[type]);
    *at += widths[type];
    return 1;
}

static int gguf_parse(const uint8_t *data, size_t size, struct gguf *file) {
    if (size < 24 || memcmp(data, "GGUF", 4)) { return 0; }
    size_t at = 24;
    for (uint64_t i = 0, n = little(data + 16, 8); i < n; i++) {
        const size_t start = at;
        if (!gguf_text(data, size, &at, file) || size - at < 4) { return 0; }
        const uint64_t type = little(data + at, 4);
        note(&file->numbers, at, at + 4);
        at += 4;
        if (!gguf_value(data, size, &at, type, 0, file)) { return 0; }
        note(&file->entries, start, at);
    }
    file->entries_end = at;
    for (uint64_t i = 0, n = little(data + 8, 8); i < n; i++) {
        const size_t start = at;
        if (!gguf_text(data, size, &at, file) || size - at < 4) { return 0; }
        const uint64_t rank = little(data + at, 4);
        note(&file->numbers, at, at + 4);
        at += 4;
        if (rank > 8 || size - at < 8 * rank + 12) { return 0; }
        for (uint64_t d = 0; d < rank; d++, at += 8) { note(&file->numbers, at, at + 8); }
        note(&file->numbers, at, at + 4);
        note(&file->numbers, at + 4, at + 12);
        at += 12;
        note(&file->tensors, start, at);
    }
    file->tensors_end = at;
    return 1;
}

static void add_without(const uint8_t *data, struct span gap, const void *filling, size_t count, size_t head_end,
                        struct text *out) {
    text_add(out, data, gap.start);
    text_add(out, filling, count);
    text_add(out, data + gap.end, head_end - gap.end);
}

int mutate_gguf(const uint8_t *data, size_t size, struct text *out) {
    struct gguf *file = json_memory(sizeof *file);
    if (!file) { return 0; }
    memset(file, 0, sizeof *file);
    if (!gguf_parse(data, size, file)) { return 0; }
    const size_t begin = out->length, end = file->tensors_end;
    int64_t entries = 0, tensors = 0;
    const size_t what = pick(8);
    struct spans *list = what < 4 ? &file->numbers : what < 6 ? &file->texts : pick(2) ? &file->entries : &file->tensors;
    if (!list->count) { return 0; }
    const struct span chosen = list->at[pick(list->count)];
    if (what < 4) {
        uint64_t number = pick_integer();
        if (pick(2)) { number = little(data + chosen.start, chosen.end - chosen.start) + pick(5) - 2; }
        add_without(data, chosen, &number, chosen.end - chosen.start, end, out);
    } else if (what < 6) {
        const struct span from = file->texts.at[pick(file->texts.count)];
        if (pick(2)) { add_without(data, chosen, data + from.start, from.end - from.start, end, out); }
        else {
            const char *word = pick_word();
            uint64_t length = strlen(word);
            char filling[8 + 256];
            memcpy(filling, &length, 8);
            memcpy(filling + 8, word, (size_t)length);
            if (pick(8) == 0) { length = pick_integer(), memcpy(filling, &length, 8); }
            add_without(data, chosen, filling, 8 + strlen(word), end, out);
        }
    } else {
        int64_t *count = list == &file->entries ? &entries : &tensors;
        if (pick(2)) {
            add_without(data, chosen, NULL, 0, end, out);
            *count = -1;
        } else {
            add_without(data, (struct span){chosen.end, chosen.end}, data + chosen.start, chosen.end - chosen.start, end, out);
            *count = 1;
        }
    }
    if (out->full) { return 0; }
    if (pick(8)) {
        const uint64_t counts[] = {little(data + 8, 8) + (uint64_t)tensors, little(data + 16, 8) + (uint64_t)entries};
        memcpy(out->bytes + begin + 8, counts, 16);
    }
    /* The data begin at a multiple of 32 behind the head. */
    const size_t old_data = (end + 31) / 32 * 32;
    while ((out->length - begin) % 32 && !out->full) { text_add(out, "", 1); }
    if (old_data < size) { text_add(out, data + old_data, size - old_data); }
    return 1;
}

/* ---------------------------------------------------------------------------------------------------------- zip */

static uint32_t crc32_of(const uint8_t *bytes, size_t count) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int k = 0; k < 8; k++) { crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0); }
    }
    return ~crc;
}

/* An array's bytes change in place; its check sums follow, beside the data and in the directory. Or a number of a header
 * changes. */
int mutate_zip(const uint8_t *data, size_t size, struct text *out) {
    if (size < 30 || memcmp(data, "PK\3\4", 4)) { return 0; }
    struct spans *files = json_memory(sizeof *files);
    if (!files) { return 0; }
    files->count = 0;
    for (size_t at = 0; at + 30 <= size && memcmp(data + at, "PK\3\4", 4) == 0;) {
        const size_t start = at + 30 + little(data + at + 26, 2) + little(data + at + 28, 2);
        const size_t length = little(data + at + 18, 4);
        if (start > size || length > size - start) { break; }
        note(files, at, start + length);
        at = start + length;
    }
    const size_t begin = out->length;
    text_add(out, data, size);
    if (out->full || !files->count) { return 0; }
    uint8_t *made = (uint8_t *)out->bytes + begin;
    if (pick(4) == 0) { /* of a header or of the directory */
        const size_t behind = files->at[files->count - 1].end;
        const int directory = pick(2) && behind < size;
        const struct span file = files->at[pick(files->count)];
        const size_t from = directory ? behind : file.start, room = directory ? size - behind : 30;
        const size_t width = (size_t)2 << pick(3), place = from + pick(room);
        const uint64_t number = pick_integer();
        if (place + width <= size) { memcpy(made + place, &number, width); }
        return 1;
    }
    const struct span file = files->at[pick(files->count)];
    const size_t start = file.start + 30 + little(data + file.start + 26, 2) + little(data + file.start + 28, 2);
    if (start >= file.end) { return 1; }
    uint8_t *content = made + start;
    const size_t count = file.end - start;
    for (size_t changes = 1 + pick(3); changes; changes--) {
        const size_t place = pick(pick(2) && count > 80 ? 80 : count); /* NumPy's header is at the start */
        static const char common[] = "0123456789(),'<>|=!f428u TrueFalsdscroh{}: -\n";
        content[place] = pick(3) ? (uint8_t)common[pick(sizeof common - 1)] : (uint8_t)pick(256);
    }
    const uint32_t old = (uint32_t)little(data + file.start + 14, 4), crc = crc32_of(content, count);
    memcpy(made + file.start + 14, &crc, 4);
    for (size_t i = files->at[files->count - 1].end; i + 20 <= size; i++) {
        if (memcmp(data + i, "PK\1\2", 4) == 0 && little(data + i + 16, 4) == old) { memcpy(made + i + 16, &crc, 4); }
    }
    return 1;
}

/* ----------------------------------------------------------------------------------------------------- protobuf */

static int varint(const uint8_t *data, size_t size, size_t *at, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && *at < size; shift += 7) {
        const uint8_t byte = data[(*at)++];
        *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) { return 1; }
    }
    return 0;
}

static void add_varint(struct text *out, uint64_t value) {
    do {
        const uint8_t byte = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        text_add(out, &byte, 1);
        value >>= 7;
    } while (value);
}

/* Whether bytes can be read as a message to the end. */
static int is_message(const uint8_t *data, size_t size) {
    size_t at = 0;
    uint64_t tag, value;
    while (at < size) {
        if (!varint(data, size, &at, &tag) || tag >> 3 == 0 || tag >> 3 > 64) { return 0; }
        switch (tag & 7) {
        case 0: if (!varint(data, size, &at, &value)) { return 0; } break;
        case 1: if (size - at < 8) { return 0; } at += 8; break;
        case 5: if (size - at < 4) { return 0; } at += 4; break;
        case 2:
            if (!varint(data, size, &at, &value) || value > size - at) { return 0; }
            at += (size_t)value;
            break;
        default: return 0;
        }
    }
    return size > 0;
}

static size_t count_fields(const uint8_t *data, size_t size, int depth) {
    size_t at = 0, count = 0;
    uint64_t tag, value;
    while (at < size && varint(data, size, &at, &tag)) {
        count++;
        if ((tag & 7) == 0) { varint(data, size, &at, &value); }
        else if ((tag & 7) == 1) { at += 8; }
        else if ((tag & 7) == 5) { at += 4; }
        else {
            varint(data, size, &at, &value);
            if (depth < 8 && is_message(data + at, (size_t)value)) { count += count_fields(data + at, (size_t)value, depth + 1); }
            at += (size_t)value;
        }
    }
    return count;
}

/* Copies a message and changes field number `*left`, counted through all inner messages; lengths are written anew. */
static void copy_changed(const uint8_t *data, size_t size, int depth, size_t *left, struct text *out) {
    size_t at = 0;
    uint64_t tag, value;
    while (at < size && !out->full) {
        const size_t field = at, begin = out->length;
        if (!varint(data, size, &at, &tag)) { return; }
        const int chosen = (*left)-- == 0;
        const size_t what = pick(6);
        if (chosen && what == 0) { tag = (tag & 7) | (1 + pick(24)) << 3; }
        switch (tag & 7) {
        case 0:
            varint(data, size, &at, &value);
            if (chosen && what) { value = what < 3 ? value + pick(5) - 2 : pick_integer(); }
            add_varint(out, tag);
            add_varint(out, value);
            break;
        case 1: case 5: {
            const size_t width = (tag & 7) == 1 ? 8 : 4;
            add_varint(out, tag);
            const uint64_t number = pick_integer();
            text_add(out, chosen && what ? (const void *)&number : data + at, width);
            at += width;
            break;
        }
        default: {
            varint(data, size, &at, &value);
            const uint8_t *inside = data + at;
            const size_t length = (size_t)value;
            at += length;
            add_varint(out, tag);
            if (chosen && what == 1) { /* words */
                const char *word = pick_word();
                add_varint(out, strlen(word));
                text_add(out, word, strlen(word));
            } else if (chosen && what == 2) { /* shorter */
                const size_t half = pick(length + 1);
                add_varint(out, half);
                text_add(out, inside, half);
            } else if (depth < 8 && is_message(inside, length)) {
                const size_t room = length + 64;
                struct text inner = {.bytes = json_memory(room), .room = room};
                if (!inner.bytes) { out->full = 1; return; }
                copy_changed(inside, length, depth + 1, left, &inner);
                out->full |= inner.full;
                add_varint(out, inner.length);
                text_add(out, inner.bytes, inner.length);
            } else {
                add_varint(out, length);
                const size_t place = pick(length + 1);
                text_add(out, inside, length);
                if (chosen && place < length && !out->full) { out->bytes[out->length - length + place] = (char)pick(256); }
            }
        }
        }
        if (chosen && what == 3) { out->length = begin; }                       /* goes */
        if (chosen && what == 4) { text_add(out, data + field, at - field); }   /* comes twice */
    }
}

int mutate_protobuf(const uint8_t *data, size_t size, struct text *out) {
    if (!is_message(data, size)) { return 0; }
    size_t left = pick(count_fields(data, size, 0));
    copy_changed(data, size, 0, &left, out);
    return 1;
}
