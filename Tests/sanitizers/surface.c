/* Walks the whole of include/loragen.h with valid input, every format, form and method, for sanitisers to watch:
 *
 *   surface Tests/fuzz WORK      (WORK is an empty folder)
 *
 * Hostile arguments are Tests/hosts/hostile.c's part, hostile bytes the fuzzers'. */
#include "../fuzz/engine/mutate.h"
#include "../hosts/claim.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *seeds, *work;
static const char *const llama = "architecture=llama,heads=2,kv-heads=1";

static const char *path_in(const char *folder, const char *name) {
    static char paths[8][4096];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}
static const char *in_seeds(const char *name) { return path_in(seeds, name); }
static const char *in_work(const char *name) { return path_in(work, name); }

/* Calls `visit` for every file of a folder; there must be one. */
static void each(const char *folder, void (*visit)(const char *path)) {
    char name[4096];
    snprintf(name, sizeof name, "%s", in_seeds(folder));
    DIR *list = opendir(name);
    CLAIM(list != NULL);
    int count = 0;
    for (struct dirent *entry; list && (entry = readdir(list));) {
        if (*entry->d_name == '.') { continue; }
        char path[8192];
        snprintf(path, sizeof path, "%s/%s", name, entry->d_name);
        visit(path);
        count++;
    }
    CLAIM(count > 0);
    if (list) { closedir(list); }
}

static int notes;
static int32_t take_note(const char *message, void *payload) {
    CLAIM(*message);
    ++*(int *)payload;
    return 0;
}
static int32_t count_steps(const loragen_progress *progress, void *payload) {
    CLAIM(progress->stage && progress->step <= progress->steps);
    ++*(int *)payload;
    return 0;
}
static int32_t cancel(const loragen_progress *progress, void *payload) {
    (void)payload;
    return progress->step >= 2;
}
static void take_log(int32_t level, const char *message, void *payload) {
    (void)payload;
    CLAIM(level >= 0 && *message);
}

/* ------------------------------------------------------------------------------------------------------ adapters */

struct managed { /* struct DLManagedTensor of dlpack.h 0.8 */
    void *data;
    int32_t device_type, device_id, rank;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
    void *manager;
    void (*deleter)(struct managed *);
};

static double sum_of(const loragen_adapters *adapters) {
    double sum = 0;
    for (size_t sample = 0; sample < loragen_adapters_count(adapters); sample++) {
        for (size_t i = 0; i < loragen_adapters_tensor_count(adapters); i++) {
            loragen_tensor tensor;
            CLAIM(loragen_adapters_tensor(adapters, sample, i, &tensor) == LORAGEN_OK);
            for (size_t k = 0; k < tensor.count; k++) { sum += fabs(tensor.data[k]); }
        }
        (void)loragen_adapters_origin(adapters, sample);
    }
    for (size_t i = 0; i < loragen_adapters_module_count(adapters); i++) {
        loragen_module module;
        CLAIM(loragen_adapters_module(adapters, i, &module) == LORAGEN_OK && module.rank > 0);
    }
    CLAIM(isfinite(sum));
    return sum;
}

/* Each format in each type and form: what is written can be read, and holds as many numbers' worth. Formats that cannot
 * hold an adapter's modules refuse it. */
static size_t saved[8], verified;
static void save_everywhere(const loragen_adapters *adapters, size_t sample) {
    static const char *const endings[] = {"peft", "out.safetensors", "out.onnx", "diffusers.safetensors",
                                          "kohya.safetensors", "out.gguf", "out.onnx_adapter", "out.npz"};
    for (int32_t format = 0; format < 8; format++) {
        for (unsigned form = 0; form < 32; form++) {
            loragen_save_options options = LORAGEN_SAVE_OPTIONS_INIT;
            options.dtype = (int32_t)(form & 3);
            options.keep_alpha = form >> 2 & 1;
            options.naming = form >> 3 & 1;
            options.portable = form >> 4 & 1;
            options.layers = options.portable ? 3 : 0;
            options.base = format == LORAGEN_FORMAT_GGUF ? llama : NULL;
            options.model = format == LORAGEN_FORMAT_KOHYA ? "sd1" : NULL;
            if (format != LORAGEN_FORMAT_ONNX_ADAPTER && options.naming) { continue; }
            const char *path = in_work(endings[format]);
            if (loragen_adapters_save(adapters, sample, path, format, &options) != LORAGEN_OK) {
                CLAIM(*loragen_last_error());
                continue;
            }
            saved[format]++;
            loragen_adapters *again;
            CLAIM(loragen_adapters_open_for(&again, path, options.base) == LORAGEN_OK);
            if (again) { sum_of(again); }
            loragen_verification *verification;
            if (form == 0 && loragen_verify(&verification, path, options.base, NULL) == LORAGEN_OK) {
                verified++;
                CLAIM(*loragen_verification_text(verification) && *loragen_verification_json(verification));
                (void)(loragen_verification_errors(verification) + loragen_verification_warnings(verification));
                loragen_verification_free(verification);
            }
            loragen_analysis *analysis;
            if (again && form == 0 && loragen_compare(&analysis, adapters, sample, again, 0) == LORAGEN_OK) {
                CLAIM(*loragen_analysis_json(analysis) && *loragen_analysis_text(analysis));
                loragen_analysis_free(analysis);
            }
            loragen_adapters_free(again);
        }
    }
}

