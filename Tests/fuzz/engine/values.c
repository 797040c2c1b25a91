/* Changes of values in a JSON tree: numbers, words, names, members that go, come twice or change places. */
#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const numbers[] = {
    "0", "1", "2", "3", "4", "7", "8", "16", "64", "255", "256", "4096", "32767", "65535", "65536", "1048576", "16777216",
    "16777217", "268435456", "2147483647", "2147483648", "4294967295", "4294967296", "1099511627776", "9007199254740991",
    "9007199254740992", "9007199254740993", "1152921504606846976", "2305843009213693952", "4611686018427387904",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-1", "-2", "-128",
    "-2147483648", "-2147483649", "-9223372036854775808", "-9223372036854775809", "0.5", "0.1", "1e-3", "1e-45", "1e-308",
    "3.4e38", "3.5e38", "1e18", "1e19", "1e20", "1e38", "1e39", "1e300", "1e308", "1e309", "-1e308", "-0", "-0.0", "NaN",
    "Infinity", "-Infinity", "null", "true", "false", "[]", "{}", "\"\"", "\"8\"", "\"NaN\"", "1.0", "1.5", "1e0",
};

/* Words that our formats give a meaning to. */
static const char *const words[] = {
    "F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F4", "F8_E4M3", "F8_E5M2",
    "linear", "convolution", "embedding", "expert", "experts", "transposed", "linear-transposed", "transposed-convolution",
    "kind", "inputs", "outputs", "kernel", "groups", "rank", "alpha", "rsLoRA", "dora", "bias", "fan_in_fan_out",
    "factors", "product", "raw", "canonical", "aligned", "balanced", "normalised",
    "global", "per-tensor", "per-element", "per-task", "constant", "inside-tensor", "per-layer", "none",
    "mean", "nearest", "ridge", "ridge-pairs", "kernel-ridge", "mlp", "rpg", "cond-pdiff",
    "flatten", "within-layer", "grid", "learned", "sinusoidal", "auto", "mamba", "residual-mamba", "transformer", "lstm",
    "bert", "gpt", "perceptron", "residual", "nlp", "nlp-small", "vision", "pdiff", "principal",
    "noise", "sample", "velocity", "linear", "cosine", "scaled-linear", "ddpm", "ddim", "dpm-solver++",
    "float32", "bfloat16", "8,16,8", "8,", "16384,16384,16384,16384", "1", "0", "01", "00011", "",
    "train", "validation", "test", "path", "task", "run", "split", "text", "bits", "condition", "scores",
    "r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "layers_to_transform",
    "layers_pattern", "use_rslora", "use_dora", "target_parameters", "modules_to_save", "peft_type", "LORA", "LOHA",
    "base_model_name_or_path", "all-linear", ".*", "(a+)+$", "^", "[", "(", "q|v", "layers.\\\\d+",
    "layers.9223372036854775807.q_proj", "layers.18446744073709551615.q_proj", "layers.-1.q_proj", "layers.0.q_proj",
    "model.layers.4611686018427387904.self_attn.q_proj", "a.b.c.d.e", "..", "../x", "/", ".", "a/../b", "\\u0000",
    "\\ud800", "\\ud83d\\ude00", "\\u00e9", "NaN", "nan", "inf", "1e400", "9223372036854775807", "18446744073709551616",
    "architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings", "llama", "qwen2", "gemma2", "mixtral",
    "num_local_experts", "general.architecture", "general.alignment", "adapter.type", "adapter.lora.alpha", "lora",
    "weight_map", "metadata", "total_size", "format", "version", "pt", "dtype", "shape", "data_offsets", "__metadata__",
    "loragen.generator", "loragen.corpus", "loragen.origin", "loragen.layout", "settings", "layout", "modules",
};

#define COUNT(list) (sizeof(list) / sizeof *(list))

static uint64_t state;
void seed_random(unsigned seed) { state = 0x9e3779b97f4a7c15u * (seed + 1ull); }
size_t pick(size_t count) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return count ? (size_t)((state >> 11) % count) : 0;
}

const char *pick_word(void) { return words[pick(COUNT(words))]; }

/* Every n-th value gets `chosen`: one pass, no list. */
struct choice {
    struct json *chosen, *parent;
    size_t seen;
    int (*wanted)(const struct json *);
};

static void choose(struct json *value, struct json *parent, struct choice *choice) {
    if (!choice->wanted || choice->wanted(value)) {
        if (pick(++choice->seen) == 0) {
            choice->chosen = value;
            choice->parent = parent;
        }
    }
    for (struct json *child = value->first; child; child = child->next) { choose(child, value, choice); }
}

static int is_word(const struct json *v) { return v->kind == JSON_WORD; }
static int is_string(const struct json *v) { return v->kind == JSON_STRING; }
static int is_named(const struct json *v) { return v->name != NULL; }

struct json *pick_value(struct json *root) {
    struct choice choice = {.wanted = NULL};
    choose(root, NULL, &choice);
    return choice.chosen;
}

/* Takes the content of another value and keeps the own name and place. */
static void become(struct json *value, const struct json *other) {
    value->kind = other->kind;
    value->text = other->text;
    value->length = other->length;
    value->first = other->first;
}

