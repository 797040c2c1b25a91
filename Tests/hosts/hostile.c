/* Calls every function of the library with arguments that no host should give, and lives.
 *
 *   hostile GENERATOR CORPUS WORK      (WORK is an empty folder) */
#define _POSIX_C_SOURCE 200809L
#include "claim.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

static const char *generator_path, *corpus_path, *work;
static const char *const not_utf8 = "\xff\xfe/\xc3\x28";
static void *const poison = (void *)0x5a5a; /* what a failed call must overwrite with NULL */

static const char *in_work(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", work, name);
    return path;
}

/* Every wrong size of a struct; `call` uses `size`. */
#define WRONG_SIZES(field, call) \
    do { \
        static const size_t sizes_[] = {0, 1, 7, 1u << 20, SIZE_MAX, SIZE_MAX / 2 + 1}; \
        for (size_t i_ = 0; i_ < sizeof sizes_ / sizeof *sizes_; i_++) { \
            (field) = sizes_[i_]; \
            FAILS(LORAGEN_INVALID_ARGUMENT, call); \
        } \
    } while (0)

static void process(void) {
    CLAIM(strlen(loragen_version()) >= 5);
    for (int32_t status = -3; status < 20; status++) { CLAIM(*loragen_status_name(status)); }
    CLAIM(*loragen_status_name(INT32_MIN));
    CLAIM(*loragen_status_name(INT32_MAX));
    CLAIM(loragen_last_error() != NULL);

    const int32_t threads = loragen_threads();
    CLAIM(threads >= 1 && threads <= 16);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_set_threads(0));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_set_threads(-1));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_set_threads(17));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_set_threads(INT32_MAX));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_set_threads(INT32_MIN));
    CLAIM(loragen_threads() == threads);
    loragen_set_log(NULL, poison);
    loragen_set_log(NULL, NULL);
}

static int32_t stop_at_once(const char *message, void *payload) {
    CLAIM(message && *message);
    ++*(int *)payload;
    return 1;
}

static void corpora(void) {
    loragen_corpus *corpus = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_open(NULL, corpus_path));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_open(&corpus, NULL));
    CLAIM(corpus == NULL);
    corpus = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_open(&corpus, not_utf8));
    CLAIM(corpus == NULL);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_open(&corpus, ""));
    FAILS(LORAGEN_IO, loragen_corpus_open(&corpus, "/does/not/exist"));
    REFUSES(loragen_corpus_open(&corpus, "/dev/null"));
    REFUSES(loragen_corpus_open(&corpus, "/proc/self/mem"));
    REFUSES(loragen_corpus_open(&corpus, generator_path));
    CLAIM(corpus == NULL);

    int problems = 0;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_check(NULL, NULL, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_check(not_utf8, NULL, NULL));
    REFUSES(loragen_corpus_check("/does/not/exist", NULL, NULL));
    REFUSES(loragen_corpus_check("/does/not/exist", stop_at_once, &problems));
    CLAIM(problems == 1);

    CLAIM(loragen_corpus_check(corpus_path, stop_at_once, &problems) == LORAGEN_OK);
    CLAIM(problems == 1);
    CLAIM(loragen_corpus_open(&corpus, corpus_path) == LORAGEN_OK);
    if (!corpus) { return; }
    const size_t count = loragen_corpus_count(corpus);
    CLAIM(count > 0);
    loragen_corpus_entry entry;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_entry_at(NULL, 0, &entry));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_entry_at(corpus, 0, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_entry_at(corpus, count, &entry));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_entry_at(corpus, SIZE_MAX, &entry));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_entry_at(corpus, (size_t)1 << 63, &entry));
    for (size_t i = 0; i < count; i++) {
        CLAIM(loragen_corpus_entry_at(corpus, i, &entry) == LORAGEN_OK);
        CLAIM(entry.path && entry.task && entry.run && entry.split >= 0 && entry.split <= 2);
        CLAIM((entry.condition == NULL) == (entry.condition_length == 0));
    }

    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_init(NULL, 0));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_init(not_utf8, 0));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_init("", 0));
    REFUSES(loragen_corpus_init("/does/not/exist/either", UINT64_MAX));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_unpack(NULL, in_work("unpacked")));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_unpack(corpus, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_unpack(corpus, not_utf8));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_unpack(corpus, ""));
    REFUSES(loragen_corpus_unpack(corpus, "/does/not/exist/either"));
    REFUSES(loragen_corpus_unpack(corpus, work)); /* it exists */

    CLAIM(loragen_corpus_count(NULL) == 0);
    loragen_corpus_free(NULL);
    loragen_corpus_free(corpus);
}

