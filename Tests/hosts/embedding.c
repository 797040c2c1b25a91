/* The library as a guest in a process: opened with RTLD_LOCAL, used from eight threads at once, closed. The same
 * request gives the same bytes in every thread and for every number of threads, and nothing of the process has changed:
 * environment, signal handlers and mask, floating-point mode, locale, CPU affinity, descriptors, working directory,
 * what is on stdout and stderr.
 *
 *   embedding LIBRARY GENERATOR CORPUS WORK */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fenv.h>
#include <fcntl.h>
#include <locale.h>
#include <loragen.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xmmintrin.h>

extern char **environ;

static int failures;
static FILE *terminal; /* stderr before the library could write to it */

#define CLAIM(condition) \
    do { \
        if (!(condition)) { \
            __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED); \
            fprintf(terminal, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
        } \
    } while (0)

/* The functions of the header that this host uses, by dlsym. */
#define FUNCTIONS(each) \
    each(loragen_version) each(loragen_names) each(loragen_last_error) each(loragen_set_threads) each(loragen_threads) \
    each(loragen_corpus_open) each(loragen_corpus_free) each(loragen_train) each(loragen_generator_open) \
    each(loragen_generator_describe) each(loragen_generator_free) each(generate_lora) each(loragen_adapters_tensor) \
    each(loragen_adapters_tensor_count) each(loragen_adapters_save) each(loragen_adapters_free)
#define DECLARE(name) static __typeof__(&name) p_##name;
FUNCTIONS(DECLARE)

static void *open_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(terminal, "%s\n", dlerror());
        exit(1);
    }
#define RESOLVE(name) *(void **)&p_##name = dlsym(library, #name);
    FUNCTIONS(RESOLVE)
    return library;
}

/* ---------------------------------------------------------------------------------------- the state of the process */

enum { SIGNALS = 65 };

struct process {
    char *environment;
    struct sigaction actions[SIGNALS];
    sigset_t mask;
    stack_t signal_stack;
    fenv_t fenv;
    int rounding, exceptions;
    unsigned mxcsr;
    char *locale;
    cpu_set_t affinity;
    int descriptors;
    char folder[4096];
    mode_t umask;
    int policy, nice_value;
};

static char *copy_environment(void) {
    size_t size = 1;
    for (char **entry = environ; *entry; entry++) { size += strlen(*entry) + 1; }
    char *copy = calloc(size, 1), *end = copy;
    for (char **entry = environ; *entry; entry++) { end = stpcpy(end, *entry), *end++ = '\n'; }
    return copy;
}

static int count_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) { count++; }
    closedir(folder);
    return count;
}

static void look(struct process *process) {
    memset(process, 0, sizeof *process);
    process->environment = copy_environment();
    for (int number = 1; number < SIGNALS; number++) { sigaction(number, NULL, &process->actions[number]); }
    pthread_sigmask(SIG_SETMASK, NULL, &process->mask);
    sigaltstack(NULL, &process->signal_stack);
    process->rounding = fegetround();
    process->exceptions = fegetexcept();
    process->mxcsr = _mm_getcsr() & ~0x3fu; /* without the sticky flags, which any division sets */
    process->locale = strdup(setlocale(LC_ALL, NULL));
    sched_getaffinity(0, sizeof process->affinity, &process->affinity);
    process->descriptors = count_descriptors();
    CLAIM(getcwd(process->folder, sizeof process->folder));
    process->umask = umask(0);
    umask(process->umask);
    process->policy = sched_getscheduler(0);
    process->nice_value = nice(0);
}

static void compare(const struct process *before, const struct process *after) {
    CLAIM(strcmp(before->environment, after->environment) == 0);
    for (int number = 1; number < SIGNALS; number++) {
        CLAIM(before->actions[number].sa_handler == after->actions[number].sa_handler);
        CLAIM(before->actions[number].sa_flags == after->actions[number].sa_flags);
    }
    CLAIM(memcmp(&before->mask, &after->mask, sizeof before->mask) == 0);
    CLAIM(before->signal_stack.ss_sp == after->signal_stack.ss_sp);
    CLAIM(before->rounding == after->rounding);
    CLAIM(before->exceptions == after->exceptions);
    CLAIM(before->mxcsr == after->mxcsr);
    CLAIM(strcmp(before->locale, after->locale) == 0);
    CLAIM(CPU_EQUAL(&before->affinity, &after->affinity));
    CLAIM(before->descriptors == after->descriptors);
    CLAIM(strcmp(before->folder, after->folder) == 0);
    CLAIM(before->umask == after->umask);
    CLAIM(before->policy == after->policy && before->nice_value == after->nice_value);
}

/* ------------------------------------------------------------------------------------------------ eight threads */

enum { THREADS = 8, ROUNDS = 4, SEEDS = 3 };

static loragen_generator *generator;
static char bits[256];

/* FNV-1a over all numbers of an adapter. */
static uint64_t digest(const loragen_adapters *adapters) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < p_loragen_adapters_tensor_count(adapters); i++) {
        loragen_tensor tensor;
        CLAIM(p_loragen_adapters_tensor(adapters, 0, i, &tensor) == LORAGEN_OK);
        const unsigned char *bytes = (const void *)tensor.data;
        for (size_t j = 0; j < tensor.count * sizeof(float); j++) { hash = (hash ^ bytes[j]) * 1099511628211u; }
    }
    return hash;
}

