/* Corpora, and trainings on one: their settings and their checkpoints. */
#include "targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int32_t ask_for_all(const char *message, void *payload) {
    (void)payload;
    must(*message, "a problem has a message");
    return 0;
}

static void diagnose(const char *path) {
    int calls = 0;
    loragen_doctor_options options = LORAGEN_DOCTOR_OPTIONS_INIT;
    options.progress = cancel_soon;
    options.payload = &calls;
    loragen_analysis *analysis;
    if (loragen_doctor(&analysis, path, &options) == LORAGEN_OK) {
        must(*loragen_analysis_json(analysis) && *loragen_analysis_text(analysis) && *loragen_analysis_svg(analysis),
             "a diagnosis");
    }
    loragen_analysis_free(analysis);
}

static void check_and_list(struct input *input, const char *path) {
    if (choose(input, 4) == 0) { loragen_corpus_check(path, ask_for_all, NULL); }
    if (choose(input, 8) == 0) { diagnose(path); }
    loragen_corpus *corpus;
    if (loragen_corpus_open(&corpus, path) == LORAGEN_OK) {
        for (size_t i = 0, count = loragen_corpus_count(corpus); i < count; i++) {
            loragen_corpus_entry entry;
            must(loragen_corpus_entry_at(corpus, i, &entry) == LORAGEN_OK && entry.path && entry.task && entry.run,
                 "an entry");
        }
        static const char *const methods[] = {"mean", "ridge", "nearest", "kernel-ridge"};
        loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
        options.method = methods[choose(input, 4)];
        options.preset = choose(input, 2) ? "factors" : NULL;
        options.memory_limit = 64u << 20;
        if (choose(input, 4) == 0) { loragen_train(corpus, in_work("trained.safetensors"), &options); }
    }
    loragen_corpus_free(corpus);
}

/* Lines about the adapters "a" and "b", which lie beside it. */
void fuzz_manifest(struct input *input) {
    place(in_work("corpus.jsonl"), input->bytes, input->count);
    check_and_list(input, in_work(""));
}

void fuzz_packed(struct input *input) {
    place(in_work("corpus.safetensors"), input->bytes, input->count);
    check_and_list(input, in_work("corpus.safetensors"));
}

/* Two adapters in folders, side by side: configuration and weights of each. */
void fuzz_collection(struct input *input) {
    struct part parts[PARTS] = {{0}};
    if (split_parts(input->bytes, input->count, parts) < 4) { return; }
    for (int i = 0; i < 2; i++) {
        static const char *const folders[] = {"set/x", "set/y"};
        mkdir(in_work("set"), 0755);
        mkdir(in_work(folders[i]), 0755);
        char path[4096];
        snprintf(path, sizeof path, "%s/adapter_config.json", in_work(folders[i]));
        place(path, parts[2 * i].bytes, parts[2 * i].count);
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", in_work(folders[i]));
        place(path, parts[2 * i + 1].bytes, parts[2 * i + 1].count);
    }
    if (choose(input, 2)) { diagnose(in_work("set")); }
    loragen_adapters *a, *b;
    loragen_analysis *analysis;
    if (loragen_adapters_open(&a, in_work("set/x")) == LORAGEN_OK) {
        if (loragen_adapters_open(&b, in_work("set/y")) == LORAGEN_OK
            && loragen_compare(&analysis, a, 0, b, 0) == LORAGEN_OK) {
            must(*loragen_analysis_json(analysis) && *loragen_analysis_text(analysis), "a comparison");
            loragen_analysis_free(analysis);
        }
        loragen_adapters_free(b);
        if (loragen_nearest(&analysis, a, 0, in_work("set"), choose(input, 3)) == LORAGEN_OK) {
            must(*loragen_analysis_json(analysis) && *loragen_analysis_text(analysis), "neighbours");
        }
        loragen_analysis_free(analysis);
    }
    loragen_adapters_free(a);
    loragen_verification *verification;
    if (choose(input, 8) == 0 && loragen_verify(&verification, in_seeds("llama"), NULL, in_work("set")) == LORAGEN_OK) {
        loragen_verification_free(verification);
    }
}

/* What lies beside adapters: a model card, a helper's JSON, a trainer's configuration, a text. None of it stops a draft. */
void fuzz_sidecar(struct input *input) {
    static const char *const beside[] = {"held/a/README.md", "held/c.civitai.info", "held/d/config.yaml", "held/c.txt"};
    static const char *const adapters[] = {"held/a", "held/c.safetensors", "held/d/lora.safetensors"};
    struct part parts[PARTS] = {{0}};
    if (split_parts(input->bytes, input->count, parts) < 4) { return; }
    mkdir(in_work("held"), 0755);
    mkdir(in_work("held/d"), 0755);
    for (int i = 0; i < 3; i++) {
        if (access(in_work(adapters[i]), F_OK) == 0) { continue; }
        const int32_t format = i ? LORAGEN_FORMAT_SAFETENSORS : LORAGEN_FORMAT_PEFT;
        must(loragen_convert(in_seeds("manifest/a"), in_work(adapters[i]), format, NULL) == LORAGEN_OK, "an adapter");
    }
    for (int i = 0; i < 4; i++) { place(in_work(beside[i]), parts[i].bytes, parts[i].count); }
    loragen_import_options options = LORAGEN_IMPORT_OPTIONS_INIT;
    options.dry_run = (int32_t)choose(input, 2);
    options.group = choose(input, 2);
    loragen_analysis *analysis;
    must(loragen_corpus_import(&analysis, in_work("held"), &options) == LORAGEN_OK, "a draft");
    must(*loragen_analysis_json(analysis) && *loragen_analysis_text(analysis), "a summary");
    loragen_analysis_free(analysis);
    if (options.dry_run) { return; }
    loragen_corpus *corpus;
    must(loragen_corpus_open(&corpus, in_work("held")) == LORAGEN_OK, "what was drafted is a corpus");
    loragen_corpus_free(corpus);
    unlink(in_work("held/corpus.jsonl"));
}

