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
 *   Memory     Sizes are computed before memory is taken, and what the process cannot have (of the machine, its control
 *              group, its address space) is LORAGEN_MEMORY; so is any call that takes memory when less than 48 MiB could
 *              be mapped (and, once, 128 MiB of addresses for products of matrices, which take memory as they are used).
 *              An allocation of numbers, a file's mapping or a thread that fails once in the middle of a call is tried
 *              again, done without, or LORAGEN_MEMORY. What no library can promise: small objects are made by Swift's
 *              runtime, which ends the process when malloc() fails, as it can when another thread takes the rest in the
 *              middle of a call; so does training, generating and the doctor's arithmetic where numbers find no memory
 *              even when asked for twice; and where the system has promised more than there is, it ends a process
 *              without asking.
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

/* What calls can name, as JSON: "methods" with their presets, the default first; "spaces", "samplers", kinds of
 * "conditions", "formats" with their suffixes, and the "hosts" that loragen_verify() knows. */
const char *loragen_names(void);

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

/* The message of this thread's last failed call, "" if none failed. It stays, calls that succeed in between or not, until
 * the thread's next failed call writes over it, or the thread ends; copy it if you keep it. */
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

enum {
    LORAGEN_FLOAT32 = 0,
    LORAGEN_FLOAT16 = 1,
    LORAGEN_BFLOAT16 = 2,
    LORAGEN_Q8_0 = 3 /* GGUF files only: 8 bits and a scale for each 32 numbers */
};

/* A tensor in place: row-major, contiguous, on the CPU, in float32. */
typedef struct loragen_tensor {
    const char *name;     /* the PEFT key, "base_model.model.<module>.lora_A.weight" */
    const int64_t *shape; /* `rank` dimensions: lora_A [r, in], lora_B [out, r]; of a convolution [r, in, kernel...] */
    int32_t rank;
    int32_t dtype; /* LORAGEN_FLOAT32 */
    const float *data;
    size_t count; /* number of elements */
} loragen_tensor;

/* One adapted module of the base model; the update of its weight is (alpha / rank) * B * A, transposed for embeddings and
 * for layers that keep their weight as [in, out]. With DoRA a tensor `lora_magnitude_vector` belongs to it too. */
typedef struct loragen_module {
    const char *name; /* path inside the base model, "vit.encoder.layer.0.attention.attention.query" */
    int32_t layer;    /* index of the layer that it belongs to, -1 if its name has none */
    int32_t rank;
    int64_t inputs;
    int64_t outputs;
    double alpha;
} loragen_module;

/* ------------------------------------------------------------------------------------------------ corpus */

/* A folder of adapters with a manifest `corpus.jsonl`, which may list PEFT folders and files in any format that
 * loragen_adapters_open() reads; or without one (then every folder below it that has an adapter_config.json is an adapter
 * and its name the task); or one packed `.safetensors` file. docs/corpus.md has the schema. Adapters of different ranks
 * are accepted. */
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

/* Opens a corpus and checks all of it: manifest, layouts, shapes, values. The first problem is the error. What does not
 * stop training but should be known before (no conditions, nothing held out, adapters that were left out) goes to the
 * log as warnings, here and in loragen_corpus_check(). */
loragen_status loragen_corpus_open(loragen_corpus **out, const char *path);

/* Checks a corpus and hands every problem to `problem` (file, line and field are in the message); returns LORAGEN_OK if
 * there is none, else the status of the first. A non-zero return of the callback stops the check; so does LORAGEN_MEMORY,
 * which is no problem of the corpus and not handed on. */
loragen_status loragen_corpus_check(const char *path, int32_t (*problem)(const char *message, void *payload),
                                    void *payload);

size_t loragen_corpus_count(const loragen_corpus *corpus);
loragen_status loragen_corpus_entry_at(const loragen_corpus *corpus, size_t index, loragen_corpus_entry *out);

/* Drafts a manifest for a folder of PEFT adapters that has none: a line for each, task and run by the folders' names,
 * bits where all names are bits, and else null where a condition belongs; a tenth of the tasks for validation and a tenth
 * for the test, by a hash of `seed` and task. A manifest that exists is never replaced: LORAGEN_IO. For adapters in other
 * formats, and for what lies beside them, there is loragen_corpus_import(). */
loragen_status loragen_corpus_init(const char *folder, uint64_t seed);

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
    /* "cond-pdiff", "rpg", or a baseline: "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "mlp". */
    const char *method;
    /* A preset of the method. NULL: "default". Of cond-pdiff (docs/cond-pdiff.md): "default", "nlp", "nlp-small",
     * "vision", "pdiff"; of rpg (docs/rpg.md): "default", "tiny", "small", "base", "large", "conditional"; of the
     * baselines (docs/report.md): "default", which learns updates of the base model, and "factors", which learns A and B
     * as they were trained. */
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
    /* For conditions in words or by pictures (docs/encoders.md): loragen_encoder_open(), loragen_image_encoder_open(). The
     * generator is asked with the same. The vectors that they make are kept in a file beside the corpus. NULL: none. */
    const struct loragen_encoder *encoder;
    const struct loragen_image_encoder *image_encoder;
    /* Which field of the manifest the generator is asked by: "conditions" (or "bits", "condition"), "text", "images", "none".
     * NULL: the first of them, if any; LORAGEN_INVALID_ARGUMENT when that takes an encoder and there is none. */
    const char *condition;
} loragen_training_options;

