/* libFuzzer's entry: LORAGEN_FUZZ_TARGET names the target, LORAGEN_FUZZ_FOLDER an empty folder, best on a RAM disk, and
 * LORAGEN_FUZZ_SEEDS the folder with what targets lean on (corpora, generators). A status is right; a trap, a report of a
 * sanitiser, a leak, a hang or an allocation that the input does not warrant is a finding. */
#include "targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
int fuzz_safetensors(const uint8_t *bytes, size_t count);

static target chosen;

/* The reader by itself. What it accepts is kept for the reference reader to judge. */
static void fuzz_reader(struct input *input) {
    static int kept;
    if (!fuzz_safetensors(input->bytes, input->count)) { return; }
    const char *folder = getenv("LORAGEN_FUZZ_ACCEPTED");
    if (folder && kept < 20000) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%d", folder, kept++);
        place(path, input->bytes, input->count);
    }
}

static const struct {
    const char *name;
    target run;
} all[] = {
    {"safetensors", fuzz_reader}, {"adapter", fuzz_adapter}, {"peft", fuzz_peft}, {"gguf", fuzz_gguf},
    {"onnx_adapter", fuzz_adapter}, {"npz", fuzz_adapter}, {"onnx", fuzz_onnx}, {"generator", fuzz_generator},
    {"request", fuzz_request}, {"manifest", fuzz_manifest}, {"packed", fuzz_packed}, {"collection", fuzz_collection},
    {"sidecar", fuzz_sidecar},
    {"settings", fuzz_settings}, {"checkpoint", fuzz_checkpoint}, {"base", fuzz_base}, {"apply", fuzz_apply},
    {"apply_onnx", fuzz_apply_onnx}, {"compact", fuzz_compact}, {"picture", fuzz_picture},
    {"image_folder", fuzz_image_folder},
};

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    const char *name = getenv("LORAGEN_FUZZ_TARGET");
    for (size_t i = 0; name && i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, name) == 0) { chosen = all[i].run; }
    }
    must(chosen != NULL, "LORAGEN_FUZZ_TARGET names a target");
    must(loragen_set_threads(1) == LORAGEN_OK, "one thread");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct input input = {bytes, count, 0xcbf29ce484222325u};
    for (size_t i = 0; i < count; i++) { input.hash = (input.hash ^ bytes[i]) * 0x100000001b3u; }
    const clock_t start = clock();
    chosen(&input);
    must((clock() - start) / CLOCKS_PER_SEC < 10, "an input takes less than 10 s of CPU time");
    return 0;
}
