/* Generates an adapter for a task and saves it.
 *
 *   cc -std=c99 generate.c -o generate $(pkg-config --cflags --libs loragen) -lm
 *   ./generate digits.loragen.safetensors 0001100101 out
 *
 * writes out/adapter (a PEFT folder), out/adapter.safetensors and out/adapter.onnx. */
#include <loragen.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

/* Every call that fails leaves its message with loragen_last_error(). */
static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, loragen_last_error());
    return 1;
}

/* Euclidean norm: an adapter full of zeros is the commonest silent defect, so look at the numbers and not only at the
 * status. */
static double norm(const loragen_tensor *tensor) {
    double sum = 0;
    for (size_t i = 0; i < tensor->count; i++) { sum += (double)tensor->data[i] * tensor->data[i]; }
    return sqrt(sum);
}

static int show(const loragen_adapters *adapters) {
    const size_t count = loragen_adapters_tensor_count(adapters);
    printf("%zu tensors\n", count);
    for (size_t i = 0; i < count; i++) {
        loragen_tensor tensor; /* a view: the memory belongs to `adapters` */
        if (loragen_adapters_tensor(adapters, 0, i, &tensor) != LORAGEN_OK) { return failed("tensor"); }
        printf("%s [%" PRId64 ", %" PRId64 "]\n", tensor.name, tensor.shape[0], tensor.shape[1]);
        if (i == 0) { printf("  norm %.6f\n", norm(&tensor)); }
    }
    printf("origin %s\n", loragen_adapters_origin(adapters, 0));
    return 0;
}

static int save(const loragen_adapters *adapters, const char *folder) {
    static const char *const names[] = {"adapter", "adapter.safetensors", "adapter.onnx"};
    mkdir(folder, 0777); /* if it cannot be made, saving says so */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (loragen_adapters_save(adapters, 0, path, LORAGEN_FORMAT_BY_SUFFIX, NULL) != LORAGEN_OK) {
            return failed(path);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s GENERATOR BITS OUT\n", argv[0]);
        return 64;
    }

    /* Opening maps the file and takes milliseconds. Keep the generator: it serves any number of requests, from any
     * number of threads. */
    loragen_generator *generator;
    if (loragen_generator_open(&generator, argv[1]) != LORAGEN_OK) { return failed("open"); }

    /* The condition says which task the adapter is for. The same seed gives the same bytes, always. */
    loragen_request request = LORAGEN_REQUEST_INIT;
    request.bits = argv[2];
    request.seed = 7;

    loragen_adapters *adapters;
    int status = 1;
    if (generate_lora(&adapters, generator, &request) != LORAGEN_OK) {
        failed("generate");
    } else {
        status = show(adapters) || save(adapters, argv[3]);
    }

    loragen_adapters_free(adapters); /* NULL after a failure, which _free accepts */
    loragen_generator_free(generator);
    return status;
}
