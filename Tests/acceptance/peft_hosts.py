"""PEFT and transformers against adapters that `loragen` wrote: every kind of module, and a folder merged by loragen itself.

peft_hosts.py LORAGEN: tiny models are made on the spot. PEFT makes and saves an adapter, `loragen convert` writes it anew,
PEFT loads that; logits must agree within 1e-5 of each other and, where `loragen merge` applies the kind, of our own
application. No key may be missing or left over.
"""
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

torch.set_num_threads(2)
LORAGEN = sys.argv[1]
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TOKENS = torch.tensor([[1, 5, 9, 33, 2, 60, 41]])


def loragen(*arguments):
    done = subprocess.run([LORAGEN, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def model(kind, **options):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = AutoConfig.for_model(kind, vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    else:
        config = AutoConfig.for_model(
            kind, vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, max_position_embeddings=32, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, **options)
    return AutoModelForCausalLM.from_config(config).eval().float()


MOE = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, decoder_sparse_step=1, mlp_only_layers=[])
CASES = {
    "Llama, all linear layers": ("llama", {}, dict(target_modules=LINEAR, r=4, lora_alpha=6), True, True),
    "Llama, rslora, patterns": (
        "llama", {}, dict(target_modules=["q_proj", "v_proj"], r=4, lora_alpha=6, use_rslora=True,
                          rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"v_proj": 3}), True, True),
    "Llama, regex": ("llama", {}, dict(target_modules=r".*\.[02]\..*(q|up)_proj", r=3, lora_alpha=5), True, True),
    "Llama, DoRA": ("llama", {}, dict(target_modules=["q_proj", "down_proj"], r=4, lora_alpha=6, use_dora=True), True, False),
    "Llama, embedding and output": (
        "llama", dict(tie_word_embeddings=False), dict(target_modules=["embed_tokens", "lm_head", "q_proj"], r=4,
                                                       lora_alpha=6), True, False),
    "GPT-2, Conv1D": ("gpt2", {}, dict(target_modules=["c_attn", "c_fc"], r=4, lora_alpha=6, fan_in_fan_out=True), False,
                      False),
    "Qwen3 MoE, fused experts": (
        "qwen3_moe", MOE, dict(target_modules=["q_proj"], target_parameters=["mlp.experts.gate_up_proj",
                                                                             "mlp.experts.down_proj"], r=2, lora_alpha=6),
        False, False),
    "Qwen3 MoE, fused experts, down_proj alone": (
        "qwen3_moe", MOE, dict(target_parameters=["mlp.experts.down_proj"], r=2, lora_alpha=6),
        False, False),
}


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


def load(base, folder):
    """The adapter as PEFT loads it; missing keys are only a warning there, and keys left over are not even that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing.*")
        loaded = PeftModel.from_pretrained(base, folder).eval()
    return loaded


def run(folder):
    for title, (kind, options, config, merges, is_portable) in CASES.items():
        base = folder / title / "base"
        model(kind, **options).save_pretrained(base)
        config = LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **config)
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
        for name, parameter in tuned.named_parameters():
            if "magnitude" in name:
                parameter.data *= 1 + 0.1 * torch.rand_like(parameter)
        expected = logits(tuned)
        source = folder / title / "source"
        tuned.save_pretrained(source, save_embedding_layers=False)
        assert (expected - logits(AutoModelForCausalLM.from_pretrained(base))).abs().max() > 1e-3
        forms = [[], ["--keep-alpha"]] + ([["--portable", "--layers", "3"]] if is_portable else [])
        worst = 0.0
        for i, form in enumerate(forms):
            target = folder / title / f"target{i}"
            loragen("convert", source, target, *form)
            loaded = load(AutoModelForCausalLM.from_pretrained(base), target)
            worst = max(worst, (logits(loaded) - expected).abs().max().item())
            assert worst < 1e-5, (title, form, worst)
            if "experts" not in title:
                keys = set(load_file(target / "adapter_model.safetensors"))
                assert keys == set(get_peft_model_state_dict(loaded, save_embedding_layers=False)), (title, form)
            report = loragen("verify", target, "--base", base)
            assert ": 0 errors" in report, (title, report)
        line = f"{title}: {len(forms)} forms, worst logit difference {worst:.1e}"
        if merges:
            loragen("merge", base, source, "-o", folder / title / "merged")
            merged = AutoModelForCausalLM.from_pretrained(folder / title / "merged").eval()
            difference = (logits(merged) - expected).abs().max().item()
            assert difference < 1e-5, (title, difference)
            line += f"; merged by loragen {difference:.1e}"
        print(line, flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))