static int32_t cancel(const loragen_progress *progress, void *payload) {
    CLAIM(progress->struct_size >= sizeof *progress && progress->stage && progress->step >= 0);
    ++*(int *)payload;
    return 1;
}

static void training(void) {
    loragen_corpus *corpus;
    CLAIM(loragen_corpus_open(&corpus, corpus_path) == LORAGEN_OK);
    if (!corpus) { return; }
    const char *out = strdup(in_work("trained.safetensors"));
    loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
    options.method = "mean";

    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(NULL, out, &options));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, NULL, &options));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, "", &options));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, not_utf8, &options));
    REFUSES(loragen_train(corpus, "/does/not/exist/out", &options));
    REFUSES(loragen_train(corpus, work, &options)); /* a folder */

    WRONG_SIZES(options.struct_size, loragen_train(corpus, out, &options));
    options.struct_size = sizeof options;

    static const char *const bad_texts[] = {"", "nonsense", "\xff", "cond-pdiff\xc3", "{}"};
    for (size_t i = 0; i < sizeof bad_texts / sizeof *bad_texts; i++) {
        options.method = bad_texts[i];
        REFUSES(loragen_train(corpus, out, &options));
        options.method = "cond-pdiff";
        options.preset = bad_texts[i];
        REFUSES(loragen_train(corpus, out, &options));
        options.preset = NULL;
    }
    static const char *const bad_settings[] = {
        "",      "[]",          "null",          "{",           "{\"unknownSetting\": 1}",
        "\xff",  "{\"a\":\xc3", "{\"a\": 1e999}", "{\"seed\": {}}", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        "{} {}", "{\"batchSize\": -1}", "{\"learningRate\": \"x\"}", "{\"steps\": 1e300}",
    };
    for (size_t i = 0; i < sizeof bad_settings / sizeof *bad_settings; i++) {
        options.settings = bad_settings[i];
        REFUSES(loragen_train(corpus, out, &options));
    }
    options.settings = NULL;

    options.method = "mean";
    static const double bad_seconds[] = {-1, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 4; i++) {
        options.checkpoint_seconds = bad_seconds[i];
        FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, out, &options));
    }
    options.checkpoint_seconds = 0;
    options.checkpoint = "";
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, out, &options));
    options.checkpoint = not_utf8;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_train(corpus, out, &options));
    options.checkpoint = NULL;

    options.method = "cond-pdiff";
    options.memory_limit = 1;
    FAILS(LORAGEN_MEMORY, loragen_train(corpus, out, &options));
    options.memory_limit = 0;

    int calls = 0;
    options.progress = cancel;
    options.payload = &calls;
    FAILS(LORAGEN_CANCELLED, loragen_train(corpus, out, &options));
    CLAIM(calls == 1);
    FILE *file = fopen(out, "rb");
    CLAIM(file == NULL); /* nothing was written by all of the above */
    if (file) { fclose(file); }

    /* An older header: its struct ends after `method`. Reading further would be seen by valgrind. */
    loragen_training_options *old = malloc(16);
    old->struct_size = 16;
    old->method = "mean";
    CLAIM(loragen_train(corpus, out, old) == LORAGEN_OK);
    free(old);

    loragen_corpus_free(corpus);
    free((void *)out);
}