static void hand_over(loragen_adapters *adapters) {
    struct managed *tensor;
    CLAIM(loragen_adapters_dlpack((struct DLManagedTensor **)&tensor, adapters, 0, 0) == LORAGEN_OK);
    loragen_adapters_free(adapters); /* the tensor lives on */
    if (!tensor) { return; }
    float *numbers = tensor->data;
    numbers[0] += 1;
    CLAIM(tensor->rank >= 1 && tensor->shape[0] >= 1);
    tensor->deleter(tensor);
}

static const char *base_for(const char *path) { return strstr(path, "/gguf/") ? llama : NULL; }

static void walk_adapter(const char *path) {
    loragen_adapters *adapters;
    CLAIM(loragen_adapters_open_for(&adapters, path, base_for(path)) == LORAGEN_OK);
    if (!adapters) { return; }
    CLAIM(sum_of(adapters) > 0);
    save_everywhere(adapters, 0);
    hand_over(adapters);
    loragen_convert_options options = LORAGEN_CONVERT_OPTIONS_INIT;
    loragen_save_options save = LORAGEN_SAVE_OPTIONS_INIT;
    save.dtype = LORAGEN_BFLOAT16;
    save.base = base_for(path);
    options.save = &save;
    options.note = take_note;
    options.payload = &notes;
    CLAIM(loragen_convert(path, in_work("converted.safetensors"), LORAGEN_FORMAT_SAFETENSORS, &options) == LORAGEN_OK);
}

/* ---------------------------------------------------------------------------------------------------- generators */

