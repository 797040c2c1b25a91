"""ONNX Runtime GenAI against transformers and PEFT: a model of its own builder that `loragen apply --inputs` prepared, and
.onnx_adapter files that `loragen convert` wrote, switched between generators.

genai.py LORAGEN: a tiny Llama is made on the spot and built to ONNX. Passes when the logits are those of PEFT, when an
adapter of other modules is refused, and when an adapter beside 4-bit weights (MatMulNBits) computes what PEFT
does on the same weights.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime_genai as genai
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tiny import VOCABULARY, make_llama, words
from onnx import numpy_helper
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(2)
LORAGEN = sys.argv[1]
TOKENS = [1, 5, 9, 33, 3, 70, 41]
# q, k and v are one product in the builder's models, which loragen does not take apart.
TARGETS = ["o_proj", "gate_proj", "up_proj", "down_proj"]
failed = 0


def check(name, passed, detail=""):
    global failed
    failed += not passed
    print(f"{'ok  ' if passed else 'FAIL'} {name} {detail}", flush=True)


def loragen(*arguments):
    result = subprocess.run([LORAGEN, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, (arguments, result.stdout, result.stderr)


def make_base(folder):
    PreTrainedTokenizerFast(tokenizer_object=words(), pad_token="w0", eos_token="w2").save_pretrained(folder)
    return make_llama(folder)


def make_adapter(base, folder, targets, seed):
    """The PEFT folder; the logits of the last token."""
    torch.manual_seed(seed)
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(base),
                          LoraConfig(r=4, lora_alpha=12, target_modules=targets)).eval()
    with torch.no_grad():
        for key, parameter in peft.named_parameters():
            if "lora_" in key:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
        peft.save_pretrained(folder)
        return peft(torch.tensor([TOKENS])).logits[0, -1].numpy()


def build(base, folder, precision):
    subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", base, "-o", folder, "-p", precision,
                    "-e", "cpu"], check=True, capture_output=True)


def logits_of(folder):
    """Of the last token, from a model without optional inputs."""
    host = genai.Model(str(folder))
    parameters = genai.GeneratorParams(host)
    parameters.set_search_options(max_length=32)
    generator = genai.Generator(host, parameters)
    generator.append_tokens(np.array([TOKENS], dtype=np.int32))
    return np.array(generator.get_logits()).reshape(-1, VOCABULARY)[-1]


def dequantised(path):
    """Weights [outputs, inputs] by name, of 4 bits: blocks of 32 inputs, the low half of a byte first, zero at 8."""
    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            packed, scales = constants[node.input[1]], constants[node.input[2]]
            halves = np.stack([packed & 15, packed >> 4], -1).reshape(packed.shape[0], packed.shape[1], -1)
            weight = (halves.astype(np.float32) - 8) * scales.reshape(packed.shape[0], packed.shape[1], 1)
            found[node.input[1].removesuffix(".MatMul.weight_Q4")] = weight.reshape(packed.shape[0], -1)
    return found


def check_four_bits(folder):
    """The same weights in PyTorch, then PEFT's adapter on them."""
    build(folder / "base", folder / "four", "int4")
    # Products in float32: with the builder's own choice the inputs are rounded to 8 bits.
    path = str(folder / "four" / "model.onnx")
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    onnx.save(model, path)
    weights = dequantised(path)
    model = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, weight in weights.items():
            if name.endswith("qkv_proj"):
                at = 0
                for part in ("q_proj", "k_proj", "v_proj"):
                    target = modules[name.replace(".attn.qkv_proj", f".self_attn.{part}")].weight
                    target.copy_(torch.from_numpy(weight[at:at + target.shape[0]]))
                    at += target.shape[0]
            else:
                modules[name.replace(".attn.", ".self_attn.")].weight.copy_(torch.from_numpy(weight))
        plain = model(torch.tensor([TOKENS])).logits[0, -1].numpy()
        wanted = PeftModel.from_pretrained(model, folder / "first").eval()(torch.tensor([TOKENS])).logits[0, -1].numpy()
    check("4 bits: as many products as the model has", len(weights) >= 8, str(len(weights)))
    worst = np.abs(logits_of(folder / "four") - plain).max()
    check("4 bits: without an adapter", worst < 1e-3, f"logits off by {worst:.1e}")
    before = (folder / "four" / "model.onnx").read_bytes()
    loragen("apply", folder / "four" / "model.onnx", folder / "first", "-o", folder / "four" / "with.onnx")
    loragen("apply", folder / "four" / "with.onnx", "--undo", "-o", folder / "four" / "back.onnx")
    check("4 bits: undone to the same bytes", (folder / "four" / "back.onnx").read_bytes() == before)
    (folder / "four" / "with.onnx").replace(folder / "four" / "model.onnx")
    worst = np.abs(logits_of(folder / "four") - wanted).max()
    check("4 bits: with it", worst < 1e-3, f"logits off by {worst:.1e}; the adapter changes them by "
          f"{np.abs(wanted - plain).max():.2g}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        with torch.no_grad():
            plain = make_base(folder / "base")(torch.tensor([TOKENS])).logits[0, -1].numpy()
        build(folder / "base", folder / "model", "fp32")
        wanted = {}
        for seed, name in enumerate(("first", "second")):
            wanted[name] = make_adapter(folder / "base", folder / name, TARGETS, seed)
            loragen("convert", folder / name, folder / f"{name}.onnx_adapter")
        model = folder / "model" / "model.onnx"
        loragen("apply", model, folder / "first", "--inputs", "-o", folder / "model" / "with.onnx")
        (folder / "model" / "with.onnx").replace(model)

        host = genai.Model(str(folder / "model"))
        adapters = genai.Adapters(host)

        def logits(name=None):
            parameters = genai.GeneratorParams(host)
            parameters.set_search_options(max_length=32)
            generator = genai.Generator(host, parameters)
            if name:
                generator.set_active_adapter(adapters, name)
            generator.append_tokens(np.array([TOKENS], dtype=np.int32))
            return np.array(generator.get_logits()).reshape(-1, VOCABULARY)[-1]

        def agree(name, found, wanted):
            worst = float(np.abs(found - wanted).max())
            check(name, worst < 1e-4, f"logits off by {worst:.1e}")

        agree("without an adapter", logits(), plain)
        for name in wanted:
            adapters.load(str(folder / f"{name}.onnx_adapter"), name)
            check(f"{name}: the adapter matters", np.abs(wanted[name] - plain).max() > 0.1)
            agree(name, logits(name), wanted[name])
        agree("without one again", logits(), plain)
        make_adapter(folder / "base", folder / "other", ["q_proj"], 5)
        loragen("convert", folder / "other", folder / "other.onnx_adapter")
        adapters.load(str(folder / "other.onnx_adapter"), "other")
        try:
            logits("other")
            check("other modules are refused", False)
        except Exception as error:
            check("other modules are refused", True, str(error).splitlines()[0][:80])
        del adapters, host
        check_four_bits(folder)
    return failed


if __name__ == "__main__":
    sys.exit(main())