static void generators(void) {
    loragen_generator *generator = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_open(NULL, generator_path));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_open(&generator, NULL));
    CLAIM(generator == NULL);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_open(&generator, ""));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_open(&generator, not_utf8));
    FAILS(LORAGEN_IO, loragen_generator_open(&generator, "/does/not/exist"));
    FAILS(LORAGEN_IO, loragen_generator_open_with(&generator, "/does/not/exist", NULL));
    loragen_generator_options with = LORAGEN_GENERATOR_OPTIONS_INIT;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_open_with(NULL, generator_path, &with));
    WRONG_SIZES(with.struct_size, loragen_generator_open_with(&generator, generator_path, &with));
    REFUSES(loragen_generator_open(&generator, "/dev/null"));
    REFUSES(loragen_generator_open(&generator, "/dev/zero"));
    REFUSES(loragen_generator_open(&generator, "/"));
    CLAIM(generator == NULL);

    CLAIM(loragen_generator_open(&generator, generator_path) == LORAGEN_OK);
    if (!generator) { return; }
    loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_describe(NULL, &info));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_describe(generator, NULL));
    WRONG_SIZES(info.struct_size, loragen_generator_describe(generator, &info));
    info.struct_size = sizeof info;
    CLAIM(loragen_generator_describe(generator, &info) == LORAGEN_OK);
    CLAIM(info.struct_size == sizeof info && info.method && info.hash && info.module_count > 0);

    /* An older header's struct is filled as far as it goes, a newer one's as far as the library knows. */
    unsigned char part[sizeof info + 16];
    memset(part, 0x5a, sizeof part);
    ((loragen_generator_info *)(void *)part)->struct_size = 16;
    CLAIM(loragen_generator_describe(generator, (loragen_generator_info *)(void *)part) == LORAGEN_OK);
    CLAIM(((loragen_generator_info *)(void *)part)->method && part[16] == 0x5a && part[sizeof part - 1] == 0x5a);
    ((loragen_generator_info *)(void *)part)->struct_size = sizeof part;
    CLAIM(loragen_generator_describe(generator, (loragen_generator_info *)(void *)part) == LORAGEN_OK);
    CLAIM(part[sizeof info] == 0x5a);

    loragen_module module;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_module(NULL, 0, &module));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_module(generator, 0, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_module(generator, info.module_count, &module));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_module(generator, SIZE_MAX, &module));
    CLAIM(loragen_generator_module(generator, 0, &module) == LORAGEN_OK && module.name);

    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_check(NULL));
    CLAIM(loragen_generator_check(generator) == LORAGEN_OK);
    CLAIM(loragen_generator_report(NULL) == NULL);
    CLAIM(loragen_generator_report(generator)[0] == '{');
    CLAIM(loragen_generator_report_text(NULL, 0) == NULL);
    CLAIM(strlen(loragen_generator_report_text(generator, 1)) < strlen(loragen_generator_report_text(generator, 0)));
    CLAIM(strstr(loragen_names(), "kernel-ridge") && loragen_names() == loragen_names());
    loragen_generator_free(NULL);
    loragen_generator_free(generator);
}

/* A request that the generator can answer; the caller frees what is returned. */
static char *valid_bits(const loragen_generator_info *info) {
    char *bits = calloc(info->condition_length + 1, 1);
    memset(bits, '0', info->condition_length);
    if (info->condition_length > 0) { bits[0] = '1'; }
    return bits;
}

