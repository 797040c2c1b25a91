"""`loragen merge` into safetensors against PEFT's merge_and_unload, and against taking the adapter out again.

checkpoints.py LORAGEN: models are made on the spot, float32 and bfloat16, in shards and in one file.
"""
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

torch.set_num_threads(2)
LORAGEN = sys.argv[1]
failed = 0


def loragen(*arguments):
    result = subprocess.run([LORAGEN, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, (arguments, result.stdout, result.stderr)


def weights(folder):
    return {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}


def check(name, value, limit):
    global failed
    failed += not value <= limit
    print(f"{'ok  ' if value <= limit else 'FAIL'} {name}: {value:.3g} (<= {limit:g})")


def main():
    llama = LlamaConfig(vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
                        num_key_value_heads=2)
    gpt2 = GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=2, n_positions=64)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for what, config, targets, dtype, options in [
            ("llama", llama, ["q_proj", "down_proj", "lm_head", "embed_tokens"], torch.float32, {}),
            ("llama bf16", llama, ["q_proj", "down_proj"], torch.bfloat16, {"use_rslora": True}),
            ("llama DoRA", llama, ["v_proj", "up_proj"], torch.float32, {"use_dora": True}),
            ("gpt2", gpt2, ["c_attn", "c_fc"], torch.float32, {"fan_in_fan_out": True}),
        ]:
            torch.manual_seed(1)
            place = folder / what.replace(" ", "-")
            model = AutoModelForCausalLM.from_config(config).to(dtype)
            model.save_pretrained(place / "base", max_shard_size="60KB" if "llama" in what else "5GB")
            base = weights(place / "base")
            peft = get_peft_model(model, LoraConfig(r=8, lora_alpha=24, target_modules=targets, **options),
                                  autocast_adapter_dtype=False)
            with torch.no_grad():
                for name, parameter in peft.named_parameters():
                    if "lora_" in name and "magnitude" not in name:
                        parameter.copy_(torch.randn_like(parameter) * 0.1)
            peft.save_pretrained(place / "adapter", save_embedding_layers=False)
            merged = peft.merge_and_unload().state_dict()
            loragen("merge", place / "base", place / "adapter", "-o", place / "merged")
            found = weights(place / "merged")
            assert found.keys() == base.keys()
            assert all(found[k].dtype == base[k].dtype for k in base)
            shards = len(list((place / "merged").glob("*.safetensors")))
            limit = 1e-2 if dtype == torch.bfloat16 else 2e-6
            check(f"{what}, {shards} shard(s)",
                  max((found[k].float() - merged[k].float()).abs().max().item() for k in base), limit)
            model.eval()  # GPT-2 has dropout
            reloaded = AutoModelForCausalLM.from_pretrained(place / "merged", dtype=dtype)
            tokens = torch.tensor([[1, 5, 9, 33]])
            with torch.no_grad():
                check("  in transformers", (reloaded(tokens).logits - model(tokens).logits).float().abs().max().item(),
                      0.5 if dtype == torch.bfloat16 else 1e-4)
            if "use_dora" in options:
                continue
            loragen("merge", place / "merged", place / "adapter", "--undo", "-o", place / "back")
            again = weights(place / "back")
            check("  and undone", max((again[k].float() - base[k].float()).abs().max().item() for k in base),
                  2e-2 if dtype == torch.bfloat16 else 2e-6)
        # Bounded memory: 800 MB of weights, an adapter of 1 MB.
        save_file({"m.weight": torch.zeros(16384, 8192, dtype=torch.bfloat16),
                   "n.weight": torch.zeros(16384, 16384, dtype=torch.bfloat16)}, folder / "large.safetensors")
        (folder / "large").mkdir()
        save_file({"base_model.model.m.lora_A.weight": torch.randn(8, 8192),
                   "base_model.model.m.lora_B.weight": torch.randn(16384, 8)},
                  folder / "large" / "adapter_model.safetensors")
        (folder / "large" / "adapter_config.json").write_text(
            '{"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["m"]}')
        limit = (200 << 20, 200 << 20)
        subprocess.run([LORAGEN, "merge", folder / "large.safetensors", folder / "large", "-o", folder / "m.safetensors"],
                       check=True, stdout=subprocess.DEVNULL,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit))
        print("ok   800 MB of weights merged with at most 200 MB of memory, mapped files aside")
    return failed


if __name__ == "__main__":
    sys.exit(main())
