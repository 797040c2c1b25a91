/* loragen: LoRA adapters on demand, inside your own process.
 *
 *   loragen_generator *generator;
 *   if (loragen_generator_open(&generator, "digits.loragen.safetensors") != LORAGEN_OK) {
 *       fprintf(stderr, "%s\n", loragen_last_error());
 *       return 1;
 *   }
 *   loragen_request request = LORAGEN_REQUEST_INIT;
 *   request.bits = "0001100101";
 *   loragen_adapters *adapters;
 *   if (generate_lora(&adapters, generator, &request) == LORAGEN_OK) {
 *       loragen_adapters_save(adapters, 0, "my-adapter", LORAGEN_FORMAT_PEFT, NULL);
 *       loragen_adapters_free(adapters);
 *   }
 *   loragen_generator_free(generator);
 *
 * Conventions
 *   Ownership  The result is the first argument, a pointer to a pointer. What comes back that way is yours and has a
 *              matching _free (which accepts NULL). On failure it is set to NULL. Strings, shapes and data that a
 *              getter returns belong to the object that was asked and live exactly as long as it does.
 *   Errors     Every call that can fail returns a loragen_status. loragen_last_error() then says what was wrong, where
 *              (file, tensor, byte), and what was expected. A failed call leaves nothing half-written. Getters that
 *              return a count or a string cannot fail: they return 0 or NULL for a NULL object or an absent sample.
 *   Options    Structs that may grow start with their own size; initialise them with their _INIT macro, so that a
 *              program built against this header keeps working with a newer library. Zero or NULL means "the default"
 *              unless stated. Structs that do not start with their size never change.
 *   Threads    Any function may be called from any thread. A generator or a corpus may be used by many threads at once;
 *              a loragen_adapters may be read by many threads at once. Free an object only when nobody uses it.
 *   Results    The same request to the same file with the same seed gives the same bytes, whatever the number of
 *              threads.
 *   Manners    The library sets no environment variable, no signal handler, no global of another library, and prints
 *              nothing; see loragen_set_log().
 *   Text       All strings are UTF-8.
 */
#ifndef LORAGEN_H
#define LORAGEN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ version, errors */

#define LORAGEN_VERSION_MAJOR 0
#define LORAGEN_VERSION_MINOR 1
#define LORAGEN_VERSION_PATCH 0

/* The version of the library that is loaded, "major.minor.patch". */
const char *loragen_version(void);

typedef int32_t loragen_status;
enum {
    LORAGEN_OK = 0,
    LORAGEN_INVALID_ARGUMENT = 1, /* a null pointer, an index out of range, an unknown name, ... */
    LORAGEN_IO = 2,               /* a file could not be opened, read, written or renamed */
    LORAGEN_FORMAT = 3,           /* a file's bytes are not what its format requires */
    LORAGEN_VERSION = 4,          /* a file of another version of a format that this library knows */
    LORAGEN_UNSUPPORTED = 5,      /* valid, but not something that this library does */
    LORAGEN_MISMATCH = 6,         /* things that do not fit together: files, a condition of the wrong length, ... */
    LORAGEN_NON_FINITE = 7,       /* NaN or infinity where a finite number is required */
    LORAGEN_MEMORY = 8,           /* more memory than the caller allowed, or than there is */
    LORAGEN_CANCELLED = 9,        /* a callback asked to stop */
    LORAGEN_INTERNAL = 10         /* a defect of the library */
};

/* The name of a status: "ok", "invalid argument", ... Never NULL. */
const char *loragen_status_name(loragen_status status);

/* The message of this thread's last failed call, "" if none failed. Valid until this thread's next call. */
const char *loragen_last_error(void);

/* ------------------------------------------------------------------------------------------------ process settings */

enum { LORAGEN_LOG_DEBUG = 0, LORAGEN_LOG_INFO = 1, LORAGEN_LOG_WARNING = 2 };
typedef void (*loragen_log_callback)(int32_t level, const char *message, void *payload);

/* Sends the library's remarks to `callback`, from whichever thread makes them; NULL (the start value) drops them.
 * Do not call the library from inside the callback. One that has begun may still run when this returns. */