#define LORAGEN_TRAINING_OPTIONS_INIT \
    {sizeof(loragen_training_options), "cond-pdiff", NULL, NULL, 0, 0, NULL, 0, NULL, NULL, NULL, NULL, NULL}

/* Trains a generator on the training tasks of a corpus, chooses by its validation tasks, measures the report on its
 * test tasks, and writes the generator to `path`. `options` may be NULL. What is plainly wrong with the result, a negative
 * skill or adapters of another norm than the real ones, goes to the log as a warning and into the report. */
loragen_status loragen_train(const loragen_corpus *corpus, const char *path, const loragen_training_options *options);

/* ------------------------------------------------------------------------------------------------ generator */

typedef struct loragen_generator loragen_generator;

/* What a generator takes. LORAGEN_CONDITION_PARTS: several parts, or a kind without a number of its own here;
 * loragen_generator_condition() describes each part of any of them. */
enum {
    LORAGEN_CONDITION_NONE = 0,
    LORAGEN_CONDITION_VECTOR = 1,
    LORAGEN_CONDITION_BITS = 2,
    LORAGEN_CONDITION_PARTS = 3
};

typedef struct loragen_generator_info {
    size_t struct_size;
    const char *method;
    const char *preset;
    const char *base_model;  /* as the adapters of the corpus name it; NULL if they do not */
    int32_t condition_kind;  /* LORAGEN_CONDITION_... */
    size_t condition_length; /* numbers, or bits, of all parts */
    size_t module_count;
    size_t tensor_count;
    size_t value_count; /* numbers in one adapter */
    const char *sampler; /* what generate_lora() uses unless told otherwise; NULL for methods without one */
    int32_t steps;
    float guidance;
    const char *hash; /* SHA-256 of the file's tensors and settings, in hex */
    size_t condition_count; /* parts of a condition: loragen_generator_condition(); 0 if it takes none */
} loragen_generator_info;

#define LORAGEN_GENERATOR_INFO_INIT {sizeof(loragen_generator_info), NULL, NULL, NULL, 0, 0, 0, 0, 0, NULL, 0, 0, NULL, 0}

/* One part of the condition that a generator takes. */
typedef struct loragen_condition_info {
    size_t struct_size;
    const char *name; /* as the corpus' manifest names it; its kind where that gives it no name */
    const char *kind; /* "vector", "bits", "text", "images" */
    size_t length;    /* numbers that a value of it becomes: those of a vector, the bits, those of the encoder */
    /* Of texts and images: the encoder that they go through, as JSON, as loragen_encoder_json() gives it. Else NULL */
    const char *encoder;
} loragen_condition_info;

#define LORAGEN_CONDITION_INFO_INIT {sizeof(loragen_condition_info), NULL, NULL, 0, NULL}

typedef struct loragen_generator_options {
    size_t struct_size;
    /* For conditions in words or by pictures: the encoders that the generator was trained with, which others, told by their
     * identity, are not taken for: LORAGEN_MISMATCH. The generator keeps them; the handles may be freed. Without them it
     * takes the vectors that they would make. NULL: none. */
    const struct loragen_encoder *encoder;
    const struct loragen_image_encoder *image_encoder;
} loragen_generator_options;

#define LORAGEN_GENERATOR_OPTIONS_INIT {sizeof(loragen_generator_options), NULL, NULL}

/* Opens a trained generator. The file is mapped, not read; it must not change while it is open. */
loragen_status loragen_generator_open(loragen_generator **out, const char *path);
loragen_status loragen_generator_open_with(loragen_generator **out, const char *path,
                                           const loragen_generator_options *options);
loragen_status loragen_generator_describe(const loragen_generator *generator, loragen_generator_info *out);
loragen_status loragen_generator_module(const loragen_generator *generator, size_t index, loragen_module *out);
loragen_status loragen_generator_condition(const loragen_generator *generator, size_t index,
                                           loragen_condition_info *out);

/* Reads all of the file, which opening does not, and compares it with its hash: LORAGEN_FORMAT when a byte of its tensors
 * or settings is not the one that was written. */
loragen_status loragen_generator_check(const loragen_generator *generator);

/* What was measured on held-out tasks when the generator was trained, as JSON; docs/report.md explains each number. */
const char *loragen_generator_report(const loragen_generator *generator);

/* The same for people; with `brief` the skills and the verdict alone. */
const char *loragen_generator_report_text(const loragen_generator *generator, int32_t brief);

void loragen_generator_free(loragen_generator *generator);

/* ------------------------------------------------------------------------------------------------ generate_lora() */

/* A value for one part of a condition. A part of texts, images or vectors may be given several times: the mean counts. */
typedef struct loragen_condition {
    const char *name; /* of the part; NULL where the generator has one that takes such a value, and no other */
    const char *kind; /* "vector", "bits", "text", "images": what `data` is */
    /* "vector": floats, which every part takes; any other: bytes: the 0110 of bits, a text in UTF-8, a PNG, JPEG or WebP
     * file in memory */
    const void *data;
    size_t size; /* floats, or bytes without a zero at the end */
} loragen_condition;

