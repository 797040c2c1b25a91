// What the C interface needs and Swift cannot say: thread-local memory, and the layout of a foreign struct.
#ifndef CAPI_SUPPORT_H
#define CAPI_SUPPORT_H

#include <stdint.h>

// This thread's error message, a C string. It needs no destructor: threads come and go without a trace.
enum { CAPI_MESSAGE_SIZE = 4096 };
__attribute__((visibility("hidden"))) char *capi_message(void);

// struct DLManagedTensor of dlpack.h 0.8 (https://github.com/dmlc/dlpack), by another name: loragen.h declares the
// struct itself without its layout, so that a host may include both headers.
typedef struct capi_dlpack {
    void *data;
    int32_t device_type;
    int32_t device_id;
    int32_t ndim;
    uint8_t type_code;
    uint8_t type_bits;
    uint16_t type_lanes;
    int64_t *shape;
    int64_t *strides; // NULL: row-major and compact
    uint64_t byte_offset;
    void *manager_context;
    void (*deleter)(struct capi_dlpack *self);
} capi_dlpack;

enum { CAPI_DLPACK_CPU = 1, CAPI_DLPACK_FLOAT = 2 };

#endif