static void walk_generator(const char *path) {
    loragen_generator *generator;
    CLAIM(loragen_generator_open(&generator, path) == LORAGEN_OK);
    if (!generator) { return; }
    loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
    CLAIM(loragen_generator_describe(generator, &info) == LORAGEN_OK && strlen(info.hash) == 64);
    for (size_t i = 0; i < info.module_count; i++) {
        loragen_module module;
        CLAIM(loragen_generator_module(generator, i, &module) == LORAGEN_OK);
    }
    CLAIM(*loragen_generator_report(generator) == '{');
    int steps = 0;
    float condition[16] = {0.5f, -1};
    char bits[17] = "0110110101011010";
    loragen_request request = LORAGEN_REQUEST_INIT;
    request.samples = 2;
    request.progress = count_steps;
    request.payload = &steps;
    CLAIM(info.condition_length <= 16);
    if (info.condition_kind == LORAGEN_CONDITION_VECTOR) {
        request.condition = condition;
        request.condition_length = info.condition_length;
    } else if (info.condition_kind == LORAGEN_CONDITION_BITS) {
        /* Statistics of each task know the training tasks alone; 001 is one. */
        snprintf(bits, sizeof bits, "%0*d", (int)info.condition_length, 1);
        request.bits = bits;
    }
    loragen_condition_info part = LORAGEN_CONDITION_INFO_INIT;
    loragen_condition parts[8];
    CLAIM(info.condition_count <= 8);
    for (size_t i = 0; i < info.condition_count && i < 8; i++) {
        CLAIM(loragen_generator_condition(generator, i, &part) == LORAGEN_OK);
        CLAIM(part.length <= info.condition_length && *part.name && *part.kind);
        /* Numbers are taken for a part of any kind. */
        parts[i] = (loragen_condition){part.name, "vector", condition, part.length};
    }
    if (info.condition_kind == LORAGEN_CONDITION_PARTS) {
        request.conditions = parts;
        request.condition_count = info.condition_count;
    }
    CLAIM(*loragen_generator_report_text(generator, 0) && *loragen_names() == '{');
    static const char *const samplers[] = {NULL, "ddpm", "ddim", "dpm-solver++"};
    for (size_t i = 0; i < (info.sampler ? 4 : 1); i++) {
        request.sampler = samplers[i];
        loragen_adapters *adapters;
        CLAIM(generate_lora(&adapters, generator, &request) == LORAGEN_OK);
        if (!adapters) { continue; }
        CLAIM(loragen_adapters_count(adapters) == 2 && sum_of(adapters) > 0);
        CLAIM(loragen_adapters_origin(adapters, 1) != NULL);
        if (i == 0) { save_everywhere(adapters, 1); }
        loragen_adapters_free(adapters);
    }
    CLAIM(!info.sampler || steps > 0);
    for (int32_t format = 0; format < 2; format++) {
        loragen_file_options options = LORAGEN_FILE_OPTIONS_INIT;
        options.format = format;
        options.dtype = LORAGEN_FLOAT16;
        CLAIM(loragen_generate_file(generator, &request, in_work(format ? "made.safetensors" : "made"), &options) == LORAGEN_OK);
        options.memory_limit = 1;
        FAILS(LORAGEN_MEMORY, loragen_generate_file(generator, &request, in_work("never"), &options));
    }
    if (info.sampler) {
        loragen_adapters *adapters;
        request.progress = cancel;
        request.steps = 4;
        loragen_status status = generate_lora(&adapters, generator, &request);
        CLAIM(status == LORAGEN_CANCELLED || status == LORAGEN_OK); /* ten times a second at most */
        loragen_adapters_free(adapters);
    }
    loragen_generator_free(generator);
}

/* -------------------------------------------------------------------------------------------- corpora, trainings */

static void walk_corpus(const char *path) {
    CLAIM(loragen_corpus_check(path, take_note, &notes) == LORAGEN_OK);
    loragen_corpus *corpus;
    CLAIM(loragen_corpus_open(&corpus, path) == LORAGEN_OK);
    if (!corpus) { return; }
    CLAIM(loragen_corpus_count(corpus) == 6);
    for (size_t i = 0; i < loragen_corpus_count(corpus); i++) {
        loragen_corpus_entry entry;
        CLAIM(loragen_corpus_entry_at(corpus, i, &entry) == LORAGEN_OK && *entry.task);
    }
    const char *name = strrchr(path, '/') + 1;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", in_work(name));
    CLAIM(loragen_corpus_unpack(corpus, folder) == LORAGEN_OK);
    loragen_corpus_free(corpus);
    const char *const places[] = {path, folder};
    for (int i = 0; i < 2; i++) {
        int steps = 0;
        loragen_doctor_options options = LORAGEN_DOCTOR_OPTIONS_INIT;
        options.memory_limit = i ? 1u << 16 : 0;
        options.progress = count_steps;
        options.payload = &steps;
        loragen_analysis *analysis;
        CLAIM(loragen_doctor(&analysis, places[i], &options) == LORAGEN_OK);
        if (!analysis) { continue; }
        CLAIM(*loragen_analysis_json(analysis) && *loragen_analysis_text(analysis) && *loragen_analysis_svg(analysis));
        CLAIM(loragen_analysis_errors(analysis) == 0);
        loragen_analysis_free(analysis);
    }
    char adapter[4352];
    snprintf(adapter, sizeof adapter, "%s/a0", folder);
    loragen_adapters *adapters;
    CLAIM(loragen_adapters_open(&adapters, adapter) == LORAGEN_OK);
    loragen_analysis *analysis;
    CLAIM(loragen_nearest(&analysis, adapters, 0, folder, 3) == LORAGEN_OK);
    if (analysis) { CLAIM(strstr(loragen_analysis_json(analysis), "a0") && *loragen_analysis_text(analysis)); }
    loragen_analysis_free(analysis);
    loragen_adapters_free(adapters);
    loragen_verification *verification;
    CLAIM(loragen_verify(&verification, adapter, NULL, folder) == LORAGEN_OK);
    loragen_verification_free(verification);
}