typedef struct loragen_request {
    size_t struct_size;
    const float *condition; /* a vector; or NULL, and then `bits` or `conditions` */
    size_t condition_length;
    const char *bits; /* "0001100101", one character a bit; or NULL */
    uint64_t seed;
    int32_t samples;     /* adapters to draw; sample i depends on the seed and on i alone. 0: 1 */
    /* Of the sampler, at most those of the generator's noise schedule; "ddpm" takes all of them. 0: the generator's own */
    int32_t steps;
    float guidance;      /* 0 ignores the condition, 1 follows it, more exaggerates it. Negative: the generator's own */
    const char *sampler; /* "ddpm", "ddim", "dpm-solver++". NULL: the generator's own */
    loragen_progress_callback progress;
    void *payload;
    /* Of a generator of compact adapters, which become ordinary ones with it: loragen_basis_open(). Else NULL */
    const struct loragen_basis *basis;
    const loragen_condition *conditions; /* values for each part, in any order; or NULL, and then one of those above */
    size_t condition_count;
} loragen_request;

#define LORAGEN_REQUEST_INIT {sizeof(loragen_request), NULL, 0, NULL, 0, 1, 0, -1.0f, NULL, NULL, NULL, NULL, NULL, 0}

/* One or more adapters of one layout, in memory. */
typedef struct loragen_adapters loragen_adapters;

/* Draws adapters for a condition. A condition far from every training task's, or an adapter far from every training
 * adapter, is a warning in the log, and shows in loragen_adapters_origin(). */
loragen_status generate_lora(loragen_adapters **out, const loragen_generator *generator,
                             const loragen_request *request);

/* Reads an adapter: a PEFT or mlx-lm folder, a GGUF, .onnx_adapter, diffusers or kohya file of any origin, or a
 * .safetensors, .onnx or .npz file that this library wrote. The file's first bytes tell which. */
loragen_status loragen_adapters_open(loragen_adapters **out, const char *path);

/* The same, with the base model where a format needs it; `base` is what loragen_save_options says of it, or NULL. */
loragen_status loragen_adapters_open_for(loragen_adapters **out, const char *path, const char *base);

size_t loragen_adapters_count(const loragen_adapters *adapters);
size_t loragen_adapters_tensor_count(const loragen_adapters *adapters);
size_t loragen_adapters_module_count(const loragen_adapters *adapters);
loragen_status loragen_adapters_tensor(const loragen_adapters *adapters, size_t sample, size_t index,
                                       loragen_tensor *out);
loragen_status loragen_adapters_module(const loragen_adapters *adapters, size_t index, loragen_module *out);

/* Where the adapter comes from, as JSON: generator, method, seed, condition, norm of the updates, nearest training adapters
 * and distance, how far the condition is from those of the training tasks. docs/embedding.md has the fields. NULL if the
 * file that it was opened from does not say. */
const char *loragen_adapters_origin(const loragen_adapters *adapters, size_t sample);

/* A DLPack tensor of the same memory (struct DLManagedTensor of dlpack.h, version 0.8, which is not needed to include
 * this header). It keeps the memory alive after loragen_adapters_free(); its consumer calls its deleter. */
struct DLManagedTensor;
loragen_status loragen_adapters_dlpack(struct DLManagedTensor **out, const loragen_adapters *adapters, size_t sample,
                                       size_t index);

enum {
    /* What the suffix of the path says: .safetensors, .onnx, .gguf, .onnx_adapter, .npz; a path without one is a PEFT
     * folder, and one with another is refused. */
    LORAGEN_FORMAT_BY_SUFFIX = -1,
    LORAGEN_FORMAT_PEFT = 0,        /* a folder: adapter_config.json and adapter_model.safetensors */
    LORAGEN_FORMAT_SAFETENSORS = 1, /* one file with the same keys, layout and origin in its metadata */
    LORAGEN_FORMAT_ONNX = 2,        /* one file: the tensors as initializers, IR 8, opset 17 */
    LORAGEN_FORMAT_DIFFUSERS = 3,   /* one file for a diffusers pipeline: "unet.<module>.lora_A.weight", ... */
    LORAGEN_FORMAT_KOHYA = 4,       /* one file with kohya's names, for ComfyUI, A1111, Forge and diffusers */
    LORAGEN_FORMAT_GGUF = 5,        /* one file for llama.cpp */
    LORAGEN_FORMAT_ONNX_ADAPTER = 6, /* one file for ONNX Runtime's LoraAdapter and ONNX Runtime GenAI */
    LORAGEN_FORMAT_NPZ = 7          /* one file for numpy.load */
};

/* How the parameters of an .onnx_adapter file are called. */
enum {
    /* "model.layers.0.self_attn.q_proj.lora_A.weight", A [in, r] and B [r, out], as models that Olive or
     * loragen_apply() prepared have their inputs. */
    LORAGEN_NAMING_OLIVE = 0,
    LORAGEN_NAMING_PEFT = 1 /* the PEFT key, A [r, in] and B [out, r] */
};