void loragen_set_log(loragen_log_callback callback, void *payload);

/* The most threads that one call uses, the caller's own included: 1 to 16. The start value is the number of CPUs
 * that the process may run on, 16 at most. Results do not depend on it. */
loragen_status loragen_set_threads(int32_t threads);
int32_t loragen_threads(void);

/* ------------------------------------------------------------------------------------------------ tensors, modules */

enum { LORAGEN_FLOAT32 = 0, LORAGEN_FLOAT16 = 1, LORAGEN_BFLOAT16 = 2 };

/* A tensor in place: row-major, contiguous, on the CPU, in float32. */
typedef struct loragen_tensor {
    const char *name;     /* the PEFT key, "base_model.model.<module>.lora_A.weight" */
    const int64_t *shape; /* `rank` dimensions: lora_A [r, in], lora_B [out, r] */
    int32_t rank;
    int32_t dtype; /* LORAGEN_FLOAT32 */
    const float *data;
    size_t count; /* number of elements */
} loragen_tensor;

/* One adapted module of the base model; the update of its weight is (alpha / rank) * B * A. */
typedef struct loragen_module {
    const char *name; /* path inside the base model, "vit.encoder.layer.0.attention.attention.query" */
    int32_t layer;    /* index of the layer that it belongs to, -1 if its name has none */
    int32_t rank;
    int64_t inputs;
    int64_t outputs;
    double alpha;
} loragen_module;

/* ------------------------------------------------------------------------------------------------ corpus */

/* A folder of PEFT adapters, with a manifest `corpus.jsonl` or without (then every sub-folder is an adapter and its
 * name the task), or one packed `.safetensors` file. docs/corpus.md has the schema. Adapters of different ranks are
 * accepted. */
typedef struct loragen_corpus loragen_corpus;

enum { LORAGEN_SPLIT_TRAIN = 0, LORAGEN_SPLIT_VALIDATION = 1, LORAGEN_SPLIT_TEST = 2 };

typedef struct loragen_corpus_entry {
    const char *path; /* relative to the corpus */
    const char *task;
    const char *run;        /* id of the training run that the adapter comes from */
    const char *text;       /* NULL if the manifest has none */
    const char *bits;       /* "0001100101"; NULL if the condition is not bits */
    const float *condition; /* NULL if there is none */
    size_t condition_length;
    int32_t split;
} loragen_corpus_entry;

/* Opens a corpus and checks all of it: manifest, layouts, shapes, values. The first problem is the error. */
loragen_status loragen_corpus_open(loragen_corpus **out, const char *path);

/* Checks a corpus and hands every problem to `problem` (file, line and field are in the message); returns LORAGEN_OK if
 * there is none, else the status of the first. A non-zero return of the callback stops the check. */
loragen_status loragen_corpus_check(const char *path, int32_t (*problem)(const char *message, void *payload),
                                    void *payload);

size_t loragen_corpus_count(const loragen_corpus *corpus);
loragen_status loragen_corpus_entry_at(const loragen_corpus *corpus, size_t index, loragen_corpus_entry *out);

/* Writes the corpus as PEFT folders with a manifest into `folder`, which must not exist. */
loragen_status loragen_corpus_unpack(const loragen_corpus *corpus, const char *folder);

void loragen_corpus_free(loragen_corpus *corpus);

/* ------------------------------------------------------------------------------------------------ training */

/* What a long call reports. Fields that are not known yet are NaN. */
typedef struct loragen_progress {
    size_t struct_size;
    const char *stage; /* "autoencoder", "diffusion", ... */
    int64_t step;      /* of this stage, from 1 */
    int64_t steps;
    double loss;
    double validation_skill; /* 1 - error / error of the mean adapter, on the validation tasks; of the last check */
    double best_skill;
    double steps_per_second;
    double seconds_left; /* of the whole call */
} loragen_progress;

/* Called from the thread that made the long call, ten times a second at most. Non-zero cancels: the call returns
 * LORAGEN_CANCELLED, and what it has written is a complete checkpoint or nothing. */