/* Method and preset, a blank between; the settings: as a seed of the fuzzers has them. */
static size_t trained;
static void walk_training(const char *path) {
    static uint8_t bytes[1 << 16];
    FILE *file = fopen(path, "rb");
    const size_t count = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file) { fclose(file); }
    struct part parts[PARTS] = {{0}};
    CLAIM(split_parts(bytes, count, parts) == 2);
    char method[64], settings[4096];
    snprintf(method, sizeof method, "%.*s", (int)parts[0].count, (const char *)parts[0].bytes);
    snprintf(settings, sizeof settings, "%.*s", (int)parts[1].count, (const char *)parts[1].bytes);
    char *preset = strchr(method, ' ');
    if (preset) { *preset++ = 0; }
    static const char *const corpora[] = {"training/bits.safetensors", "training/vector.safetensors",
                                          "training/none.safetensors"};
    for (int i = 0; i < 3; i++) {
        loragen_corpus *corpus;
        CLAIM(loragen_corpus_open(&corpus, in_seeds(corpora[i])) == LORAGEN_OK);
        int steps = 0;
        loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
        options.method = method;
        options.preset = preset;
        options.settings = settings;
        options.memory_limit = 256u << 20;
        options.checkpoint = in_work("checkpoint");
        options.progress = cancel;
        options.payload = &steps;
        const char *out = in_work("trained.safetensors");
        loragen_status status = loragen_train(corpus, out, &options); /* it may be over before it is cancelled */
        options.progress = count_steps;
        if (status == LORAGEN_CANCELLED) { status = loragen_train(corpus, out, &options); }
        if (status == LORAGEN_OK) {
            trained++;
            loragen_generator *generator;
            CLAIM(loragen_generator_open(&generator, out) == LORAGEN_OK);
            loragen_generator_free(generator);
        } else { /* too large, too small, or without a condition to regress on */
            CLAIM(status != LORAGEN_INTERNAL && *loragen_last_error());
        }
        loragen_corpus_free(corpus);
    }
}

/* What hostile.c is then given. */
static void leave_generator(void) {
    loragen_corpus *corpus;
    CLAIM(loragen_corpus_open(&corpus, in_seeds("training/bits.safetensors")) == LORAGEN_OK);
    loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
    options.method = "ridge";
    CLAIM(loragen_train(corpus, in_work("ridge.safetensors"), &options) == LORAGEN_OK);
    loragen_corpus_free(corpus);
}

/* -------------------------------------------------------------------------------------------------------- models */

static void put(const char *path, struct part part) {
    FILE *file = fopen(path, "wb");
    CLAIM(file && fwrite(part.bytes, 1, part.count, file) == part.count);
    if (file) { fclose(file); }
}

static size_t applied;
static void apply(const char *path, const char *model, const char *target, int32_t modes) {
    static uint8_t bytes[1 << 16];
    FILE *file = fopen(path, "rb");
    const size_t count = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file) { fclose(file); }
    struct part parts[PARTS] = {{0}};
    CLAIM(split_parts(bytes, count, parts) == 3);
    mkdir(in_work("adapter"), 0755);
    put(in_work(model), parts[0]);
    put(in_work("adapter/adapter_config.json"), parts[1]);
    put(in_work("adapter/adapter_model.safetensors"), parts[2]);
    for (int32_t mode = 0; mode < modes; mode++) {
        loragen_apply_options options = LORAGEN_APPLY_OPTIONS_INIT;
        options.mode = mode;
        options.scale = 0.5;
        options.note = take_note;
        options.payload = &notes;
        const char *adapter = mode == LORAGEN_APPLY_REMOVE ? NULL : in_work("adapter");
        if (loragen_apply(in_work(model), adapter, in_work(target), &options) == LORAGEN_OK) { applied++; }
    }
}
static void walk_merge(const char *path) { apply(path, "model.safetensors", "merged.safetensors", 2); }
static void walk_onnx(const char *path) { apply(path, "model.onnx", "merged.onnx", 5); }

/* ---------------------------------------------------------------------------------------------- compact adapters */

