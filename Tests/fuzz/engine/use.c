#include "targets.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const llama = "architecture=llama,heads=2,kv-heads=1";

void must(int holds, const char *what) {
    if (holds) { return; }
    fprintf(stderr, "not so: %s (last error: %s)\n", what, loragen_last_error());
    abort();
}

void __lsan_disable(void);
void __lsan_enable(void);
#pragma weak __lsan_disable
#pragma weak __lsan_enable
void keep(int begin) {
    if (__lsan_disable && __lsan_enable) { (begin ? __lsan_disable : __lsan_enable)(); }
}

unsigned choose(struct input *input, unsigned count) {
    input->hash ^= input->hash >> 29;
    input->hash *= 0xbf58476d1ce4e5b9u;
    return (unsigned)((input->hash >> 32) % count);
}

static const char *in_folder(const char *variable, const char *name) {
    static char paths[8][4096];
    static unsigned turn;
    const char *folder = getenv(variable);
    must(folder != NULL, variable);
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}
const char *in_work(const char *name) { return in_folder("LORAGEN_FUZZ_FOLDER", name); }
const char *in_seeds(const char *name) { return in_folder("LORAGEN_FUZZ_SEEDS", name); }

void place(const char *path, const void *bytes, size_t count) {
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    must(file >= 0 && write(file, bytes, count) == (ssize_t)count, path);
    close(file);
}

char *as_text(const void *bytes, size_t count) {
    char *text = malloc(count + 1);
    must(text != NULL, "memory");
    if (count) { memcpy(text, bytes, count); }
    text[count] = 0;
    return text;
}

int32_t cancel_soon(const loragen_progress *progress, void *payload) {
    (void)progress;
    int *calls = payload;
    return ++*calls > 2;
}

int32_t go_on(const char *message, void *payload) {
    (void)payload;
    return message == NULL;
}

void use(const loragen_adapters *adapters) {
    const size_t samples = loragen_adapters_count(adapters), tensors = loragen_adapters_tensor_count(adapters);
    must(samples > 0 && tensors > 0, "an adapter has a tensor");
    for (size_t sample = 0; sample < samples; sample++) {
        for (size_t i = 0; i < tensors; i++) {
            loragen_tensor tensor;
            must(loragen_adapters_tensor(adapters, sample, i, &tensor) == LORAGEN_OK, "a tensor");
            size_t count = 1;
            for (int32_t d = 0; d < tensor.rank; d++) { count *= (size_t)tensor.shape[d]; }
            must(count == tensor.count && *tensor.name, "a tensor's shape and count agree");
            float sum = 0;
            for (size_t k = 0; k < tensor.count; k++) { sum += tensor.data[k] * 0; }
            must(sum == 0, "finite numbers");
        }
        (void)loragen_adapters_origin(adapters, sample);
    }
    for (size_t i = 0, count = loragen_adapters_module_count(adapters); i < count; i++) {
        loragen_module module;
        must(loragen_adapters_module(adapters, i, &module) == LORAGEN_OK && module.rank > 0, "a module");
    }
}

void save_somehow(struct input *input, const loragen_adapters *adapters) {
    static const char *const names[] = {"out", "out.safetensors", "out.onnx", "out-d.safetensors", "out-k.safetensors",
                                        "out.gguf", "out.onnx_adapter", "out.npz"};
    static const char *const models[] = {NULL, "sd1", "sdxl", "flux"};
    static const char *const bases[] = {NULL, "architecture=llama,heads=2,kv-heads=1,permute=no,tied=yes",
        "architecture=qwen2,heads=2", "architecture=qwen2moe,heads=2,experts=2", "architecture=gemma2,heads=4,kv-heads=2"};
    const int32_t format = (int32_t)choose(input, 8);
    loragen_save_options options = LORAGEN_SAVE_OPTIONS_INIT;
    options.dtype = (int32_t)choose(input, format == LORAGEN_FORMAT_GGUF ? 4 : 3);
    options.keep_alpha = (int32_t)choose(input, 2);
    options.naming = (int32_t)choose(input, 2);
    options.portable = choose(input, 3) == 0;
    options.layers = choose(input, 4) == 0 ? (int32_t)choose(input, 6) : 0;
    if (format == LORAGEN_FORMAT_GGUF) { options.base = choose(input, 2) ? llama : bases[choose(input, 5)]; }
    if (format == LORAGEN_FORMAT_KOHYA) { options.model = models[choose(input, 4)]; }
    const char *path = in_work(names[format]);
    const size_t sample = choose(input, (unsigned)loragen_adapters_count(adapters));
    if (loragen_adapters_save(adapters, sample, path, format, &options) != LORAGEN_OK) { return; }
    loragen_adapters *again;
    if (loragen_adapters_open_for(&again, path, options.base) == LORAGEN_OK) { use(again); }
    loragen_adapters_free(again);
    if (choose(input, 4)) { return; }
    loragen_verification *verification;
    if (loragen_verify(&verification, path, options.base, NULL) == LORAGEN_OK) {
        must(*loragen_verification_text(verification) && *loragen_verification_json(verification), "a verdict");
    }
    loragen_verification_free(verification);
}