static int contains(const struct json *tree, const struct json *value) {
    if (tree == value) { return 1; }
    for (const struct json *child = tree->first; child; child = child->next) {
        if (contains(child, value)) { return 1; }
    }
    return 0;
}

static void become_text(struct json *value, enum json_kind kind, const char *text) {
    value->kind = kind;
    value->text = text;
    value->length = strlen(text);
    value->first = NULL;
}

static void replace_all(struct json *tree, const char *old, size_t old_length, const char *text) {
    if (tree->kind == JSON_WORD && tree->length == old_length && memcmp(tree->text, old, old_length) == 0) {
        become_text(tree, JSON_WORD, text);
    }
    for (struct json *child = tree->first; child; child = child->next) { replace_all(child, old, old_length, text); }
}

/* A number near an old one, or one of the list. */
static const char *other_number(const struct json *value) {
    if (pick(3) == 0) { return numbers[pick(COUNT(numbers))]; }
    char old[32] = "";
    snprintf(old, sizeof old, "%.*s", (int)(value->length < 31 ? value->length : 31), value->text);
    char made[40];
    if (strpbrk(old, ".eE")) {
        static const double factors[] = {-1, 0.5, 2, 1e10, 1e-10, 1e300};
        snprintf(made, sizeof made, "%.17g", strtod(old, NULL) * factors[pick(COUNT(factors))]);
    } else {
        const long long number = strtoll(old, NULL, 10);
        const long long near[] = {number / 2, number * 2ll % (1ll << 40), number + 1, number - 1, number % 4, 1 + (long long)pick(9)};
        snprintf(made, sizeof made, "%lld", near[pick(COUNT(near))]);
    }
    return json_copy(made, strlen(made));
}

/* A run of digits inside a text becomes another number: layers.0.q, "8,16,8". */
static void change_digits(const char **text, size_t *length) {
    size_t runs = 0, start = 0, end = 0;
    for (size_t i = 0; i < *length;) {
        size_t j = i;
        while (j < *length && (*text)[j] >= '0' && (*text)[j] <= '9') { j++; }
        if (j > i && pick(++runs) == 0) { start = i, end = j; }
        i = j > i ? j : i + 1;
    }
    if (!runs) { return; }
    const char *number = numbers[pick(34)];
    const size_t count = strlen(number);
    char *made = json_memory(*length - (end - start) + count + 1);
    if (!made) { return; }
    memcpy(made, *text, start);
    memcpy(made + start, number, count);
    memcpy(made + start + count, *text + end, *length - end);
    *length = *length - (end - start) + count;
    *text = made;
}

static void change_string(struct json *root, const char **text, size_t *length) {
    struct choice other = {.wanted = is_string};
    switch (pick(4)) {
    case 0: change_digits(text, length); return;
    case 1:
        choose(root, NULL, &other);
        if (other.chosen) { *text = other.chosen->text, *length = other.chosen->length; }
        return;
    case 2:
        if (*length > 1) { /* without a half */
            const size_t half = pick(*length);
            if (pick(2)) { *text += half, *length -= half; }
            else { *length = half; }
            if (*length && (*text)[*length - 1] == '\\') { --*length; }
        }
        return;
    default: *text = pick_word(), *length = strlen(*text);
    }
}

static struct json *copy(const struct json *value) {
    struct json *made = json_memory(sizeof *made);
    if (made) { *made = *value; }
    return made;
}

static void remove_child(struct json *parent, const struct json *child) {
    for (struct json **place = &parent->first; *place; place = &(*place)->next) {
        if (*place == child) {
            *place = child->next;
            return;
        }
    }
}

void change_value(struct json *root, struct json *other) {
    struct choice choice = {.wanted = NULL}, second = {.wanted = NULL};
    const size_t what = pick(12);
    if (what <= 4) { choice.wanted = is_word; }
    else if (what <= 6) { choice.wanted = is_string; }
    else if (what == 7) { choice.wanted = is_named; }
    choose(root, NULL, &choice);
    struct json *value = choice.chosen;
    if (!value) { return; }
    switch (what) {
    case 0: case 1: case 2: {
        const char *number = other_number(value);
        if (number) { become_text(value, JSON_WORD, number); }
        return;
    }
    case 3: case 4: { /* everywhere, so that shapes, sizes and layout go on agreeing */
        const char *number = other_number(value);
        if (number) { replace_all(root, value->text, value->length, number); }
        return;
    }
    case 5: case 6: change_string(root, &value->text, &value->length); return;
    case 7:
        change_string(root, &value->name, &value->name_length);
        return;
    case 8: /* goes */
        if (choice.parent && choice.parent->kind != JSON_EMBEDDED) { remove_child(choice.parent, value); }
        return;
    case 9: { /* comes twice, the second time perhaps with another name */
        struct json *twin = choice.parent && choice.parent->kind != JSON_EMBEDDED ? copy(value) : NULL;
        if (!twin) { return; }
        value->next = twin;
        if (twin->name && pick(2)) { change_string(root, &twin->name, &twin->name_length); }
        return;
    }
    case 10: /* another value of this or of another file */
        choose(other ? other : root, NULL, &second);
        if (second.chosen && !contains(second.chosen, value)) { become(value, second.chosen); }
        return;
    default: become_text(value, JSON_WORD, numbers[pick(COUNT(numbers))]);
    }
}