static void requests(void) {
    loragen_generator *generator;
    CLAIM(loragen_generator_open(&generator, generator_path) == LORAGEN_OK);
    if (!generator) { return; }
    loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
    CLAIM(loragen_generator_describe(generator, &info) == LORAGEN_OK);
    CLAIM(info.condition_kind == LORAGEN_CONDITION_BITS); /* the test is written for such a generator */
    char *bits = valid_bits(&info);

    loragen_request request = LORAGEN_REQUEST_INIT;
    request.bits = bits;
    loragen_adapters *adapters = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(NULL, generator, &request));
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, NULL, &request));
    CLAIM(adapters == NULL);
    adapters = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, NULL));
    loragen_file_options file = LORAGEN_FILE_OPTIONS_INIT;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(NULL, &request, "no", &file));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(generator, NULL, "no", &file));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(generator, &request, NULL, &file));
    WRONG_SIZES(file.struct_size, loragen_generate_file(generator, &request, "no", &file));
    file.struct_size = sizeof file;
    file.format = 99;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(generator, &request, "no", &file));
    file.format = LORAGEN_FORMAT_BY_SUFFIX;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(generator, &request, "no.weird", &file));
    loragen_save_options save = LORAGEN_SAVE_OPTIONS_INIT;
    file.save = &save;
    WRONG_SIZES(save.struct_size, loragen_generate_file(generator, &request, "no", &file));
    save.struct_size = sizeof save;
    save.portable = save.keep_alpha = 1;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(generator, &request, "no", &file));
    file.save = NULL;
    /* The generator is never written over by what it makes. */
    file.format = LORAGEN_FORMAT_SAFETENSORS;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(generator, &request, generator_path, &file));
    loragen_adapters *drawn;
    CLAIM(generate_lora(&drawn, generator, &request) == LORAGEN_OK);
    FAILS(LORAGEN_INVALID_ARGUMENT,
          loragen_adapters_save(drawn, 0, generator_path, LORAGEN_FORMAT_SAFETENSORS, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(drawn, 0, "no.weird", LORAGEN_FORMAT_BY_SUFFIX, NULL));
    /* A message stays until this thread's next failed call; calls that succeed leave it. */
    const char *const message = loragen_last_error();
    char before[4096];
    snprintf(before, sizeof before, "%s", message);
    CLAIM(loragen_adapters_count(drawn) == 1 && loragen_generator_describe(generator, &info) == LORAGEN_OK);
    CLAIM(loragen_last_error() == message && strcmp(message, before) == 0);
    loragen_adapters_free(drawn);
    file.format = LORAGEN_FORMAT_PEFT;
    file.sample = -1;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generate_file(generator, &request, "no", &file));
    CLAIM(adapters == NULL);
    WRONG_SIZES(request.struct_size, generate_lora(&adapters, generator, &request));
    request.struct_size = sizeof request;

    /* A newer header's fields: refused when they are used, ignored when they are not. */
    struct {
        loragen_request request;
        char added[32];
    } newer = {LORAGEN_REQUEST_INIT, {0}};
    newer.request.struct_size = sizeof newer;
    newer.request.bits = bits;
    CLAIM(generate_lora(&adapters, generator, &newer.request) == LORAGEN_OK);
    loragen_adapters_free(adapters);
    newer.added[31] = 1;
    FAILS(LORAGEN_UNSUPPORTED, generate_lora(&adapters, generator, &newer.request));

    /* An older header's struct, exactly as long as it says. */
    loragen_request *old = malloc(40);
    memcpy(old, &request, 40);
    old->struct_size = 40;
    CLAIM(generate_lora(&adapters, generator, old) == LORAGEN_OK);
    loragen_adapters_free(adapters);
    free(old);

    /* Conditions by parts. */
    request.bits = NULL;
    const size_t n = info.condition_length;
    const loragen_condition good = {NULL, "bits", bits, n};
    loragen_condition parts[] = {good, good};
    request.conditions = parts;
    request.condition_count = 1;
    CLAIM(generate_lora(&adapters, generator, &request) == LORAGEN_OK);
    loragen_adapters_free(adapters);
    const loragen_condition bad[] = {{NULL, NULL, bits, 1},      {NULL, "smell", bits, 1},       {"x", "bits", bits, n},
                                     {NULL, "bits", NULL, n},    {NULL, "bits", bits, SIZE_MAX}, {NULL, "\xff", bits, n},
                                     {"\xff", "bits", bits, n},  {NULL, "vector", bits, 1u << 30}, {NULL, "vector", NULL, n},
                                     {NULL, "bits", bits, 0},    {NULL, "vector", bits, SIZE_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        parts[0] = bad[i];
        CLAIM(generate_lora(&adapters, generator, &request) != LORAGEN_OK && adapters == NULL);
    }
    parts[0] = good;
    request.condition_count = 2;
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
    request.condition_count = SIZE_MAX;
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
    request.conditions = NULL;
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
    request.conditions = parts;
    request.condition_count = 1;
    request.bits = bits;
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
    request.conditions = NULL;
    request.condition_count = 0;
    loragen_condition_info part = LORAGEN_CONDITION_INFO_INIT;
    CLAIM(loragen_generator_condition(generator, 0, &part) == LORAGEN_OK && part.length == info.condition_length);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_condition(generator, 1, &part));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_condition(generator, SIZE_MAX, &part));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_condition(generator, 0, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_generator_condition(NULL, 0, &part));
    WRONG_SIZES(part.struct_size, loragen_generator_condition(generator, 0, &part));

    char *long_bits = malloc((1u << 20) + 1);
    memset(long_bits, '1', 1u << 20);
    long_bits[1u << 20] = 0;
    const char *const bad_bits[] = {"", "2", "01x", "\xff\xff", "0001100101000110010100011001010001100101", long_bits,
                                    " 0001", "٠١"};
    for (size_t i = 0; i < sizeof bad_bits / sizeof *bad_bits; i++) {
        request.bits = bad_bits[i];
        REFUSES(generate_lora(&adapters, generator, &request));
    }
    free(long_bits);
    bits[0] = '7';
    request.bits = bits;
    REFUSES(generate_lora(&adapters, generator, &request));
    bits[0] = '1';

    /* Vectors: their length is compared before they are read, so a wild one does no harm. */
    float values[4] = {0, 1, 0, 1};
    request.condition = values;
    request.condition_length = 4;
    REFUSES(generate_lora(&adapters, generator, &request)); /* both */
    request.bits = NULL;
    const size_t lengths[] = {0, info.condition_length + 1, SIZE_MAX, SIZE_MAX / 4, (size_t)1 << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        request.condition_length = lengths[i];
        FAILS(LORAGEN_MISMATCH, generate_lora(&adapters, generator, &request));
    }
    float *vector = calloc(info.condition_length, sizeof *vector);
    request.condition = vector;
    request.condition_length = info.condition_length;
    const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        vector[info.condition_length - 1] = wrong[i];
        FAILS(LORAGEN_NON_FINITE, generate_lora(&adapters, generator, &request));
        char place[64];
        snprintf(place, sizeof place, "element %zu of the condition", info.condition_length - 1);
        CLAIM(strstr(loragen_last_error(), place));
    }
    free(vector);
    request.condition = NULL;
    FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request)); /* a length without a vector */
    request.condition_length = 0;
    REFUSES(generate_lora(&adapters, generator, &request)); /* no condition at all */

    request.bits = bits;
    const int32_t negative[] = {-1, INT32_MIN};
    for (size_t i = 0; i < 2; i++) {
        request.samples = negative[i];
        FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
        request.samples = 1;
        request.steps = negative[i];
        FAILS(LORAGEN_INVALID_ARGUMENT, generate_lora(&adapters, generator, &request));
        request.steps = 0;
    }
    request.samples = INT32_MAX;
    REFUSES(generate_lora(&adapters, generator, &request));
    request.samples = 1;
    for (size_t i = 0; i < 3; i++) {
        request.guidance = wrong[i];
        FAILS(LORAGEN_NON_FINITE, generate_lora(&adapters, generator, &request));
    }
    request.guidance = -1;
    if (info.sampler) {
        request.steps = INT32_MAX;
        REFUSES(generate_lora(&adapters, generator, &request));
        request.steps = 0;
        request.guidance = 3e38f; /* finite; the result may not be */
        if (generate_lora(&adapters, generator, &request) == LORAGEN_OK) { loragen_adapters_free(adapters); }
        request.guidance = -1;
        const char *const bad_samplers[] = {"", "euler", "\xff"};
        for (size_t i = 0; i < 3; i++) {
            request.sampler = bad_samplers[i];
            REFUSES(generate_lora(&adapters, generator, &request));
        }
        request.sampler = NULL;
    }
    CLAIM(adapters == NULL);

    loragen_generator_free(generator);
    free(bits);
}

