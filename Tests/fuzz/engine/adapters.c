/* Adapters of every format; generators and what they are asked. */
#include "targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void open_and_use(struct input *input, const char *path, const char *base) {
    loragen_adapters *adapters;
    if (loragen_adapters_open_for(&adapters, path, base) == LORAGEN_OK) {
        use(adapters);
        if (choose(input, 2)) { save_somehow(input, adapters); }
        loragen_analysis *analysis;
        if (choose(input, 16) == 0 && loragen_compare(&analysis, adapters, 0, adapters, 0) == LORAGEN_OK) {
            must(*loragen_analysis_json(analysis) && *loragen_analysis_text(analysis), "a comparison");
            loragen_analysis_free(analysis);
        }
    }
    loragen_adapters_free(adapters);
    loragen_verification *verification;
    if (choose(input, 8) == 0 && loragen_verify(&verification, path, base, NULL) == LORAGEN_OK) {
        loragen_verification_free(verification);
    }
}

void fuzz_adapter(struct input *input) {
    place(in_work("adapter"), input->bytes, input->count);
    open_and_use(input, in_work("adapter"), NULL);
}

/* The one format that is told by its name. */
void fuzz_onnx(struct input *input) {
    place(in_work("adapter.onnx"), input->bytes, input->count);
    open_and_use(input, in_work("adapter.onnx"), NULL);
}

void fuzz_gguf(struct input *input) {
    place(in_work("adapter.gguf"), input->bytes, input->count);
    open_and_use(input, in_work("adapter.gguf"), choose(input, 8) ? llama : NULL);
}

/* adapter_config.json and adapter_model.safetensors. */
void fuzz_peft(struct input *input) {
    struct part parts[PARTS] = {{0}};
    split_parts(input->bytes, input->count, parts);
    place(in_work("adapter_config.json"), parts[0].bytes, parts[0].count);
    place(in_work("adapter_model.safetensors"), parts[1].bytes, parts[1].count);
    open_and_use(input, in_work(""), NULL);
}

/* ---------------------------------------------------------------------------------------------------- generators */

/* A condition that fits; valid as long as `values` and `bits` are. */

static void fill_condition(struct input *input, const loragen_generator *generator,
                           const loragen_generator_info *info, loragen_request *request,
                           float **values, char **bits, loragen_condition *parts) {
    const size_t count = info->condition_length;
    if (info->condition_kind == LORAGEN_CONDITION_BITS) {
        *bits = malloc(count + 1);
        must(*bits != NULL, "memory");
        for (size_t i = 0; i < count; i++) { (*bits)[i] = (char)('0' + choose(input, 2)); }
        (*bits)[count] = 0;
        request->bits = *bits;
    } else if (info->condition_kind == LORAGEN_CONDITION_VECTOR) {
        *values = malloc(4 * count + 4);
        must(*values != NULL, "memory");
        for (size_t i = 0; i < count; i++) { (*values)[i] = (float)choose(input, 2000) / 500 - 2; }
        request->condition = *values;
        request->condition_length = count;
    } else if (info->condition_kind == LORAGEN_CONDITION_PARTS && info->condition_count <= 8) {
        /* Numbers for all, which any kind takes, part after part. */
        *values = calloc(count + 1, sizeof **values);
        must(*values != NULL, "memory");
        size_t start = 0;
        for (size_t i = 0; i < info->condition_count; i++) {
            loragen_condition_info part = LORAGEN_CONDITION_INFO_INIT;
            must(loragen_generator_condition(generator, i, &part) == LORAGEN_OK && part.name && part.kind, "a part");
            must(start + part.length <= count, "parts within the condition");
            parts[i] = (loragen_condition){part.name, "vector", *values + start, part.length};
            for (size_t j = 0; j < part.length; j++) { (*values)[start + j] = (float)choose(input, 3); }
            start += part.length;
        }
        request->conditions = parts;
        request->condition_count = info->condition_count;
    }
}