static void write_weights(const char *path) {
    static const char header[] =
        "{\"layers.0.q_proj.weight\":{\"dtype\":\"F32\",\"shape\":[6,5],\"data_offsets\":[0,120]},"
        "\"layers.1.q_proj.weight\":{\"dtype\":\"F32\",\"shape\":[4,7],\"data_offsets\":[120,232]}}";
    uint64_t length = sizeof header - 1;
    float values[58];
    for (int i = 0; i < 58; i++) { values[i] = (float)((i * 37 + 11) % 58) / 58 - 0.5f; }
    FILE *file = fopen(path, "wb");
    CLAIM(file && fwrite(&length, 8, 1, file) == 1 && fwrite(header, length, 1, file) == 1 &&
          fwrite(values, sizeof values, 1, file) == 1);
    if (file) { fclose(file); }
}

static void walk_compact(const char *method) {
    write_weights(in_work("weights.safetensors"));
    int steps = 0;
    loragen_basis_options options = LORAGEN_BASIS_OPTIONS_INIT;
    options.method = method;
    options.rank = 3;
    options.progress = count_steps;
    options.payload = &steps;
    options.checkpoint = in_work("parts");
    CLAIM(loragen_basis_compute(in_work("weights.safetensors"), in_work("b.safetensors"), &options) == LORAGEN_OK && steps > 0);
    options.checkpoint = NULL;
    options.memory_limit = 1;
    FAILS(LORAGEN_MEMORY, loragen_basis_compute(in_work("weights.safetensors"), in_work("never"), &options));
    loragen_basis *basis;
    CLAIM(loragen_basis_open(&basis, in_work("b.safetensors")) == LORAGEN_OK);
    CLAIM(loragen_basis_check(basis, in_work("weights.safetensors")) == LORAGEN_OK && *loragen_basis_json(basis));
    CLAIM(loragen_basis_module_count(basis) == 2 && loragen_basis_columns(basis, 1) == 7);
    loragen_module module;
    CLAIM(loragen_basis_module(basis, 0, &module) == LORAGEN_OK && module.rank == 3);
    float left[18], sigma[3], right[15];
    CLAIM(loragen_basis_factors(basis, 0, left, sigma, right) == LORAGEN_OK && sigma[0] != 0);
    const float deltas[6] = {0.5f, -0.25f, 0, 1, 0.125f, -1};
    loragen_compact *compact, *read, *back;
    CLAIM(loragen_compact_create(&compact, basis, deltas, 6, 0) == LORAGEN_OK);
    CLAIM(loragen_compact_save(compact, in_work("c.safetensors"), LORAGEN_COORDINATES_RELATIVE) == LORAGEN_OK);
    CLAIM(loragen_compact_open(&read, in_work("c.safetensors")) == LORAGEN_OK);
    CLAIM(loragen_compact_count(read) == 6 && loragen_compact_deltas(read)[3] > 0.9f && *loragen_compact_json(read));
    loragen_expand_options expand = LORAGEN_EXPAND_OPTIONS_INIT;
    expand.limit = 2;
    loragen_adapters *adapters;
    CLAIM(loragen_compact_expand(&adapters, read, basis, NULL) == LORAGEN_OK);
    double share = 0;
    CLAIM(loragen_compact_project(&back, adapters, 0, basis, -1, &share) == LORAGEN_OK && share > 0.999);
    for (expand.rank = 0; expand.rank < 3; expand.rank += 2) {
        CLAIM(loragen_compact_expand_file(read, basis, in_work("expanded"), LORAGEN_FORMAT_PEFT, &expand) == LORAGEN_OK);
    }
    loragen_apply_options merge = LORAGEN_APPLY_OPTIONS_INIT;
    merge.basis = in_work("b.safetensors");
    CLAIM(loragen_apply(in_work("weights.safetensors"), in_work("c.safetensors"), in_work("m.safetensors"), &merge) ==
          LORAGEN_OK);
    loragen_compact *cut, *psoft;
    const int is_svfit = method[0] == 's';
    loragen_status status = loragen_compact_truncate(&cut, read, 1, &share);
    CLAIM(status == (is_svfit ? LORAGEN_OK : LORAGEN_UNSUPPORTED));
    status = loragen_compact_save_psoft(read, in_work("psoft"));
    CLAIM(status == (is_svfit ? LORAGEN_OK : LORAGEN_UNSUPPORTED));
    status = loragen_compact_open_psoft(&psoft, in_work("psoft"), basis);
    CLAIM(status == (is_svfit ? LORAGEN_OK : LORAGEN_MISMATCH));
    loragen_compact_free(psoft);
    loragen_compact_free(cut);
    loragen_compact_free(back);
    loragen_adapters_free(adapters);

    /* A corpus of them, and a generator. */
    mkdir(in_work("compact"), 0755);
    FILE *manifest = fopen(in_work("compact/corpus.jsonl"), "w");
    CLAIM(manifest != NULL);
    for (int task = 0; task < 8 && manifest; task++) {
        float numbers[6];
        for (int i = 0; i < 6; i++) { numbers[i] = 0.1f * (float)((task >> i % 3 & 1) * (i + 1)) + 0.01f * (float)i; }
        char name[64];
        snprintf(name, sizeof name, "compact/t%d.safetensors", task);
        loragen_compact *one;
        CLAIM(loragen_compact_create(&one, basis, numbers, 6, 0) == LORAGEN_OK);
        CLAIM(loragen_compact_save(one, in_work(name), LORAGEN_COORDINATES_ABSOLUTE) == LORAGEN_OK);
        loragen_compact_free(one);
        fprintf(manifest, "{\"path\":\"t%d.safetensors\",\"task\":\"t%d\",\"run\":\"t%d\",\"split\":\"%s\",\"bits\":\"%d%d%d\"}\n",
                task, task, task, task == 3 ? "test" : task == 6 ? "validation" : "train", task >> 2 & 1, task >> 1 & 1,
                task & 1);
    }
    if (manifest) { fclose(manifest); }
    loragen_corpus *corpus;
    CLAIM(loragen_corpus_open(&corpus, in_work("compact")) == LORAGEN_OK);
    loragen_training_options training = LORAGEN_TRAINING_OPTIONS_INIT;
    training.method = "ridge";
    CLAIM(loragen_train(corpus, in_work("compact.loragen.safetensors"), &training) == LORAGEN_OK);
    loragen_corpus_free(corpus);
    loragen_generator *generator;
    CLAIM(loragen_generator_open(&generator, in_work("compact.loragen.safetensors")) == LORAGEN_OK);
    CLAIM(loragen_generator_is_compact(generator) == 1 && loragen_generator_check(generator) == LORAGEN_OK);
    loragen_request request = LORAGEN_REQUEST_INIT;
    request.bits = "011";
    loragen_compact *drawn;
    CLAIM(loragen_generate_compact(&drawn, generator, &request, 0) == LORAGEN_OK && loragen_compact_count(drawn) == 6);
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
    request.basis = basis;
    CLAIM(generate_lora(&adapters, generator, &request) == LORAGEN_OK && sum_of(adapters) > 0);
    CLAIM(loragen_generate_file(generator, &request, in_work("drawn"), NULL) == LORAGEN_OK);
    loragen_adapters_free(adapters);
    loragen_compact_free(drawn);
    loragen_generator_free(generator);
    loragen_compact_free(read);
    loragen_compact_free(compact);
    loragen_basis_free(basis);
}

