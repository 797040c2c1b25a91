"""Makes the files in hosts/ with the writers of the hosts themselves: gguf 0.19.0, onnxruntime 1.31.1, numpy 2.4.6 and both
exporters of torch 2.15.0. The tests know the values by formula, see `pattern`."""
import warnings
from pathlib import Path

import gguf
import numpy as np
import onnx
import onnxruntime as ort
import torch
from safetensors.numpy import save_file

warnings.filterwarnings("ignore")
HERE = Path(__file__).parent / "hosts"


def pattern(seed, *shape):
    """Values that F16 and BF16 hold exactly."""
    count = int(np.prod(shape))
    return (((np.arange(count) * 37 + seed * 11) % 64 - 32) / 64).astype(np.float32).reshape(shape)


def permute(weight, heads):
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf():
    writer = gguf.GGUFWriter(HERE / "llama.gguf", "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 6.0)
    writer.add_array("general.tags", ["a", "b"])
    # q_proj of 4 heads, k_proj of 2, 8 wide; embeddings transposed.
    writer.add_tensor("blk.0.attn_q.weight.lora_a", pattern(0, 4, 16))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", permute(pattern(1, 32, 4), 4))
    writer.add_tensor("blk.0.attn_k.weight.lora_a", pattern(2, 4, 16).astype(np.float16))
    writer.add_tensor("blk.0.attn_k.weight.lora_b", permute(pattern(3, 16, 4), 2).astype(np.float16))
    writer.add_tensor("token_embd.weight.lora_a", np.ascontiguousarray(pattern(4, 4, 10).T))
    writer.add_tensor("token_embd.weight.lora_b", pattern(5, 16, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    values = np.random.default_rng(1).standard_normal((6, 64)).astype(np.float32)
    values[2] = 0
    values[3] *= 1e-7
    values[4] = np.round(values[4] * 2) / 2
    blocks = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
    back = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0)
    save_file({"values": values, "blocks": blocks, "back": back}, HERE / "q8.safetensors")


def write_onnx_adapter():
    writer = ort.AdapterFormat()
    writer.set_adapter_version(1)
    writer.set_model_version(1)
    writer.set_parameters({
        "model.layers.0.self_attn.q_proj.lora_A.weight": ort.OrtValue.ortvalue_from_numpy(pattern(0, 16, 4)),
        "model.layers.0.self_attn.q_proj.lora_B.weight": ort.OrtValue.ortvalue_from_numpy(pattern(1, 4, 32)),
        "base_model.model.lm_head.lora_A.weight": ort.OrtValue.ortvalue_from_numpy(
            pattern(2, 16, 4).astype(np.float16)),
        "base_model.model.lm_head.lora_B.weight": ort.OrtValue.ortvalue_from_numpy(
            pattern(3, 4, 10).astype(np.float16)),
    })
    writer.export_adapter(str(HERE / "runtime.onnx_adapter"))


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = torch.nn.Linear(6, 8, bias=False)
        self.up_proj = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.up_proj(torch.tanh(self.q_proj(x)))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList([Block()])
        self.head = torch.nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.layers[0](x)[:, -1])


def write_models():
    model = Model().eval()
    with torch.no_grad():
        for seed, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.from_numpy(pattern(seed, *parameter.shape)))
    x = torch.zeros(2, 3, 6)
    torch.onnx.export(model, (x,), str(HERE / "torchscript.onnx"), dynamo=False, opset_version=17)
    torch.onnx.export(model, (x,), str(HERE / "dynamo.onnx"), dynamo=True, opset_version=18, external_data=False,
                      verbose=False)
    # The exporter notes where its source lay, which is nobody's business.
    exported = onnx.load(str(HERE / "dynamo.onnx"))
    for node in exported.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(exported, str(HERE / "dynamo.onnx"))


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    write_gguf()
    write_onnx_adapter()
    write_models()
    np.savez_compressed(HERE / "compressed.npz", a=pattern(0, 4, 16))
