#include "COnnx.h"

#include <onnx/checker.h>
#include <onnx/onnx_pb.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

struct lgo_model {
    onnx::ModelProto proto;
};

namespace {

// What Debian's libonnx 1.12 takes at most; every later ONNX Runtime takes it too.
constexpr int64_t irVersion = 8;
constexpr int64_t opsetVersion = 17;

std::string text(lgo_string s) { return s.count == 0 ? std::string() : std::string(s.bytes, s.count); }
lgo_string view(const std::string &s) { return {s.data(), s.size()}; }

void report(const char *what, char *message, size_t size) noexcept {
    if (message == nullptr || size == 0) return;
    std::strncpy(message, what, size - 1);
    message[size - 1] = '\0';
}

// Runs `body` and turns every exception into a status and a message.
template <class Body> int32_t guarded(char *message, size_t size, Body body) noexcept {
    try {
        body();
        return 0;
    } catch (const std::bad_alloc &error) {
        report(error.what(), message, size);
        return LGO_NO_MEMORY;
    } catch (const std::exception &error) {
        report(error.what(), message, size);
    } catch (...) {
        report("an exception of an unknown kind", message, size);
    }
    return -1;
}

void addShape(onnx::ValueInfoProto *info, const lgo_tensor &tensor) {
    auto *type = info->mutable_type()->mutable_tensor_type();
    type->set_elem_type(tensor.type);
    for (size_t d = 0; d < tensor.rank; d++) type->mutable_shape()->add_dim()->set_dim_value(tensor.dims[d]);
}

void addTensor(onnx::GraphProto *graph, const lgo_tensor &tensor) {
    const std::string name = text(tensor.name);
    const std::string output = name + ":out";
    onnx::TensorProto *proto = graph->add_initializer();
    proto->set_name(name);
    proto->set_data_type(tensor.type);
    for (size_t d = 0; d < tensor.rank; d++) proto->add_dims(tensor.dims[d]);
    if (tensor.size > 0) proto->set_raw_data(tensor.data, tensor.size);
    onnx::NodeProto *node = graph->add_node();
    node->set_name(output);
    node->set_op_type("Identity");
    node->add_input(name);
    node->add_output(output);
    onnx::ValueInfoProto *info = graph->add_output();
    info->set_name(output);
    addShape(info, tensor);
}

} // namespace

int32_t lgo_abi(void) { return LGO_ABI; }

int32_t lgo_build(const lgo_tensor *tensors, size_t tensor_count, const lgo_property *properties,
                  size_t property_count, lgo_string producer, void **out, size_t *size, char *message,
                  size_t message_size) {
    *out = nullptr;
    *size = 0;
    return guarded(message, message_size, [&] {
        onnx::ModelProto model;
        model.set_ir_version(irVersion);
        model.set_producer_name(text(producer));
        onnx::OperatorSetIdProto *opset = model.add_opset_import();
        opset->set_domain("");
        opset->set_version(opsetVersion);
        for (size_t i = 0; i < property_count; i++) {
            onnx::StringStringEntryProto *entry = model.add_metadata_props();
            entry->set_key(text(properties[i].key));
            entry->set_value(text(properties[i].value));
        }
        model.mutable_graph()->set_name("adapter");
        for (size_t i = 0; i < tensor_count; i++) addTensor(model.mutable_graph(), tensors[i]);
        onnx::checker::check_model(model);
        const size_t count = model.ByteSizeLong();
        if (count > INT_MAX) throw std::length_error("a model beyond 2 GiB, which protobuf cannot hold");
        std::unique_ptr<void, void (*)(void *)> buffer(std::malloc(count > 0 ? count : 1), std::free);
        if (!buffer) throw std::bad_alloc();
        if (!model.SerializeToArray(buffer.get(), static_cast<int>(count)))
            throw std::runtime_error("protobuf could not serialise the model");
        *out = buffer.release();
        *size = count;
    });
}

int32_t lgo_open(const void *bytes, size_t size, lgo_model **out, char *message, size_t message_size) {
    *out = nullptr;
    return guarded(message, message_size, [&] {
        if (size > INT_MAX) throw std::length_error("a model beyond 2 GiB, which protobuf cannot hold");
        auto model = std::make_unique<lgo_model>();
        if (!model->proto.ParseFromArray(bytes, static_cast<int>(size)))
            throw std::runtime_error("not a protobuf message of the type onnx.ModelProto");
        // What refers to other files is refused before the checker would look for them.
        for (const onnx::TensorProto &tensor : model->proto.graph().initializer()) {
            if (tensor.data_location() == onnx::TensorProto::EXTERNAL || !tensor.has_raw_data())
                throw std::runtime_error("initializer '" + tensor.name() + "' has no raw data in the file");
        }
        onnx::checker::check_model(model->proto);
        *out = model.release();
    });
}

size_t lgo_tensor_count(const lgo_model *model) { return model->proto.graph().initializer_size(); }
size_t lgo_property_count(const lgo_model *model) { return model->proto.metadata_props_size(); }

int32_t lgo_tensor_at(const lgo_model *model, size_t index, lgo_tensor *out) {
    if (index >= lgo_tensor_count(model)) return -1;
    const onnx::TensorProto &tensor = model->proto.graph().initializer(static_cast<int>(index));
    out->name = view(tensor.name());
    out->dims = tensor.dims().data();
    out->rank = tensor.dims_size();
    out->type = tensor.data_type();
    out->data = tensor.raw_data().data();
    out->size = tensor.raw_data().size();
    return 0;
}

int32_t lgo_property_at(const lgo_model *model, size_t index, lgo_property *out) {
    if (index >= lgo_property_count(model)) return -1;
    const onnx::StringStringEntryProto &entry = model->proto.metadata_props(static_cast<int>(index));
    out->key = view(entry.key());
    out->value = view(entry.value());
    return 0;
}

void lgo_close(lgo_model *model) { delete model; }
void lgo_free(void *bytes) { std::free(bytes); }
