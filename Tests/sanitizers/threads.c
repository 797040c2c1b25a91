/* Sixteen threads on one generator and one corpus while others are opened and freed, and the pool between them, for
 * ThreadSanitizer to watch; every thread's results must be the ones that one thread gets alone:
 *
 *   threads Tests/fuzz WORK      (WORK is an empty folder) */
#include "../hosts/claim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>

enum { THREADS = 16, ROUNDS = 6, GENERATORS = 4 };

static const char *seeds, *work;
static const char *const names[GENERATORS] = {"mlp-factors-bits", "cond-pdiff-factors-bits", "rpg-product-vector",
                                              "kernel-ridge-factors-vector"};
static loragen_generator *generators[GENERATORS];
static loragen_corpus *corpus;
static uint64_t expected[GENERATORS];

static loragen_generator *open_generator(size_t index) {
    char path[4096];
    snprintf(path, sizeof path, "%s/corpus/generator/%s", seeds, names[index]);
    loragen_generator *generator;
    CLAIM(loragen_generator_open(&generator, path) == LORAGEN_OK);
    return generator;
}

/* FNV-1a over the numbers of two samples. */
static uint64_t draw(const loragen_generator *generator, size_t index, const char *folder) {
    static const float condition[] = {0.5f, -1};
    loragen_request request = LORAGEN_REQUEST_INIT;
    request.samples = 2;
    request.seed = 7;
    if (index < 2) { request.bits = "001"; }
    else { request.condition = condition, request.condition_length = 2; }
    loragen_adapters *adapters;
    CLAIM(generate_lora(&adapters, generator, &request) == LORAGEN_OK);
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < 2 * loragen_adapters_tensor_count(adapters); i++) {
        loragen_tensor tensor;
        CLAIM(loragen_adapters_tensor(adapters, i & 1, i >> 1, &tensor) == LORAGEN_OK);
        const unsigned char *bytes = (const unsigned char *)tensor.data;
        for (size_t k = 0; k < 4 * tensor.count; k++) { hash = (hash ^ bytes[k]) * 0x100000001b3u; }
    }
    if (folder) {
        char path[4200];
        snprintf(path, sizeof path, "%s/adapter", folder);
        CLAIM(loragen_adapters_save(adapters, 0, path, LORAGEN_FORMAT_PEFT, NULL) == LORAGEN_OK);
        loragen_adapters *again;
        CLAIM(loragen_adapters_open(&again, path) == LORAGEN_OK);
        loragen_adapters_free(again);
    }
    loragen_adapters_free(adapters);
    return hash;
}

/* Wide enough for the pool. */
static void train(const char *folder) {
    char path[4200];
    snprintf(path, sizeof path, "%s/trained.safetensors", folder);
    loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
    options.method = "mlp";
    options.settings = "{\"width\":256,\"layers\":2,\"steps\":3,\"batch\":64}";
    CLAIM(loragen_train(corpus, path, &options) == LORAGEN_OK);
}

static _Atomic int remarks;
static void take_log(int32_t level, const char *message, void *payload) {
    (void)level, (void)message, (void)payload;
    atomic_fetch_add(&remarks, 1);
}

static void *run(void *argument) {
    const size_t number = (size_t)(uintptr_t)argument;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/%zu", work, number);
    mkdir(folder, 0755);
    for (size_t round = 0; round < ROUNDS; round++) {
        const size_t index = (number + round) % GENERATORS;
        CLAIM(draw(generators[index], index, round % 3 == 0 ? folder : NULL) == expected[index]);
        loragen_generator *own = open_generator(index);
        if (round % 2) { CLAIM(draw(own, index, NULL) == expected[index]); }
        /* Made when it is first asked for, by whichever thread; it stays where it is. */
        const char *text = loragen_generator_report_text(generators[index], round % 2 == 0);
        CLAIM(text && *text && text == loragen_generator_report_text(generators[index], round % 2 == 0));
        loragen_generator_free(own);
        char name[32];
        snprintf(name, sizeof name, "/no/%zu/%zu", number, round);
        CLAIM(loragen_generator_open(&own, name) == LORAGEN_IO && strstr(loragen_last_error(), name)); /* one's own message */
        switch ((number + round) % 4) {
        case 0: CLAIM(loragen_set_threads(1 + (int32_t)((number + round) % 16)) == LORAGEN_OK && loragen_threads() > 0); break;
        case 1: loragen_set_log(round % 2 ? take_log : NULL, NULL); break;
        case 2: train(folder); break;
        default: {
            loragen_corpus_entry entry;
            CLAIM(loragen_corpus_entry_at(corpus, round, &entry) == LORAGEN_OK && *entry.task);
            loragen_verification *verification;
            char path[4200];
            snprintf(path, sizeof path, "%s/llama", seeds);
            CLAIM(loragen_verify(&verification, path, NULL, NULL) == LORAGEN_OK);
            loragen_verification_free(verification);
        }
        }
    }
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3) { return 64; }
    seeds = arguments[1];
    work = arguments[2];
    char path[4096];
    snprintf(path, sizeof path, "%s/training/bits.safetensors", seeds);
    CLAIM(loragen_corpus_open(&corpus, path) == LORAGEN_OK && loragen_set_threads(4) == LORAGEN_OK);
    for (size_t i = 0; i < GENERATORS; i++) {
        generators[i] = open_generator(i);
        expected[i] = draw(generators[i], i, NULL);
    }
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) { CLAIM(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) == 0); }
    for (size_t i = 0; i < THREADS; i++) { pthread_join(threads[i], NULL); }
    for (size_t i = 0; i < GENERATORS; i++) { loragen_generator_free(generators[i]); }
    loragen_corpus_free(corpus);
    return claim_result("sixteen threads on one generator");
}