static void draw(struct input *input, const loragen_generator *generator) {
    loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
    must(loragen_generator_describe(generator, &info) == LORAGEN_OK && info.method && info.module_count > 0, "described");
    for (size_t i = 0; i < info.module_count; i++) {
        loragen_module module;
        must(loragen_generator_module(generator, i, &module) == LORAGEN_OK, "a module");
    }
    must(*loragen_generator_report(generator) && loragen_generator_report_text(generator, (int32_t)choose(input, 2)), "a report");
    int calls = 0;
    float *values = NULL;
    char *bits = NULL;
    loragen_request request = LORAGEN_REQUEST_INIT;
    loragen_condition parts[8];
    fill_condition(input, generator, &info, &request, &values, &bits, parts);
    request.seed = choose(input, 1000);
    request.samples = 1 + (int32_t)choose(input, 2);
    request.progress = cancel_soon;
    request.payload = &calls;
    static const char *const samplers[] = {NULL, "ddpm", "ddim", "dpm-solver++"};
    if (info.sampler) {
        request.steps = 1 + (int32_t)choose(input, 3);
        request.sampler = samplers[choose(input, 4)];
    }
    if (choose(input, 4)) {
        loragen_adapters *adapters;
        if (generate_lora(&adapters, generator, &request) == LORAGEN_OK) {
            use(adapters);
            if (choose(input, 2)) { save_somehow(input, adapters); }
        }
        loragen_adapters_free(adapters);
    } else {
        loragen_file_options options = LORAGEN_FILE_OPTIONS_INIT;
        options.format = (int32_t)choose(input, 2);
        options.dtype = (int32_t)choose(input, 3);
        options.keep_alpha = (int32_t)choose(input, 2);
        options.memory_limit = choose(input, 2) ? 1u << (10 + choose(input, 16)) : 0;
        const char *path = in_work(options.format == LORAGEN_FORMAT_PEFT ? "made" : "made.safetensors");
        if (loragen_generate_file(generator, &request, path, &options) == LORAGEN_OK) {
            loragen_adapters *adapters;
            must(loragen_adapters_open(&adapters, path) == LORAGEN_OK, "what was written can be read");
            use(adapters);
            loragen_adapters_free(adapters);
        }
    }
    free(values);
    free(bits);
}

void fuzz_generator(struct input *input) {
    place(in_work("generator.safetensors"), input->bytes, input->count);
    loragen_generator *generator;
    if (loragen_generator_open(&generator, in_work("generator.safetensors")) == LORAGEN_OK) { draw(input, generator); }
    loragen_generator_free(generator);
}

/* Numbers of a request as they stand in the input, behind the generator's index: samples, steps, guidance, seed, the length
 * of the condition that is given; then the sampler's name, a zero, and bits or floats. */
void fuzz_request(struct input *input) {
    static const char *const names[] = {"mlp-factors-bits", "cond-pdiff-factors-bits", "rpg-product-vector", "mean-factors-none",
                                        "nearest-factors-vector"};
    static loragen_generator *generators[5];
    struct {
        int32_t samples, steps;
        float guidance;
        uint32_t count;
        uint64_t seed;
    } fields;
    if (input->count < 1 + sizeof fields) { return; }
    const unsigned chosen = input->bytes[0] % 5;
    char name[64];
    snprintf(name, sizeof name, "corpus/generator/%s", names[chosen]);
    if (!generators[chosen]) {
        keep(1);
        must(loragen_generator_open(&generators[chosen], in_seeds(name)) == LORAGEN_OK, name);
        keep(0);
    }
    memcpy(&fields, input->bytes + 1, sizeof fields);
    const char *rest = (const char *)input->bytes + 1 + sizeof fields;
    char *text = as_text(rest, input->count - 1 - sizeof fields);
    const size_t sampler = strlen(text), room = input->count - 1 - sizeof fields;
    const char *behind = sampler < room ? text + sampler + 1 : text + sampler;
    const size_t left = sampler < room ? room - sampler - 1 : 0;
    float *condition = NULL;
    loragen_request request = LORAGEN_REQUEST_INIT;
    /* Work that was asked for is no finding. */
    request.samples = fields.samples > 3 && fields.samples < 1000001 ? 3 : fields.samples;
    request.steps = fields.steps > 20 && fields.steps < 100001 ? 20 : fields.steps;
    request.guidance = fields.guidance;
    request.seed = fields.seed;
    request.sampler = sampler ? text : NULL;
    if (fields.count & 1) { request.bits = behind; }
    if (fields.count & 2 || !(fields.count & 1)) {
        const size_t count = left / 4 < 64 ? left / 4 : 64;
        condition = malloc(4 * count + 4);
        must(condition != NULL, "memory");
        memcpy(condition, behind, 4 * count);
        request.condition = condition;
        request.condition_length = count;
    }
    int calls = 0;
    request.progress = cancel_soon;
    request.payload = &calls;
    loragen_adapters *adapters;
    if (generate_lora(&adapters, generators[chosen], &request) == LORAGEN_OK) { use(adapters); }
    loragen_adapters_free(adapters);
    free(condition);
    free(text);
}