typedef struct loragen_save_options {
    size_t struct_size;
    int32_t dtype; /* LORAGEN_FLOAT32, LORAGEN_FLOAT16, LORAGEN_BFLOAT16; for GGUF also LORAGEN_Q8_0 */
    /* Keep the layout's alpha in the file, instead of alpha = rank with the scale inside B, which every host reads
     * alike. */
    int32_t keep_alpha;
    /* For GGUF, which depends on the base model: its GGUF file, its config.json or the folder of it, or a text such as
     * "architecture=llama,heads=32,kv-heads=8" (and permute=yes|no, tied=yes|no, experts=8). */
    const char *base;
    int32_t naming; /* LORAGEN_NAMING_..., for LORAGEN_FORMAT_ONNX_ADAPTER */
    /* Write only what every host of language models loads and computes alike, and refuse anything else with the reason:
     * q, k, v, o, gate, up and down projections, zeros in layers that have none, and a rank of 8, 16, 32, 64, ... */
    int32_t portable;
    int32_t layers; /* of the base model, for `portable`. 0: as many as the adapter reaches */
    /* The diffusion model, for LORAGEN_FORMAT_KOHYA: "sd1", "sdxl" or "flux". NULL: what the modules say */
    const char *model;
} loragen_save_options;

#define LORAGEN_SAVE_OPTIONS_INIT \
    {sizeof(loragen_save_options), LORAGEN_FLOAT32, 0, NULL, LORAGEN_NAMING_OLIVE, 0, 0, NULL}

/* Writes one sample. A file at `path` is replaced as a whole, or left as it is; so are the adapter's own files in a folder
 * that exists, and others stay (where it holds folders, or is a link, one by one, weights first). What the sample was
 * read from, or the file of its generator, is never written over, whatever links lead there: LORAGEN_INVALID_ARGUMENT, as
 * for every call that reads one path and writes another. `options` may be NULL. */
loragen_status loragen_adapters_save(const loragen_adapters *adapters, size_t sample, const char *path, int32_t format,
                                     const loragen_save_options *options);

typedef struct loragen_file_options {
    size_t struct_size;
    int32_t format; /* with a limit, LORAGEN_FORMAT_PEFT or LORAGEN_FORMAT_SAFETENSORS */
    int32_t dtype;
    int32_t keep_alpha;
    int32_t sample; /* which sample of the request; its field `samples` is not looked at */
    /* The most memory in bytes that the call may hold, beside the generator's mapped file, which the system reads and
     * drops as it sees fit. 0: no limit. LORAGEN_MEMORY when the method cannot do with so little. */
    uint64_t memory_limit;
    const loragen_save_options *save; /* how to write it, in place of dtype and keep_alpha; or NULL */
} loragen_file_options;

#define LORAGEN_FILE_OPTIONS_INIT \
    {sizeof(loragen_file_options), LORAGEN_FORMAT_BY_SUFFIX, LORAGEN_FLOAT32, 0, 0, 0, NULL}

/* Draws one adapter for a condition and writes it while it is made: the bytes that generate_lora() and
 * loragen_adapters_save() give, whatever the memory. A file at `path` is replaced as a whole or left as it is, as in
 * loragen_adapters_save(). Methods that make an adapter piece by piece ("rpg") never hold it as a whole. Other formats than
 * PEFT's and safetensors, and `portable`, need it in memory: with a limit they are refused. `options` may be NULL. */
loragen_status loragen_generate_file(const loragen_generator *generator, const loragen_request *request,
                                     const char *path, const loragen_file_options *options);

void loragen_adapters_free(loragen_adapters *adapters);

/* ------------------------------------------------------------------------------------------------ verify */

/* What a check of an adapter found. */
typedef struct loragen_verification loragen_verification;

/* Checks the adapter at `adapter`, in any format, before it leaves: names and shapes against the base model at `base`
 * (its folder, config.json, .safetensors file or index of shards, GGUF or ONNX file, a diffusers pipeline's folder; never
 * its weights), missing layers, tied embeddings, numbers that are not finite, products that are zero, what each host
 * does with its scale, and whether its norm is one of the adapters of the corpus at `corpus`. `base` and `corpus` may be
 * NULL. An adapter that is no good is a finding, and LORAGEN_OK; files that cannot be read are a failure. */
loragen_status loragen_verify(loragen_verification **out, const char *adapter, const char *base, const char *corpus);

/* Findings by which a host would refuse the adapter or compute something else; and those that some host would. */
size_t loragen_verification_errors(const loragen_verification *verification);
size_t loragen_verification_warnings(const loragen_verification *verification);

/* All findings and every host's verdict, each with how to mend it: lines for people, and JSON; docs/hosts.md has the
 * fields. */
const char *loragen_verification_text(const loragen_verification *verification);
const char *loragen_verification_json(const loragen_verification *verification);

void loragen_verification_free(loragen_verification *verification);

/* ------------------------------------------------------------------------------------------------ convert, apply */

/* Takes a remark, before anything is written. Non-zero cancels. */
typedef int32_t (*loragen_note_callback)(const char *message, void *payload);