/* -------------------------------------------------------------------------------------------------------- training */

/* Opened once, and freed at the end: a leak checker does not see what hangs at pointers with a tag, as Swift's enums have. */
static loragen_corpus *all[3];

static void free_training(void) {
    for (size_t i = 0; i < 3; i++) { loragen_corpus_free(all[i]); }
}

static const loragen_corpus *corpus(unsigned kind) {
    static const char *const names[] = {"training/bits.safetensors", "training/vector.safetensors",
                                        "training/none.safetensors"};
    if (!all[kind]) {
        keep(1);
        static int is_registered;
        if (!is_registered) { is_registered = atexit(free_training) == 0; }
        must(loragen_corpus_open(&all[kind], in_seeds(names[kind])) == LORAGEN_OK, names[kind]);
        keep(0);
    }
    return all[kind];
}

static int32_t stop_at_third_call(const loragen_progress *progress, void *payload) {
    int *calls = payload;
    return ++*calls > 2 || progress->steps > 8;
}

/* Method and preset, a blank between; the settings. */
void fuzz_settings(struct input *input) {
    struct part parts[PARTS] = {{0}};
    if (split_parts(input->bytes, input->count, parts) < 2) { return; }
    char *method = as_text(parts[0].bytes, parts[0].count), *settings = as_text(parts[1].bytes, parts[1].count);
    char *preset = strchr(method, ' ');
    if (preset) { *preset++ = 0; }
    int calls = 0;
    loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
    options.method = method;
    options.preset = preset;
    options.settings = settings;
    options.memory_limit = 64u << 20;
    options.progress = stop_at_third_call;
    options.payload = &calls;
    const char *path = in_work("trained.safetensors");
    if (loragen_train(corpus(choose(input, 3)), path, &options) == LORAGEN_OK) {
        loragen_generator *generator;
        must(loragen_generator_open(&generator, path) == LORAGEN_OK, "what was trained can be opened");
        loragen_generator_free(generator);
    }
    free(method);
    free(settings);
}

/* Settings that train in a few steps, by method. */
static const struct {
    const char *method, *preset, *settings;
} quick[] = {
    {"mlp", "default", "{\"width\":4,\"layers\":1,\"steps\":4,\"batch\":2}"},
    {"cond-pdiff", "default", "{\"latents\":2,\"width\":4,\"blocks\":1,\"steps\":4,\"batch\":2,\"timesteps\":8,"
                              "\"samplingSteps\":2,\"validationInterval\":2}"},
    {"rpg", "default", "{\"recurrence\":\"lstm\",\"tokenSize\":16,\"width\":4,\"stateSize\":2,\"conditionWidth\":4,"
                       "\"denoiserWidth\":4,\"steps\":4,\"batch\":2,\"timesteps\":8,\"samplingSteps\":2,\"validationInterval\":2}"},
};

static int32_t stop_with_checkpoint(const loragen_progress *progress, void *payload) {
    (void)payload;
    return progress->step >= 2;
}

/* A checkpoint of one of the trainings above, which says in its metadata which one; without that the first. Its fingerprint
 * depends on the machine's rounding, so the one of this machine is put in. */
void fuzz_checkpoint(struct input *input) {
    static char *fingerprints[3];
    static const char mark[] = "\"fingerprint\":\"";
    enum { LENGTH = 64 };
    const char *path = in_work("checkpoint"), *out = in_work("trained.safetensors");
    char *text = as_text(input->bytes, input->count);
    unsigned kind = 0;
    for (unsigned i = 1; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "\"kind\":\"%u\"", i);
        if (memmem(text, input->count, name, strlen(name))) { kind = i; }
    }
    loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
    options.method = quick[kind].method;
    options.preset = quick[kind].preset;
    options.settings = quick[kind].settings;
    options.checkpoint = path;
    if (!fingerprints[kind]) {
        options.progress = stop_with_checkpoint;
        const loragen_status status = loragen_train(corpus(0), out, &options);
        must(status == LORAGEN_CANCELLED, "a training stops with a checkpoint");
        FILE *file = fopen(path, "rb");
        must(file != NULL, "a checkpoint");
        static char head[1 << 16];
        const size_t count = fread(head, 1, sizeof head, file);
        fclose(file);
        const char *found = memmem(head, count, mark, strlen(mark));
        must(found != NULL, "a fingerprint");
        fingerprints[kind] = as_text(found + strlen(mark), LENGTH);
        unlink(path);
    }
    char *found = memmem(text, input->count, mark, strlen(mark));
    if (found && (size_t)(text + input->count - found) > strlen(mark) + LENGTH) {
        memcpy(found + strlen(mark), fingerprints[kind], LENGTH);
    }
    place(path, text, input->count);
    int calls = 0;
    options.progress = stop_at_third_call;
    options.payload = &calls;
    loragen_train(corpus(0), out, &options);
    unlink(path);
    free(text);
}
