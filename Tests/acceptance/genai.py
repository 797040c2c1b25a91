"""ONNX Runtime GenAI against transformers and PEFT: a model of its own builder that `loragen apply --inputs` prepared, and
.onnx_adapter files that `loragen convert` wrote, switched between generators.

genai.py LORAGEN: a tiny Llama is made on the spot and built to ONNX. Passes when the logits are those of PEFT, and when an
adapter of other modules is refused.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime_genai as genai
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

torch.set_num_threads(2)
LORAGEN = sys.argv[1]
VOCABULARY, TOKENS = 96, [1, 5, 9, 33, 3, 70, 41]
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
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w2").save_pretrained(folder)
    return model


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


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        with torch.no_grad():
            plain = make_base(folder / "base")(torch.tensor([TOKENS])).logits[0, -1].numpy()
        subprocess.run([sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", folder / "base", "-o",
                        folder / "model", "-p", "fp32", "-e", "cpu"], check=True, capture_output=True)
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
    return failed


if __name__ == "__main__":
    sys.exit(main())