typedef struct loragen_convert_options {
    size_t struct_size;
    const loragen_save_options *save; /* NULL: the defaults */
    int32_t lossy;                    /* write even where numbers change by more than rounding (Q8_0) */
    loragen_note_callback note;       /* is told what the new file does not have, a sentence a call; or NULL */
    void *payload;
    /* Read the LoRA part of an adapter that has more (a trained head, modules_to_save, biases); the note says what was
     * left out. A copy of the base model's own weights is left out unasked where the base is at hand. */
    int32_t lora_only;
    int32_t rank; /* cut each update to the best of this rank; the note says what of it is kept. 0: as it is */
} loragen_convert_options;

#define LORAGEN_CONVERT_OPTIONS_INIT {sizeof(loragen_convert_options), NULL, 0, NULL, NULL, 0, 0}

/* Reads the adapter at `source` in any format and writes it to `target` in another, which may not be one of the files
 * that it is read from. PEFT's VeRA, LoHa and LoKr become LoRA without forming their updates, exactly unless a rank is
 * given; VeRA needs the base model's weights (`base` of the save options). `options` may be NULL. */
loragen_status loragen_convert(const char *source, const char *target, int32_t format,
                               const loragen_convert_options *options);

enum {
    /* The weights become weight + scale * update, each rounded once. `model` is a .safetensors file, a folder of them
     * (sharded or not) or an .onnx file. */
    LORAGEN_APPLY_MERGE = 0,
    LORAGEN_APPLY_UNMERGE = 1, /* weight - scale * update: the model before, up to the rounding of its weights */
    /* .onnx: the layers get nodes that add the update; weights stay as they are, quantised ones too. */
    LORAGEN_APPLY_INJECT = 2,
    /* The same with optional inputs in place of numbers: without an adapter the model computes what it did, and any
     * .onnx_adapter file of the same modules can be given to a run. */
    LORAGEN_APPLY_INPUTS = 3,
    LORAGEN_APPLY_REMOVE = 4 /* takes out what INJECT or INPUTS put in: the same bytes as before; `adapter` is NULL */
};

typedef struct loragen_apply_options {
    size_t struct_size;
    int32_t mode;     /* LORAGEN_APPLY_... */
    double scale;     /* times the adapter's own; 1 */
    const char *base; /* for an adapter whose format needs it, as in loragen_save_options; or NULL */
    loragen_note_callback note;
    void *payload;
    int32_t lora_only; /* as in loragen_convert_options */
    const char *basis; /* of a compact adapter: the basis file of its base model; or NULL */
} loragen_apply_options;

#define LORAGEN_APPLY_OPTIONS_INIT {sizeof(loragen_apply_options), LORAGEN_APPLY_MERGE, 1.0, NULL, NULL, NULL, 0, NULL}

/* Applies the adapter at `adapter` (any format) to the model at `model` and writes the model to `target`, a file or folder
 * like it and never one of those that are read. The memory that it takes is the adapter's and a part of one weight's.
 * `options` may be NULL. */
loragen_status loragen_apply(const char *model, const char *adapter, const char *target,
                             const loragen_apply_options *options);

/* ------------------------------------------------------------------------------------------------ compact adapters */

/* One number per direction of the base model's own weights: W' = W + left * diag(delta) * right, with directions that
 * are computed once for a base model (a basis file) and shared by all its adapters. docs/compact.md has the methods,
 * the files and what to expect of them. */
typedef struct loragen_basis loragen_basis;

typedef struct loragen_basis_options {
    size_t struct_size;
    const char *method; /* "svfit": the largest singular triplets; "loldu": partial LU with pivots. NULL: "svfit" */
    int32_t rank;       /* directions of each weight, at most as many as it has. 0: all of them */
    /* Modules by names or last components, commas between: "q_proj,v_proj". NULL: every linear layer and convolution
     * but embeddings and output layers. */
    const char *targets;
    const char *prefix; /* before the checkpoint's names to get those of the model's modules, "transformer."; or NULL */
    double tolerance;   /* svfit: the largest |Wv - su| / s at which the iteration stops. 0: 1e-5 */
    int32_t dtype;      /* of the written factors: LORAGEN_FLOAT32, LORAGEN_FLOAT16 or LORAGEN_BFLOAT16 */
    /* The most memory in bytes that the call may hold, beside the mapped weights. 0: what the process can have. */
    uint64_t memory_limit;
    /* A folder for finished modules. If it exists the call goes on from there; it is removed at the end. NULL: none. */
    const char *checkpoint;
    const char *pivots; /* loldu: a basis or compact adapter whose pivots are taken instead of searched; or NULL */
    loragen_progress_callback progress; /* `stage` is the module, `step` the modules that are done */
    void *payload;
} loragen_basis_options;

#define LORAGEN_BASIS_OPTIONS_INIT \
    {sizeof(loragen_basis_options), "svfit", 16, NULL, NULL, 0, LORAGEN_FLOAT32, 0, NULL, NULL, NULL, NULL}

/* Computes the basis of the weights at `base`, a .safetensors file or a folder of them (sharded too; F32, F16, BF16),
 * and writes it to `path`. Weights are read in parts, several modules at once. `options` may be NULL. */
loragen_status loragen_basis_compute(const char *base, const char *path, const loragen_basis_options *options);

/* Opens a basis file. It is mapped, not read; it must not change while it is open. */
loragen_status loragen_basis_open(loragen_basis **out, const char *path);