struct managed { /* struct DLManagedTensor */
    void *data;
    int32_t device, id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t offset;
    void *context;
    void (*deleter)(struct managed *);
};

static void results(void) {
    loragen_generator *generator;
    CLAIM(loragen_generator_open(&generator, generator_path) == LORAGEN_OK);
    if (!generator) { return; }
    loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
    CLAIM(loragen_generator_describe(generator, &info) == LORAGEN_OK);
    char *bits = valid_bits(&info);
    loragen_request request = LORAGEN_REQUEST_INIT;
    request.bits = bits;
    request.samples = 2;
    loragen_adapters *adapters;
    CLAIM(generate_lora(&adapters, generator, &request) == LORAGEN_OK);
    free(bits);
    loragen_generator_free(generator); /* the adapters do not need it */
    if (!adapters) { return; }

    CLAIM(loragen_adapters_count(NULL) == 0);
    CLAIM(loragen_adapters_tensor_count(NULL) == 0);
    CLAIM(loragen_adapters_module_count(NULL) == 0);
    CLAIM(loragen_adapters_origin(NULL, 0) == NULL);
    CLAIM(loragen_adapters_count(adapters) == 2);
    const size_t tensors = loragen_adapters_tensor_count(adapters);
    const size_t modules = loragen_adapters_module_count(adapters);
    CLAIM(tensors > 0 && modules > 0);
    CLAIM(loragen_adapters_origin(adapters, 0)[0] == '{');
    CLAIM(loragen_adapters_origin(adapters, 2) == NULL);
    CLAIM(loragen_adapters_origin(adapters, SIZE_MAX) == NULL);

    loragen_tensor tensor;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_tensor(NULL, 0, 0, &tensor));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_tensor(adapters, 0, 0, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_tensor(adapters, 2, 0, &tensor));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_tensor(adapters, 0, tensors, &tensor));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_tensor(adapters, SIZE_MAX, SIZE_MAX, &tensor));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_tensor(adapters, SIZE_MAX / 2, SIZE_MAX / 2, &tensor));
    double sum = 0;
    for (size_t i = 0; i < tensors; i++) {
        CLAIM(loragen_adapters_tensor(adapters, 1, i, &tensor) == LORAGEN_OK);
        CLAIM(tensor.rank == 2 && tensor.dtype == LORAGEN_FLOAT32);
        CLAIM(tensor.count == (size_t)(tensor.shape[0] * tensor.shape[1]));
        for (size_t j = 0; j < tensor.count; j++) { sum += tensor.data[j]; }
    }
    CLAIM(isfinite(sum));

    loragen_module module;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_module(NULL, 0, &module));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_module(adapters, 0, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_module(adapters, modules, &module));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_module(adapters, SIZE_MAX, &module));

    const char *out = strdup(in_work("adapter"));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(NULL, 0, out, LORAGEN_FORMAT_PEFT, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 2, out, LORAGEN_FORMAT_PEFT, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, SIZE_MAX, out, LORAGEN_FORMAT_PEFT, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, NULL, LORAGEN_FORMAT_PEFT, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, "", LORAGEN_FORMAT_PEFT, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, not_utf8, LORAGEN_FORMAT_PEFT, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, 99, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, INT32_MIN, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_convert(NULL, out, LORAGEN_FORMAT_NPZ, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_convert(out, NULL, LORAGEN_FORMAT_NPZ, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_convert(out, out, 99, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_apply(NULL, out, out, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_apply(out, NULL, out, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_apply(out, out, NULL, NULL));
    loragen_apply_options applying = LORAGEN_APPLY_OPTIONS_INIT;
    applying.mode = 99;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_apply(out, out, out, &applying));
    for (int32_t format = 0; format < 3; format++) {
        REFUSES(loragen_adapters_save(adapters, 0, "/does/not/exist/either", format, NULL));
        REFUSES(loragen_adapters_save(adapters, 0, "/proc/nothing", format, NULL));
        if (format != LORAGEN_FORMAT_PEFT) { REFUSES(loragen_adapters_save(adapters, 0, work, format, NULL)); }
    }
    loragen_save_options options = LORAGEN_SAVE_OPTIONS_INIT;
    WRONG_SIZES(options.struct_size, loragen_adapters_save(adapters, 0, out, LORAGEN_FORMAT_PEFT, &options));
    options.struct_size = sizeof options;
    options.dtype = LORAGEN_Q8_0; /* of GGUF alone */
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, LORAGEN_FORMAT_PEFT, &options));
    options.dtype = 4;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, LORAGEN_FORMAT_PEFT, &options));
    options.dtype = -1;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, LORAGEN_FORMAT_PEFT, &options));
    options.dtype = LORAGEN_BFLOAT16;
    options.keep_alpha = INT32_MIN;
    options.portable = 1;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, LORAGEN_FORMAT_PEFT, &options));
    options.portable = 0;
    options.layers = -1;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, LORAGEN_FORMAT_PEFT, &options));
    options.layers = 0;
    options.model = "sd9";
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_save(adapters, 0, out, LORAGEN_FORMAT_KOHYA, &options));
    options.model = NULL;
    CLAIM(loragen_adapters_save(adapters, 1, out, LORAGEN_FORMAT_PEFT, &options) == LORAGEN_OK);
    CLAIM(loragen_adapters_save(adapters, 1, out, LORAGEN_FORMAT_PEFT, NULL) == LORAGEN_OK); /* replaces it */

    loragen_adapters *read = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_open(NULL, out));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_open(&read, NULL));
    CLAIM(read == NULL);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_open(&read, ""));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_open(&read, not_utf8));
    FAILS(LORAGEN_IO, loragen_adapters_open(&read, "/does/not/exist"));
    REFUSES(loragen_adapters_open(&read, "/dev/null"));
    REFUSES(loragen_adapters_open(&read, "/dev/zero"));
    REFUSES(loragen_adapters_open(&read, work));
    CLAIM(loragen_adapters_open(&read, out) == LORAGEN_OK);
    CLAIM(loragen_adapters_count(read) == 1 && loragen_adapters_tensor_count(read) == tensors);

    loragen_verification *verification = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_verify(NULL, out, NULL, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_verify(&verification, NULL, NULL, NULL));
    CLAIM(verification == NULL);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_verify(&verification, not_utf8, NULL, NULL));
    FAILS(LORAGEN_IO, loragen_verify(&verification, "/does/not/exist", NULL, NULL));
    FAILS(LORAGEN_IO, loragen_verify(&verification, out, "/does/not/exist", NULL));
    REFUSES(loragen_verify(&verification, out, "/dev/null", NULL));
    REFUSES(loragen_verify(&verification, out, out, NULL));
    REFUSES(loragen_verify(&verification, out, NULL, "/does/not/exist"));
    CLAIM(loragen_verify(&verification, out, NULL, NULL) == LORAGEN_OK);
    CLAIM(loragen_verification_errors(verification) == 0 && loragen_verification_warnings(NULL) == 0);
    CLAIM(loragen_verification_json(verification)[0] == '{' && loragen_verification_text(NULL) == NULL);
    loragen_verification_free(verification);
    loragen_verification_free(NULL);

    struct DLManagedTensor *out_tensor = poison;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_dlpack(NULL, adapters, 0, 0));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_dlpack(&out_tensor, NULL, 0, 0));
    CLAIM(out_tensor == NULL);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_dlpack(&out_tensor, adapters, 2, 0));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_adapters_dlpack(&out_tensor, adapters, 0, SIZE_MAX));
    CLAIM(loragen_adapters_tensor(adapters, 0, 0, &tensor) == LORAGEN_OK);
    CLAIM(loragen_adapters_dlpack(&out_tensor, adapters, 0, 0) == LORAGEN_OK);
    struct managed *managed = (struct managed *)(void *)out_tensor;
    CLAIM(managed->data == (const void *)tensor.data && managed->ndim == 2 && managed->device == 1);
    CLAIM(managed->code == 2 && managed->bits == 32 && managed->lanes == 1 && managed->offset == 0);
    CLAIM(managed->shape[0] == tensor.shape[0] && managed->shape[1] == tensor.shape[1]);

    loragen_adapters_free(NULL);
    loragen_adapters_free(read);
    loragen_adapters_free(adapters);

    /* The DLPack tensor outlives the adapters, whose memory goes with it. */
    const float *data = managed->data;
    for (int64_t i = 0; i < managed->shape[0] * managed->shape[1]; i++) { sum += data[i]; }
    CLAIM(isfinite(sum));
    managed->deleter(managed);
    free((void *)out);
}