/* A corpus whose tasks are said in words and by a picture, its encoders, and a generator that is asked by them. */
static void walk_words(void) {
    char folder[4096], path[4200];
    snprintf(folder, sizeof folder, "%s", in_work("words"));
    loragen_corpus *corpus;
    CLAIM(loragen_corpus_open(&corpus, in_seeds("training/bits.safetensors")) == LORAGEN_OK);
    CLAIM(loragen_corpus_unpack(corpus, folder) == LORAGEN_OK);
    snprintf(path, sizeof path, "%s/corpus.jsonl", folder);
    FILE *manifest = fopen(path, "w");
    static const char *const splits[] = {"train", "validation", "test"};
    for (size_t i = 0; i < loragen_corpus_count(corpus); i++) {
        loragen_corpus_entry entry;
        CLAIM(loragen_corpus_entry_at(corpus, i, &entry) == LORAGEN_OK);
        fprintf(manifest, "{\"path\": \"%s\", \"task\": \"%s\", \"split\": \"%s\", \"text\": [\"a photo of %s\", \"%s\"]}\n",
                entry.path, entry.task, splits[entry.split], entry.bits, entry.bits);
    }
    fclose(manifest);
    loragen_corpus_free(corpus);
    CLAIM(loragen_corpus_open(&corpus, folder) == LORAGEN_OK);

    loragen_encoder *encoder;
    CLAIM(loragen_encoder_open(&encoder, in_seeds("../EncodersTests/Golden/text/bert"), NULL) == LORAGEN_OK);
    loragen_image_encoder *pictures;
    CLAIM(loragen_image_encoder_open(&pictures, in_seeds("../EncodersTests/Golden/vision/clip")) == LORAGEN_OK);
    CLAIM(*loragen_encoder_json(encoder) == '{' && *loragen_image_encoder_json(pictures) == '{');
    const size_t width = loragen_encoder_width(encoder);
    const char *texts[] = {"a photo of a cat", ""};
    float *vectors = calloc(2 * width, sizeof *vectors);
    CLAIM(loragen_encoder_encode(encoder, texts, 2, vectors) == LORAGEN_OK);
    loragen_states *states;
    CLAIM(loragen_encoder_states(&states, encoder, texts[0], 0) == LORAGEN_OK && loragen_states_count(states) > 2);
    loragen_states_free(states);

    loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
    options.method = "nearest";
    const char *out = in_work("words.safetensors");
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, out, &options)); /* an encoder is missing */
    options.encoder = encoder;
    options.condition = "smell";
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, out, &options));
    static const char *const settings[] = {
        NULL, "{\"reader\": \"tokens\", \"reader.steps\": 2, \"reader.layer\": 1, \"reader.width\": 8, \"reader.heads\": 2}"};
    for (size_t i = 0; i < 2; i++) {
        options.condition = i ? "text" : NULL;
        options.settings = settings[i];
        CLAIM(loragen_train(corpus, out, &options) == LORAGEN_OK);
        loragen_generator *generator;
        loragen_generator_options with = LORAGEN_GENERATOR_OPTIONS_INIT;
        with.encoder = encoder;
        with.image_encoder = pictures;
        CLAIM(loragen_generator_open_with(&generator, out, &with) == LORAGEN_OK);
        loragen_condition_info part = LORAGEN_CONDITION_INFO_INIT;
        CLAIM(loragen_generator_condition(generator, 0, &part) == LORAGEN_OK && strstr(part.encoder, "identity"));
        loragen_condition asked[2] = {{"text", "text", texts[0], strlen(texts[0])}, {NULL, "text", "\xff", 1}};
        loragen_request request = LORAGEN_REQUEST_INIT;
        request.conditions = asked;
        request.condition_count = 1;
        loragen_adapters *adapters;
        CLAIM(generate_lora(&adapters, generator, &request) == LORAGEN_OK);
        loragen_adapters_free(adapters);
        request.condition_count = 2; /* no UTF-8, or one too many */
        FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
        asked[0] = (loragen_condition){NULL, "images", "\x89PNG", 4};
        request.condition_count = 1;
        FAILS(LORAGEN_MISMATCH, generate_lora(&adapters, generator, &request));
        loragen_generator_free(generator);
        CLAIM(loragen_generator_open(&generator, out) == LORAGEN_OK);
        asked[0] = (loragen_condition){NULL, "text", texts[0], strlen(texts[0])};
        FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request)); /* without its encoder */
        loragen_generator_free(generator);
    }
    free(vectors);
    loragen_image_encoder_free(pictures);
    loragen_encoder_free(encoder);
    loragen_corpus_free(corpus);
}

