// ONNX models whose only content is initializers: built, checked and read through libonnx and libprotobuf.
// A library of its own, opened by dlopen the first time ONNX is asked for; nothing but these names is exported, and no
// exception leaves it. All calls may be made from several threads at once.
#ifndef CONNX_H
#define CONNX_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LGO_API __attribute__((visibility("default")))
#else
#define LGO_API
#endif

// Raised with every change below; the caller refuses another one.
#define LGO_ABI 2
LGO_API int32_t lgo_abi(void);

// A status where memory ran out; -1 is any other failure.
#define LGO_NO_MEMORY (-2)

// Strings are UTF-8 with a length and need no NUL at the end.
typedef struct lgo_string {
    const char *bytes;
    size_t count;
} lgo_string;

typedef struct lgo_tensor {
    lgo_string name;
    const int64_t *dims;
    size_t rank;
    int32_t type;     // onnx.TensorProto.DataType: 1 float, 10 float16, 16 bfloat16
    const void *data; // little-endian, row-major
    size_t size;      // bytes
} lgo_tensor;

typedef struct lgo_property {
    lgo_string key;
    lgo_string value;
} lgo_property;

// Builds a model (IR 8, opset 17) with one initializer for each tensor and an Identity node to a graph output
// "<name>:out", so that a session can open it; runs onnx::checker; serialises. On success returns 0 and *out, *size;
// release *out with lgo_free. On failure returns -1 or LGO_NO_MEMORY, and the cause in `message` (NUL at the end, cut off
// if need be).
LGO_API int32_t lgo_build(const lgo_tensor *tensors, size_t tensor_count, const lgo_property *properties,
                          size_t property_count, lgo_string producer, void **out, size_t *size, char *message,
                          size_t message_size);

// A model that was read. What the getters give lives as long as it.
typedef struct lgo_model lgo_model;

// Parses a model and checks it with onnx::checker. Initializers without raw data are refused. Returns 0 or -1 as above.
LGO_API int32_t lgo_open(const void *bytes, size_t size, lgo_model **out, char *message, size_t message_size);
LGO_API size_t lgo_tensor_count(const lgo_model *model);
LGO_API size_t lgo_property_count(const lgo_model *model);
// Return 0, or -1 for an index that is out of range.
LGO_API int32_t lgo_tensor_at(const lgo_model *model, size_t index, lgo_tensor *out);
LGO_API int32_t lgo_property_at(const lgo_model *model, size_t index, lgo_property *out);
LGO_API void lgo_close(lgo_model *model);

LGO_API void lgo_free(void *bytes);

#ifdef __cplusplus
}
#endif
#endif
