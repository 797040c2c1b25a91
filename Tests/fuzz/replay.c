/* Gives inputs to the fuzzers' targets once each, without libFuzzer: for an installed library under valgrind, as the fuzzers
 * have optimised code under leak checks only in their long runs.
 *
 *   replay WORK SEEDS INPUT...      WORK has a folder for each target, whose name is that of the inputs' folder */
#include "engine/targets.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
int fuzz_safetensors(const uint8_t *bytes, size_t count);

/* Nothing is mutated here, and the reader alone is no part of the library. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) { return (void)data, (void)max_size, size; }
int fuzz_safetensors(const uint8_t *bytes, size_t count) { return (void)bytes, (void)count, 0; }

static void choose_target(const char *input, const char *work) {
    char copy[4096], folder[8192];
    snprintf(copy, sizeof copy, "%s", input);
    const char *target = basename(dirname(copy));
    snprintf(folder, sizeof folder, "%s/%s", work, target);
    setenv("LORAGEN_FUZZ_FOLDER", folder, 1);
    setenv("LORAGEN_FUZZ_TARGET", target, 1);
    LLVMFuzzerInitialize(NULL, NULL);
}

int main(int argc, char **argv) {
    static uint8_t bytes[1 << 22];
    if (argc < 4) { return 64; }
    setenv("LORAGEN_FUZZ_SEEDS", argv[2], 1);
    for (int i = 3; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        must(file != NULL, argv[i]);
        const size_t count = fread(bytes, 1, sizeof bytes, file);
        must(feof(file) && !ferror(file), argv[i]);
        fclose(file);
        choose_target(argv[i], argv[1]);
        LLVMFuzzerTestOneInput(bytes, count);
    }
    printf("ok    %d seeds and findings of the fuzzers\n", argc - 3);
    return 0;
}