int main(int count, char **arguments) {
    if (count != 3) { return 64; }
    seeds = arguments[1];
    work = arguments[2];
    loragen_set_log(take_log, NULL);
    CLAIM(strlen(loragen_version()) >= 5 && loragen_set_threads(4) == LORAGEN_OK && loragen_threads() == 4);
    each("corpus/adapter", walk_adapter);
    each("corpus/gguf", walk_adapter);
    each("corpus/onnx_adapter", walk_adapter);
    each("corpus/npz", walk_adapter);
    each("corpus/onnx", walk_adapter);
    each("corpus/generator", walk_generator);
    each("training", walk_corpus);
    each("corpus/settings", walk_training);
    leave_generator();
    each("corpus/apply", walk_merge);
    each("corpus/apply_onnx", walk_onnx);
    walk_compact("svfit");
    walk_compact("loldu");
    walk_words();
    for (size_t format = 0; format < 8; format++) { CLAIM(saved[format] > 0); }
    printf("      saved %zu %zu %zu %zu %zu %zu %zu %zu by format, %zu verified, %zu trained, %zu applied, %d notes\n",
           saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], saved[6], saved[7], verified, trained, applied, notes);
    CLAIM(verified > 50 && trained > 40 && applied > 10 && notes > 0);
    return claim_result("the whole C surface");
}