typedef int32_t (*loragen_progress_callback)(const loragen_progress *progress, void *payload);

typedef struct loragen_training_options {
    size_t struct_size;
    /* "cond-pdiff", or one of the baselines: "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "mlp". */
    const char *method;
    /* A preset of the method; docs/cond-pdiff.md lists them. NULL: "default". */
    const char *preset;
    /* A JSON object that overrides single settings of the preset, {"steps": 4000}; NULL: none. */
    const char *settings;
    uint64_t seed;
    /* The most memory in bytes that training may hold; a preset that needs more is refused before it starts. 0: no
     * limit. */
    uint64_t memory_limit;
    /* A file that holds the state of an unfinished training. If it exists the training goes on from it, to the same
     * bytes as one that was never interrupted. It is removed at the end. NULL: none. */
    const char *checkpoint;
    /* Seconds between two checkpoints. 0: 30. */
    double checkpoint_seconds;
    loragen_progress_callback progress;
    void *payload;
} loragen_training_options;

#define LORAGEN_TRAINING_OPTIONS_INIT \
    {sizeof(loragen_training_options), "cond-pdiff", NULL, NULL, 0, 0, NULL, 0, NULL, NULL}

/* Trains a generator on the training tasks of a corpus, chooses by its validation tasks, measures the report on its
 * test tasks, and writes the generator to `path`. `options` may be NULL. */
loragen_status loragen_train(const loragen_corpus *corpus, const char *path, const loragen_training_options *options);

/* ------------------------------------------------------------------------------------------------ generator */

typedef struct loragen_generator loragen_generator;

enum { LORAGEN_CONDITION_NONE = 0, LORAGEN_CONDITION_VECTOR = 1, LORAGEN_CONDITION_BITS = 2 };

typedef struct loragen_generator_info {
    size_t struct_size;
    const char *method;
    const char *preset;
    const char *base_model;  /* as the adapters of the corpus name it; NULL if they do not */
    int32_t condition_kind;  /* LORAGEN_CONDITION_... */
    size_t condition_length; /* numbers, or bits */
    size_t module_count;
    size_t tensor_count;
    size_t value_count; /* numbers in one adapter */
    const char *sampler; /* what generate_lora() uses unless told otherwise; NULL for methods without one */
    int32_t steps;
    float guidance;
    const char *hash; /* SHA-256 of the file's tensors and settings, in hex */
} loragen_generator_info;

#define LORAGEN_GENERATOR_INFO_INIT {sizeof(loragen_generator_info), NULL, NULL, NULL, 0, 0, 0, 0, 0, NULL, 0, 0, NULL}

/* Opens a trained generator. The file is mapped, not read; it must not change while it is open. */
loragen_status loragen_generator_open(loragen_generator **out, const char *path);
loragen_status loragen_generator_describe(const loragen_generator *generator, loragen_generator_info *out);
loragen_status loragen_generator_module(const loragen_generator *generator, size_t index, loragen_module *out);

/* What was measured on held-out tasks when the generator was trained, as JSON; docs/report.md explains each number. */
const char *loragen_generator_report(const loragen_generator *generator);

void loragen_generator_free(loragen_generator *generator);

/* ------------------------------------------------------------------------------------------------ generate_lora() */

typedef struct loragen_request {
    size_t struct_size;
    const float *condition; /* a vector; or NULL, and then `bits` */
    size_t condition_length;
    const char *bits; /* "0001100101", one character a bit; or NULL */
    uint64_t seed;
    int32_t samples;     /* adapters to draw; sample i depends on the seed and on i alone. 0: 1 */
    int32_t steps;       /* of the sampler. 0: the generator's own */
    float guidance;      /* 0 ignores the condition, 1 follows it, more exaggerates it. Negative: the generator's own */
    const char *sampler; /* "ddpm", "ddim", "dpm-solver++". NULL: the generator's own */
    loragen_progress_callback progress;
    void *payload;
} loragen_request;

#define LORAGEN_REQUEST_INIT {sizeof(loragen_request), NULL, 0, NULL, 0, 1, 0, -1.0f, NULL, NULL, NULL}

