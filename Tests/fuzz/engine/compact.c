/* Bases of base models and compact adapters. */
#include "targets.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void use_compact(struct input *input, const loragen_compact *compact, const loragen_basis *basis) {
    const size_t count = loragen_compact_count(compact);
    must(count > 0 && *loragen_compact_json(compact), "a compact adapter has numbers");
    float sum = 0;
    for (size_t i = 0; i < count; i++) { sum += loragen_compact_deltas(compact)[i] * 0; }
    must(sum == 0, "its numbers are finite");
    loragen_expand_options options = LORAGEN_EXPAND_OPTIONS_INIT;
    options.rank = (int32_t)choose(input, 3);
    options.limit = choose(input, 2) ? 0.5 : 0;
    loragen_adapters *adapters;
    if (loragen_compact_expand(&adapters, compact, basis, &options) == LORAGEN_OK) {
        use(adapters);
        loragen_compact *back;
        double share;
        if (loragen_compact_project(&back, adapters, 0, basis, 0, &share) == LORAGEN_OK) {
            must(share >= 0 && share <= 1, "a share");
        }
        loragen_compact_free(back);
    }
    loragen_adapters_free(adapters);
    if (choose(input, 4) == 0) {
        loragen_compact_expand_file(compact, basis, in_work("out.safetensors"), LORAGEN_FORMAT_SAFETENSORS, NULL);
        loragen_compact_save(compact, in_work("saved.safetensors"), (int32_t)choose(input, 2));
    }
}

/* A basis, a compact adapter, and the weights of a base model. */
void fuzz_compact(struct input *input) {
    struct part parts[PARTS] = {{0}};
    if (split_parts(input->bytes, input->count, parts) < 3) { return; }
    place(in_work("basis.safetensors"), parts[0].bytes, parts[0].count);
    place(in_work("compact.safetensors"), parts[1].bytes, parts[1].count);
    place(in_work("weights.safetensors"), parts[2].bytes, parts[2].count);
    loragen_basis *basis;
    if (loragen_basis_open(&basis, in_work("basis.safetensors")) == LORAGEN_OK) {
        must(*loragen_basis_json(basis), "what it is");
        for (size_t i = 0; i < loragen_basis_module_count(basis) && i < 4; i++) {
            loragen_module module;
            must(loragen_basis_module(basis, i, &module) == LORAGEN_OK, "a module");
            const size_t rank = (size_t)module.rank, columns = loragen_basis_columns(basis, i);
            float *left = malloc(4 * rank * ((size_t)module.outputs + 1 + columns));
            must(left != NULL, "memory");
            loragen_basis_factors(basis, i, left, left + rank * (size_t)module.outputs,
                                  left + rank * ((size_t)module.outputs + 1));
            free(left);
        }
        loragen_basis_check(basis, in_work("weights.safetensors"));
        loragen_compact *compact;
        if (loragen_compact_open(&compact, in_work("compact.safetensors")) == LORAGEN_OK) {
            use_compact(input, compact, basis);
        }
        loragen_compact_free(compact);
    }
    loragen_basis_free(basis);
    loragen_basis_options options = LORAGEN_BASIS_OPTIONS_INIT;
    options.method = choose(input, 2) ? "svfit" : "loldu";
    options.rank = (int32_t)choose(input, 4);
    options.memory_limit = 64u << 20;
    if (loragen_basis_compute(in_work("weights.safetensors"), in_work("made.safetensors"), &options) == LORAGEN_OK) {
        must(loragen_basis_open(&basis, in_work("made.safetensors")) == LORAGEN_OK, "what is made can be read");
        must(loragen_basis_check(basis, in_work("weights.safetensors")) == LORAGEN_OK, "of these weights");
        loragen_basis_free(basis);
    }
}