/* Reads the base model's weights and compares their fingerprints: LORAGEN_MISMATCH when one is another. */
loragen_status loragen_basis_check(const loragen_basis *basis, const char *base);

size_t loragen_basis_module_count(const loragen_basis *basis);
loragen_status loragen_basis_module(const loragen_basis *basis, size_t index, loragen_module *out);

/* Reads one module's factors into the caller's memory: `left` [outputs, rank] and `right` [rank, columns], row-major,
 * and `sigma` [rank], what the weight itself has along each direction: singular values or pivots. Columns are the
 * inputs, times the kernel of a convolution: loragen_basis_columns(). Any of the three may be NULL. */
size_t loragen_basis_columns(const loragen_basis *basis, size_t index);
loragen_status loragen_basis_factors(const loragen_basis *basis, size_t index, float *left, float *sigma, float *right);

/* Method, base model, and of each module rank, fingerprint, residual and gap, as JSON. */
const char *loragen_basis_json(const loragen_basis *basis);

void loragen_basis_free(loragen_basis *basis);

/* An adapter of these numbers. */
typedef struct loragen_compact loragen_compact;

/* Makes one from its numbers, module by module in the basis' order. `rank`: the first directions of each; 0: all. */
loragen_status loragen_compact_create(loragen_compact **out, const loragen_basis *basis, const float *deltas,
                                      size_t count, int32_t rank);
loragen_status loragen_compact_open(loragen_compact **out, const char *path);

enum { LORAGEN_COORDINATES_ABSOLUTE = 0, LORAGEN_COORDINATES_RELATIVE = 1 /* delta / sigma */ };

/* Writes a compact adapter's file: its numbers, fingerprints of the base, and a signature of the directions. */
loragen_status loragen_compact_save(const loragen_compact *compact, const char *path, int32_t coordinates);

/* Its numbers, module by module, and how many. */
const float *loragen_compact_deltas(const loragen_compact *compact);
size_t loragen_compact_count(const loragen_compact *compact);

/* Method, base model, and of each module rank, norm and largest relative change, as JSON. */
const char *loragen_compact_json(const loragen_compact *compact);

typedef struct loragen_expand_options {
    size_t struct_size;
    int32_t rank; /* cut the update of each module to this rank, the best of that rank. 0: as it is */
    double limit; /* a trust region: no number changes more than this share of what the weight has. 0: none */
    const loragen_save_options *save; /* for loragen_compact_expand_file(); or NULL */
} loragen_expand_options;

#define LORAGEN_EXPAND_OPTIONS_INIT {sizeof(loragen_expand_options), 0, 0, NULL}

/* The same update as an ordinary adapter of rank r on the unchanged base model, exactly. The basis of another model, or
 * other directions of the same, are refused: LORAGEN_MISMATCH. `options` may be NULL. */
loragen_status loragen_compact_expand(loragen_adapters **out, const loragen_compact *compact,
                                      const loragen_basis *basis, const loragen_expand_options *options);

/* Expands and writes, in memory for one module where the format allows that (PEFT folders, safetensors). */
loragen_status loragen_compact_expand_file(const loragen_compact *compact, const loragen_basis *basis, const char *path,
                                           int32_t format, const loragen_expand_options *options);

/* What of an ordinary adapter the directions hold, by least squares. `captured`, or NULL, becomes the share of
 * its energy |dW|^2 that is kept. Less than `least` is refused, LORAGEN_UNSUPPORTED: an adapter that was not trained on
 * these directions is at chance there. Negative: 0.5. */
loragen_status loragen_compact_project(loragen_compact **out, const loragen_adapters *adapters, size_t sample,
                                       const loragen_basis *basis, double least, double *captured);

/* PEFT's PSOFT as a container of svfit, up to rank 64: a folder that stock PEFT loads and trains on, at the price of a full
 * SVD of each weight when it does. Reading needs the basis; a PSOFT that is more than a diagonal is LORAGEN_UNSUPPORTED,
 * for it depends on the signs that one SVD routine happened to give. */
loragen_status loragen_compact_save_psoft(const loragen_compact *compact, const char *path);
loragen_status loragen_compact_open_psoft(loragen_compact **out, const char *path, const loragen_basis *basis);

/* svfit: all but the `count` largest numbers of each module become 0. `lost` (or NULL): the share of |dW|^2. */
loragen_status loragen_compact_truncate(loragen_compact **out, const loragen_compact *compact, size_t count,
                                        double *lost);

void loragen_compact_free(loragen_compact *compact);

/* Whether a generator was trained on compact adapters (files of them in a corpus' manifest), and so makes them: it holds no
 * directions, and generate_lora() needs the request's `basis`. */
int32_t loragen_generator_is_compact(const loragen_generator *generator);

/* Draws one compact adapter; the basis is not needed. `sample` is that of generate_lora(); the request's own number of
 * samples is not looked at. LORAGEN_UNSUPPORTED for other generators. */
loragen_status loragen_generate_compact(loragen_compact **out, const loragen_generator *generator,
                                        const loragen_request *request, int32_t sample);

/* ------------------------------------------------------------------------------------------------ encoders */

