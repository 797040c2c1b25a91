#include "CAPISupport.h"

#include <stddef.h>

_Static_assert(sizeof(capi_dlpack) == 64, "DLManagedTensor has 64 bytes");
_Static_assert(offsetof(capi_dlpack, shape) == 24, "DLManagedTensor.dl_tensor.shape");
_Static_assert(offsetof(capi_dlpack, deleter) == 56, "DLManagedTensor.deleter");

char *capi_message(void) {
    static _Thread_local char message[CAPI_MESSAGE_SIZE];
    return message;
}