/* One or more adapters of one layout, in memory. */
typedef struct loragen_adapters loragen_adapters;

/* Draws adapters for a condition. */
loragen_status generate_lora(loragen_adapters **out, const loragen_generator *generator,
                             const loragen_request *request);

enum {
    LORAGEN_FORMAT_PEFT = 0,        /* a folder: adapter_config.json and adapter_model.safetensors */
    LORAGEN_FORMAT_SAFETENSORS = 1, /* one file with the same keys, layout and origin in its metadata */
    LORAGEN_FORMAT_ONNX = 2         /* one file: the tensors as initializers, IR 8, opset 17 */
};

typedef struct loragen_file_options {
    size_t struct_size;
    int32_t format; /* LORAGEN_FORMAT_PEFT or LORAGEN_FORMAT_SAFETENSORS */
    int32_t dtype;
    int32_t keep_alpha;
    int32_t sample; /* which sample of the request; its field `samples` is not looked at */
    /* The most memory in bytes that the call may hold, beside the generator's mapped file, which the system reads and
     * drops as it sees fit. 0: no limit. LORAGEN_MEMORY when the method cannot do with so little. */
    uint64_t memory_limit;
} loragen_file_options;

#define LORAGEN_FILE_OPTIONS_INIT {sizeof(loragen_file_options), LORAGEN_FORMAT_PEFT, LORAGEN_FLOAT32, 0, 0, 0}

/* Draws one adapter for a condition and writes it while it is made: the bytes that generate_lora() and
 * loragen_adapters_save() give, whatever the memory. A file at `path` is replaced as a whole or left as it is, as in
 * loragen_adapters_save(). Methods that make an adapter piece by piece ("rpg") never hold it as a whole. `options` may be
 * NULL. */
loragen_status loragen_generate_file(const loragen_generator *generator, const loragen_request *request,
                                     const char *path, const loragen_file_options *options);

/* Reads an adapter from a PEFT folder or from a .safetensors file that this library wrote. */
loragen_status loragen_adapters_open(loragen_adapters **out, const char *path);

size_t loragen_adapters_count(const loragen_adapters *adapters);
size_t loragen_adapters_tensor_count(const loragen_adapters *adapters);
size_t loragen_adapters_module_count(const loragen_adapters *adapters);
loragen_status loragen_adapters_tensor(const loragen_adapters *adapters, size_t sample, size_t index,
                                       loragen_tensor *out);
loragen_status loragen_adapters_module(const loragen_adapters *adapters, size_t index, loragen_module *out);

/* Where the adapter comes from, as JSON: generator, method, seed, condition, nearest training adapters and distance.
 * NULL if the file that it was opened from does not say. */
const char *loragen_adapters_origin(const loragen_adapters *adapters, size_t sample);

/* A DLPack tensor of the same memory (struct DLManagedTensor of dlpack.h, version 0.8, which is not needed to include
 * this header). It keeps the memory alive after loragen_adapters_free(); its consumer calls its deleter. */
struct DLManagedTensor;
loragen_status loragen_adapters_dlpack(struct DLManagedTensor **out, const loragen_adapters *adapters, size_t sample,
                                       size_t index);

typedef struct loragen_save_options {
    size_t struct_size;
    int32_t dtype; /* LORAGEN_FLOAT32, LORAGEN_FLOAT16 or LORAGEN_BFLOAT16 */
    /* Keep the layout's alpha in the file, instead of alpha = rank with the scale inside B, which every host reads
     * alike. */
    int32_t keep_alpha;
} loragen_save_options;

#define LORAGEN_SAVE_OPTIONS_INIT {sizeof(loragen_save_options), LORAGEN_FLOAT32, 0}

/* Writes one sample. A file at `path` is replaced as a whole, or left as it is; in a folder that exists the adapter's
 * own files are replaced one by one, weights first, and others stay. `options` may be NULL. */
loragen_status loragen_adapters_save(const loragen_adapters *adapters, size_t sample, const char *path, int32_t format,
                                     const loragen_save_options *options);

void loragen_adapters_free(loragen_adapters *adapters);

#ifdef __cplusplus
}
#endif
#endif