/* An encoder of texts: a folder of Hugging Face's with config.json, safetensors (F32, F16, BF16) and tokenizer files.
 * BERT, RoBERTa, XLM-RoBERTa (MiniLM, BGE, GTE, E5), T5's encoder, CLIP's text tower and static embeddings (Model2Vec);
 * with what sentence-transformers says beside them: pooling, dense layers, normalisation, the longest text. The numbers
 * are those of transformers. May be used from many threads at once. */
typedef struct loragen_encoder loragen_encoder;

typedef struct loragen_encoder_options {
    size_t struct_size;
    const char *tokenizer; /* a folder with the tokenizer's files; NULL: they are in the encoder's own */
} loragen_encoder_options;

#define LORAGEN_ENCODER_OPTIONS_INIT {sizeof(loragen_encoder_options), NULL}

/* Opens a folder. Weights are mapped and must not change while it is open. `options` may be NULL. */
loragen_status loragen_encoder_open(loragen_encoder **out, const char *folder, const loragen_encoder_options *options);

/* Numbers of a text's vector; numbers of a token's state; layers beside layer 0, that of the embeddings. */
size_t loragen_encoder_width(const loragen_encoder *encoder);
size_t loragen_encoder_state_width(const loragen_encoder *encoder);
size_t loragen_encoder_layers(const loragen_encoder *encoder);

/* Family, sizes, pooling and whether the folder says it, the longest text, and the identity: SHA-256 over weights,
 * tokenizer, architecture and pooling. As JSON. The first call reads all weights. */
const char *loragen_encoder_json(const loragen_encoder *encoder);

/* The vectors of `count` texts, UTF-8, into the caller's `vectors` [count, width], row-major. Longer texts than the
 * encoder takes are cut at their end. */
loragen_status loragen_encoder_encode(const loragen_encoder *encoder, const char *const *texts, size_t count,
                                      float *vectors);

/* The states of a text's tokens. */
typedef struct loragen_states loragen_states;

/* Of one text after a layer: 0 is what the embeddings give; -1, or the number of layers, the last hidden state. */
loragen_status loragen_encoder_states(loragen_states **out, const loragen_encoder *encoder, const char *text,
                                      int32_t layer);
size_t loragen_states_count(const loragen_states *states); /* of tokens, those of the tokenizer's own included */
const int32_t *loragen_states_ids(const loragen_states *states);
const float *loragen_states_values(const loragen_states *states);  /* [tokens, state width], row-major */
const float *loragen_states_pooled(const loragen_states *states);  /* [width], as loragen_encoder_encode() gives it */
void loragen_states_free(loragen_states *states);

void loragen_encoder_free(loragen_encoder *encoder);

/* A tokenizer alone: a folder with tokenizer.json, or with vocab.txt, vocab.json and merges.txt, spiece.model. */
typedef struct loragen_tokenizer loragen_tokenizer;

loragen_status loragen_tokenizer_open(loragen_tokenizer **out, const char *folder);

/* The ids of a text as `tokenizers` gives them, none cut off. `count` becomes their number; as many as `capacity`
 * allows are written to `ids`, which may be NULL. `special`: with the tokens that stand before and after a text. */
loragen_status loragen_tokenizer_encode(const loragen_tokenizer *tokenizer, const char *text, int32_t special,
                                        int32_t *ids, size_t capacity, size_t *count);

void loragen_tokenizer_free(loragen_tokenizer *tokenizer);

/* ------------------------------------------------------------------------------------------------ analysis */

/* What was measured on adapters, as updates of the base model: the same for all factors that have the same product.
 * Products are never formed. */
typedef struct loragen_analysis loragen_analysis;

/* Two samples side by side, in all and module by module: cosine and distance of the updates, principal angles between
 * what they read and what they write, spectra, effective ranks. A module that one of them lacks is a zero update.
 * docs/doctor.md has the JSON. */
loragen_status loragen_compare(loragen_analysis **out, const loragen_adapters *a, size_t sample_a,
                               const loragen_adapters *b, size_t sample_b);

/* The `count` adapters below `folder` that are most similar to a sample, the nearest first; 0: all. What cannot be
 * compared is listed with its reason. */
loragen_status loragen_nearest(loragen_analysis **out, const loragen_adapters *adapters, size_t sample,
                               const char *folder, size_t count);

typedef struct loragen_doctor_options {
    size_t struct_size;
    /* The most memory in bytes that factors may take; beyond, similarities are estimated from digests. 0: 1 GiB, or a
     * quarter of what the process can have if that is less. */
    uint64_t memory_limit;
    loragen_progress_callback progress;
    void *payload;
} loragen_doctor_options;

#define LORAGEN_DOCTOR_OPTIONS_INIT {sizeof(loragen_doctor_options), 0, NULL, NULL}

/* Looks at a folder of adapters before training: groups, copies, checkpoints of one run, outliers, dead layers, values
 * that are not finite, spectra, and whether there is enough in common to learn from. Broken adapters are findings, not
 * failures. `path` is a corpus, or any folder with adapters below it. `options` may be NULL. */
loragen_status loragen_doctor(loragen_analysis **out, const char *path, const loragen_doctor_options *options);

