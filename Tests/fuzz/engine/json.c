#include "json.h"

#include <string.h>

static _Alignas(16) char arena[32u << 20];
static size_t arena_used;

void json_reset(void) { arena_used = 0; }

void *json_memory(size_t count) {
    count = (count + 15) & ~(size_t)15;
    if (count > sizeof arena - arena_used) { return NULL; }
    void *memory = arena + arena_used;
    arena_used += count;
    return memory;
}

const char *json_copy(const char *text, size_t length) {
    char *copy = json_memory(length + 1);
    if (!copy) { return NULL; }
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

struct json *json_node(enum json_kind kind, const char *text) {
    struct json *node = json_memory(sizeof *node);
    if (node) { *node = (struct json){.kind = kind, .text = text, .length = text ? strlen(text) : 0}; }
    return node;
}

/* ------------------------------------------------------------------------------------------------------- reading */

struct reader {
    const char *at, *end;
};

static void skip_space(struct reader *r) {
    while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at) { r->at++; }
}

/* The inside of a string whose quote is next. */
static int read_string(struct reader *r, const char **text, size_t *length) {
    if (r->at == r->end || *r->at != '"') { return 0; }
    const char *start = ++r->at;
    while (r->at < r->end && *r->at != '"') { r->at += *r->at == '\\' && r->end - r->at > 1 ? 2 : 1; }
    if (r->at >= r->end) { return 0; }
    *text = start;
    *length = (size_t)(r->at++ - start);
    return 1;
}

/* A string's tree, if it is an object in quotes with no more than the usual escapes. */
static struct json *embedded(const char *text, size_t length) {
    if (length < 2 || text[0] != '{') { return NULL; }
    char *plain = json_memory(length);
    if (!plain) { return NULL; }
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c == '\\' && i + 1 < length) {
            c = text[++i];
            if (c == 'n') { c = '\n'; }
            else if (c != '"' && c != '\\' && c != '/') { return NULL; }
        }
        plain[count++] = c;
    }
    size_t used;
    return json_parse(plain, count, &used);
}

static struct json *read_value(struct reader *r, int depth) {
    skip_space(r);
    if (r->at == r->end || depth > 64) { return NULL; }
    struct json *value = json_node(JSON_WORD, NULL);
    if (!value) { return NULL; }
    if (*r->at == '"') {
        if (!read_string(r, &value->text, &value->length)) { return NULL; }
        value->kind = JSON_STRING;
        struct json *inner = embedded(value->text, value->length);
        if (inner) {
            value->kind = JSON_EMBEDDED;
            value->first = inner;
        }
        return value;
    }
    if (*r->at != '{' && *r->at != '[') {
        const char *start = r->at;
        while (r->at < r->end && !strchr(",]} \t\r\n:\"", *r->at)) { r->at++; }
        value->text = start;
        value->length = (size_t)(r->at - start);
        return value->length ? value : NULL;
    }
    const char close = *r->at == '{' ? '}' : ']';
    value->kind = *r->at++ == '{' ? JSON_OBJECT : JSON_ARRAY;
    struct json **place = &value->first;
    for (;;) {
        skip_space(r);
        if (r->at < r->end && *r->at == close) {
            r->at++;
            return value;
        }
        const char *name = NULL;
        size_t name_length = 0;
        if (close == '}') {
            if (!read_string(r, &name, &name_length)) { return NULL; }
            skip_space(r);
            if (r->at == r->end || *r->at++ != ':') { return NULL; }
        }
        struct json *child = read_value(r, depth + 1);
        if (!child) { return NULL; }
        child->name = name;
        child->name_length = name_length;
        *place = child;
        place = &child->next;
        skip_space(r);
        if (r->at < r->end && *r->at == ',') { r->at++; }
    }
}

struct json *json_parse(const char *text, size_t length, size_t *used) {
    struct reader r = {text, text + length};
    struct json *value = read_value(&r, 0);
    *used = (size_t)(r.at - text);
    return value;
}

const struct json *json_member(const struct json *object, const char *name) {
    for (const struct json *m = object ? object->first : NULL; m; m = m->next) {
        if (m->name_length == strlen(name) && m->name && memcmp(m->name, name, m->name_length) == 0) { return m; }
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- writing */

void text_add(struct text *out, const void *bytes, size_t count) {
    if (count > out->room - out->length) {
        out->full = 1;
        return;
    }
    if (count) { memcpy(out->bytes + out->length, bytes, count); }
    out->length += count;
}

static void add(struct text *out, const char *text) { text_add(out, text, strlen(text)); }

static void add_quoted(struct text *out, const char *text, size_t length) {
    add(out, "\"");
    text_add(out, text, length);
    add(out, "\"");
}

void json_write(const struct json *value, struct text *out) {
    switch (value->kind) {
    case JSON_WORD: text_add(out, value->text, value->length); return;
    case JSON_STRING: add_quoted(out, value->text, value->length); return;
    case JSON_EMBEDDED: {
        /* Written behind what is there, then escaped into a copy. */
        const size_t start = out->length;
        json_write(value->first, out);
        const size_t length = out->length - start;
        const char *plain = json_copy(out->bytes + start, length);
        out->length = start;
        if (!plain) {
            out->full = 1;
            return;
        }
        add(out, "\"");
        for (size_t i = 0; i < length; i++) {
            if (plain[i] == '"' || plain[i] == '\\') { add(out, "\\"); }
            if (plain[i] == '\n') { add(out, "\\n"); }
            else { text_add(out, plain + i, 1); }
        }
        add(out, "\"");
        return;
    }
    case JSON_ARRAY:
    case JSON_OBJECT:
        add(out, value->kind == JSON_ARRAY ? "[" : "{");
        for (const struct json *child = value->first; child; child = child->next) {
            if (value->kind == JSON_OBJECT) {
                add_quoted(out, child->name ? child->name : "", child->name_length);
                add(out, ":");
            }
            json_write(child, out);
            if (child->next) { add(out, ","); }
        }
        add(out, value->kind == JSON_ARRAY ? "]" : "}");
    }
}