static uint64_t generate(uint64_t seed) {
    loragen_request request = LORAGEN_REQUEST_INIT;
    request.bits = bits;
    request.seed = seed;
    loragen_adapters *adapters;
    if (p_generate_lora(&adapters, generator, &request) != LORAGEN_OK) {
        fprintf(terminal, "%s\n", p_loragen_last_error());
        CLAIM(0 && "generate_lora");
        return 0;
    }
    const uint64_t hash = digest(adapters);
    p_loragen_adapters_free(adapters);
    return hash;
}

static void *work_in_thread(void *result) {
    uint64_t *digests = result;
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            const uint64_t hash = generate(seed);
            CLAIM(round == 0 || digests[seed] == hash);
            digests[seed] = hash;
        }
        /* This thread's error is its own. */
        char missing[64];
        snprintf(missing, sizeof missing, "/missing/%p", result);
        loragen_generator *none;
        CLAIM(p_loragen_generator_open(&none, missing) == LORAGEN_IO);
        CLAIM(strstr(p_loragen_last_error(), missing));
    }
    return NULL;
}

static void from_many_threads(void) {
    uint64_t expected[SEEDS], digests[THREADS][SEEDS];
    pthread_t threads[THREADS];
    for (uint64_t seed = 0; seed < SEEDS; seed++) { expected[seed] = generate(seed); }
    for (int i = 0; i < THREADS; i++) { pthread_create(&threads[i], NULL, work_in_thread, digests[i]); }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        CLAIM(memcmp(digests[i], expected, sizeof expected) == 0);
    }
    for (int count = 1; count <= 4; count++) {
        CLAIM(p_loragen_set_threads(count) == LORAGEN_OK && p_loragen_threads() == count);
        for (uint64_t seed = 0; seed < SEEDS; seed++) { CLAIM(generate(seed) == expected[seed]); }
    }
}

/* -------------------------------------------------------------------------------------------------------- all of it */

static void use(const char *generator_path, const char *corpus_path, const char *work) {
    loragen_corpus *corpus = NULL;
    CLAIM(p_loragen_corpus_open(&corpus, corpus_path) == LORAGEN_OK);
    char path[4096];
    snprintf(path, sizeof path, "%s/embedded.safetensors", work);
    loragen_training_options options = LORAGEN_TRAINING_OPTIONS_INIT;
    options.method = "ridge";
    CLAIM(p_loragen_train(corpus, path, &options) == LORAGEN_OK);
    p_loragen_corpus_free(corpus);

    CLAIM(p_loragen_generator_open(&generator, generator_path) == LORAGEN_OK);
    if (!generator) { return; }
    loragen_generator_info info = LORAGEN_GENERATOR_INFO_INIT;
    CLAIM(p_loragen_generator_describe(generator, &info) == LORAGEN_OK && info.condition_length < sizeof bits);
    memset(bits, '0', info.condition_length);
    bits[0] = '1';
    from_many_threads();

    loragen_request request = LORAGEN_REQUEST_INIT;
    request.bits = bits;
    loragen_adapters *adapters;
    CLAIM(p_generate_lora(&adapters, generator, &request) == LORAGEN_OK);
    for (int32_t format = LORAGEN_FORMAT_PEFT; format <= LORAGEN_FORMAT_ONNX; format++) {
        snprintf(path, sizeof path, "%s/embedded-%d", work, (int)format);
        CLAIM(p_loragen_adapters_save(adapters, 0, path, format, NULL) == LORAGEN_OK);
    }
    p_loragen_adapters_free(adapters);
    p_loragen_generator_free(generator);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s LIBRARY GENERATOR CORPUS WORK\n", argv[0]);
        return 64;
    }
    terminal = fdopen(fcntl(2, F_DUPFD_CLOEXEC, 10), "w");
    const int original_out = fcntl(1, F_DUPFD_CLOEXEC, 10);
    char captured[4096];
    snprintf(captured, sizeof captured, "%s/captured", argv[4]);
    const int capture = open(captured, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    dup2(capture, 1);
    dup2(capture, 2);

    /* An unusual mode, which the library must neither change nor be changed by. */
    fesetround(FE_TONEAREST);
    signal(SIGUSR1, SIG_IGN);
    setenv("OPENBLAS_NUM_THREADS", "3", 1);

    struct process before, opened, after;
    look(&before);
    void *library = open_library(argv[1]);
    look(&opened);
    compare(&before, &opened);
    use(argv[2], argv[3], argv[4]);
    look(&after);
    compare(&before, &after);

    /* Unloading is harmless, and so is coming back. */
    CLAIM(dlclose(library) == 0);
    usleep(20000);
    library = open_library(argv[1]);
    CLAIM(p_loragen_version()[0] == '0');
    CLAIM(p_loragen_generator_open(&generator, argv[2]) == LORAGEN_OK);
    generate(1);
    p_loragen_generator_free(generator);
    CLAIM(dlclose(library) == 0);

    fflush(NULL);
    struct stat info;
    CLAIM(fstat(capture, &info) == 0 && info.st_size == 0); /* nothing was printed */
    dup2(original_out, 1);
    if (failures == 0) { dprintf(1, "ok    is a quiet guest: threads, state of the process, dlopen and dlclose\n"); }
    return failures != 0;
}
