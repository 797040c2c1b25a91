/* What every target gets: an input in memory, a folder on a RAM disk, and choices that depend on the input alone. */
#ifndef TARGETS_H
#define TARGETS_H

#include "mutate.h"

#include <loragen.h>
#include <stdint.h>

struct input {
    const uint8_t *bytes;
    size_t count;
    uint64_t hash; /* of the bytes; choose() takes from it */
};

typedef void (*target)(struct input *input);

unsigned choose(struct input *input, unsigned count); /* 0 ..< count */

/* A path in the work folder, in one of eight buffers that take turns. */
const char *in_work(const char *name);
const char *in_seeds(const char *name);
void place(const char *path, const void *bytes, size_t count);
char *as_text(const void *bytes, size_t count); /* malloc'ed, with an end */

/* Reads all of it; ends the process when it breaks what the header promises of it. */
void use(const loragen_adapters *adapters);
/* Saves a sample in a format and form that the input chooses, reads it again and, now and then, verifies it. */
void save_somehow(struct input *input, const loragen_adapters *adapters);
/* Round what is opened once and kept: LeakSanitizer does not see what Swift holds by tagged pointers. */
void keep(int begin);
void must(int holds, const char *what);

extern const char *const llama;
int32_t cancel_soon(const loragen_progress *progress, void *payload);
int32_t go_on(const char *message, void *payload);

/* In several files. */
void fuzz_adapter(struct input *), fuzz_onnx(struct input *), fuzz_gguf(struct input *), fuzz_peft(struct input *);
void fuzz_generator(struct input *), fuzz_request(struct input *);
void fuzz_manifest(struct input *), fuzz_packed(struct input *), fuzz_collection(struct input *);
void fuzz_sidecar(struct input *);
void fuzz_settings(struct input *), fuzz_checkpoint(struct input *);
void fuzz_compact(struct input *);
void fuzz_picture(struct input *), fuzz_image_folder(struct input *);
void fuzz_base(struct input *), fuzz_apply(struct input *), fuzz_apply_onnx(struct input *);

#endif
