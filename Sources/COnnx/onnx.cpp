#include "COnnx.h"
#include <onnx/onnx_pb.h>
int lgo_abi(void) { return onnx::ModelProto().ir_version() == 0 ? 1 : 0; }
