/* JSON as a tree that keeps what is wrong with it: names twice, numbers of any size, words that are none. A string that
 * holds JSON itself (the "generator" in a safetensors file's metadata) is a tree too. Memory is a fixed arena that
 * json_reset() empties; when it is full, what is made is NULL. */
#ifndef JSON_H
#define JSON_H

#include <stddef.h>
#include <stdint.h>

enum json_kind { JSON_WORD, JSON_STRING, JSON_ARRAY, JSON_OBJECT, JSON_EMBEDDED };

/* A value; of an object's member, with its name. Text is as it stands in the file: escaped, without the quotes. */
struct json {
    enum json_kind kind;
    const char *name, *text;
    size_t name_length, length;
    struct json *first, *next; /* of an array or object, its values; of an embedded text, its one value */
};

struct text {
    char *bytes;
    size_t length, room;
    int full; /* what was written did not fit */
};

void json_reset(void);
void *json_memory(size_t count);
const char *json_copy(const char *text, size_t length);
struct json *json_node(enum json_kind kind, const char *text);

/* The value at the start of a text, NULL if it is none; `*used` gets its length. */
struct json *json_parse(const char *text, size_t length, size_t *used);
void json_write(const struct json *value, struct text *out);
void text_add(struct text *out, const void *bytes, size_t count);

const struct json *json_member(const struct json *object, const char *name);

#endif