typedef struct loragen_import_options {
    size_t struct_size;
    uint64_t seed; /* which tasks are held out */
    size_t group;  /* the group of adapters to draft, from 1, as the summary numbers them; 0: the largest */
    int32_t rank;  /* leave out adapters of other ranks; 0: none */
    int32_t keep_checkpoints; /* not 0: earlier checkpoints of a run are lines too; 0: its last adapter alone */
    int32_t dry_run;          /* not 0: write nothing */
    /* Names of one base model, "A=B" each: adapters that name A are taken as of B. */
    const char *const *same_base;
    size_t same_base_count;
} loragen_import_options;

#define LORAGEN_IMPORT_OPTIONS_INIT {sizeof(loragen_import_options), 0, 0, 0, 0, 0, NULL, 0}

/* Drafts the manifest of a folder from what lies beside its adapters, which may be in any format that
 * loragen_adapters_open() reads: model cards, files of Civitai's helpers and the web UIs, metadata, trainers' configs,
 * pictures of the same name. Adapters of one base model with the same modules are a group, and one group is drafted. The
 * result, as text and as JSON by the schema in docs/corpus.md, says of each field where it comes from, what was left out
 * and why, and which lines lack a text or a picture. Headers are read, values are not: loragen_corpus_check() does that. A
 * manifest that exists is never replaced: LORAGEN_IO. `options` may be NULL. */
loragen_status loragen_corpus_import(loragen_analysis **out, const char *folder, const loragen_import_options *options);

/* All of it, by the schema in docs/doctor.md; the same for people; and as a picture, which only loragen_doctor() makes:
 * NULL for the others. */
const char *loragen_analysis_json(const loragen_analysis *analysis);
const char *loragen_analysis_text(const loragen_analysis *analysis);
const char *loragen_analysis_svg(const loragen_analysis *analysis);

/* How many findings of loragen_doctor() are errors: 0 means that nothing stands in the way of training, for what
 * loragen_corpus_open() refuses is an error here. */
size_t loragen_analysis_errors(const loragen_analysis *analysis);

void loragen_analysis_free(loragen_analysis *analysis);

/* ------------------------------------------------------------------------------------------------ pictures */

/* An encoder of pictures: a folder of Hugging Face's with config.json, safetensors (F32, F16, BF16) and
 * preprocessor_config.json. ViT, DINOv2, the vision towers of CLIP and SigLIP, alone or with their text towers. The
 * numbers are those of transformers, the pixels those of its processors with Pillow. May be used from many threads. */
typedef struct loragen_image_encoder loragen_image_encoder;

/* Opens a folder. Weights are mapped and must not change while it is open. */
loragen_status loragen_image_encoder_open(loragen_image_encoder **out, const char *folder);

/* Numbers of a picture's vector; numbers of a patch's state; layers beside layer 0, what goes into the first. */
size_t loragen_image_encoder_width(const loragen_image_encoder *encoder);
size_t loragen_image_encoder_state_width(const loragen_image_encoder *encoder);
size_t loragen_image_encoder_layers(const loragen_image_encoder *encoder);

/* Architecture, pooling, sizes, and the identity: SHA-256 over weights, preprocessing, architecture and pooling. JSON. */
const char *loragen_image_encoder_json(const loragen_image_encoder *encoder);

/* A picture, given in one of three ways. */
typedef struct loragen_picture {
    size_t struct_size;
    const char *path;    /* a PNG, JPEG or WebP file; or */
    const void *file;    /* the bytes of one, */
    size_t file_size;    /* so many; or */
    const uint8_t *rgb;  /* red, green and blue of each pixel, rows from the top, */
    int64_t width;       /* in pixels */
    int64_t height;
    int64_t stride;      /* bytes from one row to the next; 0: 3 * width */
    int32_t as_stored;   /* not 0: leave the orientation that the file gives (EXIF, XMP) aside; 0: as people see it */
    int32_t drop_alpha;  /* not 0: take colours as stored; 0: what is transparent is laid on white */
    int64_t pixel_limit; /* files of more pixels are refused before they are decoded; 0: 178,956,970 */
} loragen_picture;

#define LORAGEN_PICTURE_INIT {sizeof(loragen_picture), NULL, NULL, 0, NULL, 0, 0, 0, 0, 0, 0}

/* The vectors of `count` pictures, into the caller's `vectors` [count, width], row-major. */
loragen_status loragen_image_encoder_encode(const loragen_image_encoder *encoder,
                                            const loragen_picture *const *pictures, size_t count, float *vectors);

/* A picture's states after a layer, into `values` [tokens, state width], row-major: a class token, if the architecture has
 * one, and the patches row by row. `layer` -1: the last, with the architecture's own norm. `tokens` becomes their number;
 * `capacity` is how many numbers `values` holds: with too few nothing is written, LORAGEN_INVALID_ARGUMENT. `values` NULL
 * asks for `tokens` alone, which costs the decoding. */
loragen_status loragen_image_encoder_states(const loragen_image_encoder *encoder, const loragen_picture *picture,
                                            int32_t layer, float *values, size_t capacity, size_t *tokens);

void loragen_image_encoder_free(loragen_image_encoder *encoder);

#ifdef __cplusplus
}
#endif
#endif
