/* Base models that an adapter is checked against, and models that it is applied to. */
#include "targets.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A digit that says what the base is, and the base. The adapter "llama" is verified against it and saved for it. */
void fuzz_base(struct input *input) {
    static const char *const names[] = {"config.json", "model.safetensors", "model.safetensors.index.json", "base.gguf",
                                        "base.onnx", "model_index.json"};
    struct part parts[PARTS] = {{0}};
    if (split_parts(input->bytes, input->count, parts) < 2 || parts[0].count == 0) { return; }
    const unsigned kind = parts[0].bytes[0] % 6;
    const char *folder = in_work("base");
    mkdir(folder, 0755);
    char path[4096];
    strcpy(path, in_work("base/"));
    strcat(path, names[kind]);
    place(path, parts[1].bytes, parts[1].count);
    const char *base = choose(input, 2) && kind != 3 && kind != 4 ? folder : path;
    loragen_verification *verification;
    if (loragen_verify(&verification, in_seeds("llama"), base, NULL) == LORAGEN_OK) {
        must(*loragen_verification_text(verification) && *loragen_verification_json(verification), "a verdict");
    }
    loragen_verification_free(verification);
    if (kind == 0 || kind == 3) {
        loragen_adapters *adapters;
        must(loragen_adapters_open(&adapters, in_seeds("llama")) == LORAGEN_OK, "the adapter");
        loragen_save_options options = LORAGEN_SAVE_OPTIONS_INIT;
        options.base = base;
        options.dtype = (int32_t)choose(input, 4);
        loragen_adapters_save(adapters, 0, in_work("out.gguf"), LORAGEN_FORMAT_GGUF, &options);
        loragen_adapters_free(adapters);
    }
    unlink(path);
}

/* The model, the adapter's configuration and weights. */
static void apply(struct input *input, const char *model, const char *target, int32_t modes) {
    struct part parts[PARTS] = {{0}};
    if (split_parts(input->bytes, input->count, parts) < 3) { return; }
    place(in_work(model), parts[0].bytes, parts[0].count);
    place(in_work("adapter_config.json"), parts[1].bytes, parts[1].count);
    place(in_work("adapter_model.safetensors"), parts[2].bytes, parts[2].count);
    static const double scales[] = {1, 0.5, -1, 0, 1e30, 1e-30};
    loragen_apply_options options = LORAGEN_APPLY_OPTIONS_INIT;
    options.mode = (int32_t)choose(input, (unsigned)modes);
    options.scale = scales[choose(input, 6)];
    options.note = go_on;
    const char *adapter = options.mode == LORAGEN_APPLY_REMOVE ? NULL : in_work("");
    loragen_apply(in_work(model), adapter, in_work(target), &options);
}

void fuzz_apply(struct input *input) { apply(input, "model.safetensors", "merged.safetensors", 2); }
void fuzz_apply_onnx(struct input *input) { apply(input, "model.onnx", "merged.onnx", 5); }