static void analyses(void) {
    loragen_analysis *analysis = poison;
    loragen_adapters *adapters = NULL;
    loragen_generator *generator = NULL;
    CLAIM(loragen_generator_open(&generator, generator_path) == LORAGEN_OK);
    loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
    CLAIM(loragen_generator_describe(generator, &info) == LORAGEN_OK);
    char *bits = calloc(info.condition_length + 1, 1);
    memset(bits, '0', info.condition_length);
    loragen_request request = LORAGEN_REQUEST_INIT;
    request.bits = bits;
    CLAIM(generate_lora(&adapters, generator, &request) == LORAGEN_OK);
    loragen_generator_free(generator);
    free(bits);

    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_compare(NULL, adapters, 0, adapters, 0));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_compare(&analysis, NULL, 0, adapters, 0));
    CLAIM(analysis == NULL);
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_compare(&analysis, adapters, 1, adapters, 0));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_compare(&analysis, adapters, 0, adapters, SIZE_MAX));
    CLAIM(loragen_compare(&analysis, adapters, 0, adapters, 0) == LORAGEN_OK);
    CLAIM(loragen_analysis_json(analysis)[0] == '{' && strstr(loragen_analysis_text(analysis), "cosine"));
    CLAIM(loragen_analysis_svg(analysis) == NULL && loragen_analysis_errors(analysis) == 0);
    loragen_analysis_free(analysis);

    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_nearest(&analysis, NULL, 0, corpus_path, 1));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_nearest(&analysis, adapters, 7, corpus_path, 1));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_nearest(&analysis, adapters, 0, NULL, 1));
    FAILS(LORAGEN_IO, loragen_nearest(&analysis, adapters, 0, "/does/not/exist", 1));
    REFUSES(loragen_nearest(&analysis, adapters, 0, "/dev/null", 1));
    CLAIM(loragen_nearest(&analysis, adapters, 0, corpus_path, SIZE_MAX) == LORAGEN_OK);
    loragen_analysis_free(analysis);
    loragen_adapters_free(adapters);

    loragen_doctor_options options = LORAGEN_DOCTOR_OPTIONS_INIT;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_doctor(NULL, corpus_path, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_doctor(&analysis, NULL, NULL));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_doctor(&analysis, not_utf8, NULL));
    FAILS(LORAGEN_IO, loragen_doctor(&analysis, "/does/not/exist", &options));
    REFUSES(loragen_doctor(&analysis, "/dev/zero", &options));
    int calls = 0;
    options.progress = cancel;
    options.payload = &calls;
    FAILS(LORAGEN_CANCELLED, loragen_doctor(&analysis, corpus_path, &options));
    CLAIM(calls == 1 && analysis == NULL);
    options.progress = NULL;
    options.memory_limit = 1;
    CLAIM(loragen_doctor(&analysis, corpus_path, &options) == LORAGEN_OK);
    CLAIM(strstr(loragen_analysis_svg(analysis), "<svg") && loragen_analysis_errors(analysis) == 0);
    loragen_analysis_free(analysis);
    options.struct_size = 3;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_doctor(&analysis, corpus_path, &options));

    loragen_import_options import = LORAGEN_IMPORT_OPTIONS_INIT;
    import.dry_run = 1;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(NULL, corpus_path, &import));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(&analysis, NULL, &import));
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(&analysis, not_utf8, &import));
    FAILS(LORAGEN_IO, loragen_corpus_import(&analysis, "/does/not/exist", &import));
    FAILS(LORAGEN_IO, loragen_corpus_import(&analysis, "/dev/zero", NULL));
    const char *names[] = {"no equals sign", "=b", NULL};
    import.same_base_count = 1;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(&analysis, corpus_path, &import));
    for (size_t i = 0; i < 3; i++) {
        import.same_base = &names[i];
        FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(&analysis, corpus_path, &import));
    }
    import.same_base_count = SIZE_MAX;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(&analysis, corpus_path, &import));
    import.same_base_count = 0;
    import.group = SIZE_MAX;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(&analysis, corpus_path, &import));
    import.group = 0;
    import.rank = INT32_MIN;
    FAILS(LORAGEN_INVALID_ARGUMENT, loragen_corpus_import(&analysis, corpus_path, &import));
    CLAIM(analysis == NULL);

    CLAIM(!loragen_analysis_json(NULL) && !loragen_analysis_text(NULL) && !loragen_analysis_svg(NULL));
    CLAIM(loragen_analysis_errors(NULL) == 0);
    loragen_analysis_free(NULL);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s GENERATOR CORPUS WORK\n", argv[0]);
        return 64;
    }
    generator_path = argv[1];
    corpus_path = argv[2];
    work = argv[3];
    process();
    corpora();
    training();
    generators();
    requests();
    results();
    analyses();
    return claim_result("survives hostile arguments in every function");
}
