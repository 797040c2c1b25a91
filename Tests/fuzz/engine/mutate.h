/* A mutator that knows what the product's files are made of: values change, and lengths, offsets and check sums are put
 * right again, so that inputs get past the first check. */
#ifndef MUTATE_H
#define MUTATE_H

#include "json.h"

void seed_random(unsigned seed);
size_t pick(size_t count); /* 0 ..< count */
const char *pick_word(void);
struct json *pick_value(struct json *root);

/* Changes one thing in a tree; `other` is another file's tree to take from, or NULL. */
void change_value(struct json *root, struct json *other);

/* Each changes a file of its kind and writes it to `out`; 0 if the bytes are no such file. */
int mutate_safetensors(const uint8_t *data, size_t size, const uint8_t *other, size_t other_size, struct text *out);
int mutate_json(const uint8_t *data, size_t size, const uint8_t *other, size_t other_size, struct text *out);
int mutate_gguf(const uint8_t *data, size_t size, struct text *out);
int mutate_zip(const uint8_t *data, size_t size, struct text *out);
int mutate_png(const uint8_t *data, size_t size, struct text *out);
int mutate_protobuf(const uint8_t *data, size_t size, struct text *out);

/* Several files as one input: each a 32-bit length and its bytes; the last one's length may be short or long. */
struct part {
    const uint8_t *bytes;
    size_t count;
};
enum { PARTS = 8 };
size_t split_parts(const uint8_t *data, size_t size, struct part parts[PARTS]);

#endif
