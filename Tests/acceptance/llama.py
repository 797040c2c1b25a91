"""llama.cpp (llama-cpp-python) against transformers and PEFT: GGUF adapters that `loragen convert` wrote.

llama.py LORAGEN: tiny models are made on the spot; the base GGUF is written by the `gguf` package, the adapter by PEFT.
Passes when the logits of every architecture and element type agree, and when without the permutation they do not.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import torch
from llama_cpp import Llama
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

torch.set_num_threads(2)
LORAGEN = sys.argv[1]
TOKENS = [1, 5, 9, 33, 2, 70, 41]
VOCABULARY = 96
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "mlp.gate": "ffn_gate_inp", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}


def make_model(kind):
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind, vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=False,
        rms_norm_eps=1e-5, head_dim=16, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model = AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.2 if parameter.dim() > 1 else 0.05)
                            + (1.0 if parameter.dim() == 1 else 0.0))
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


def permute(weight, heads):
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_base(model, path, arch, permutes, experts=0, inner=0):
    config = model.config
    writer = gguf.GGUFWriter(path, arch)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(inner)
    writer.add_context_length(128)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(VOCABULARY)
    # Vocabulary of single pieces: tokens are given as numbers.
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{i}>".encode() for i in range(VOCABULARY)])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([3 if i < 3 else 1 for i in range(VOCABULARY)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name, value in model.state_dict().items():
        value = value.float().numpy()
        if name == "model.embed_tokens.weight":
            target = "token_embd.weight"
        elif name == "lm_head.weight":
            target = "output.weight"
        elif name == "model.norm.weight":
            target = "output_norm.weight"
        elif "mlp.experts" in name:
            layer = name.split(".")[2]
            if name.endswith("gate_up_proj"):
                writer.add_tensor(f"blk.{layer}.ffn_gate_exps.weight", np.ascontiguousarray(value[:, :inner]))
                target, value = f"blk.{layer}.ffn_up_exps.weight", value[:, inner:]
            else:
                target = f"blk.{layer}.ffn_down_exps.weight"
        else:
            _, _, layer, rest = name.split(".", 3)
            module, _, kind = rest.rpartition(".")
            target = f"blk.{layer}.{NAMES[module]}.{kind}"
            if permutes and module in ("self_attn.q_proj", "self_attn.k_proj"):
                heads = config.num_attention_heads if "q_proj" in module else config.num_key_value_heads
                value = permute(value, heads)
        writer.add_tensor(target, np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_adapter(model, path, targets, **options):
    torch.manual_seed(4)
    options = {"r": 8, "lora_alpha": 16} | options
    peft = get_peft_model(model, LoraConfig(target_modules=targets, task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.15)
    peft.save_pretrained(path, save_embedding_layers=False)
    with torch.no_grad():
        logits = peft.eval()(torch.tensor([TOKENS])).logits[0].numpy()
    return logits, peft.unload()


def experts(folder):
    """A mixture of experts: an adapter with a module for each expert, merged by hand for the reference."""
    torch.manual_seed(7)
    layers, count, hidden, inner, rank = 2, 4, 64, 32, 4
    config = AutoConfig.for_model(
        "qwen3_moe", vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=128, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, max_position_embeddings=128, num_experts=count,
        num_experts_per_tok=2, moe_intermediate_size=inner, norm_topk_prob=True, decoder_sparse_step=1,
        mlp_only_layers=[], tie_word_embeddings=False, rms_norm_eps=1e-5)
    model = AutoModelForCausalLM.from_config(config).eval().float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + (1.0 if parameter.dim() == 1 else 0.0))
    base = str(folder / "qwen3moe.gguf")
    write_base(model, base, "qwen3moe", False, count, inner)
    adapter = folder / "qwen3moe-peft"
    adapter.mkdir()
    tensors = {}
    with torch.no_grad():
        plain = model(torch.tensor([TOKENS])).logits[0].numpy()
        for layer in range(layers):
            block = model.model.layers[layer].mlp.experts
            for expert in range(count):
                for name, weight in [("gate_proj", block.gate_up_proj[expert, :inner]),
                                     ("up_proj", block.gate_up_proj[expert, inner:]),
                                     ("down_proj", block.down_proj[expert])]:
                    key = f"base_model.model.model.layers.{layer}.mlp.experts.{expert}.{name}.lora_"
                    a, b = torch.randn(rank, weight.shape[1]) * 0.2, torch.randn(weight.shape[0], rank) * 0.2
                    tensors[key + "A.weight"], tensors[key + "B.weight"] = a, b
                    weight += 1.5 * b @ a
        wanted = model(torch.tensor([TOKENS])).logits[0].numpy()
    save_file(tensors, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "r": rank, "lora_alpha": 1.5 * rank,
        "target_modules": ["gate_proj", "up_proj", "down_proj"]}))
    out = folder / "experts.gguf"
    loragen("convert", adapter, out, "--base", base)
    check("qwen3moe: base", difference(host(base), plain), 1e-4)
    check("qwen3moe: the adapter matters", difference(wanted, plain), 0.1, below=False)
    check("qwen3moe: experts", difference(host(base, str(out)), wanted), 1e-4)


def host(base, adapter=None):
    model = Llama(base, n_ctx=64, n_batch=64, n_threads=2, logits_all=True, verbose=False, lora_path=adapter,
                  type_k=0, type_v=0)
    model.eval(TOKENS)
    logits = np.array(model.scores[: len(TOKENS)], dtype=np.float64)
    model.close()
    return logits


def loragen(*arguments, fails=False):
    result = subprocess.run([LORAGEN, *map(str, arguments)], capture_output=True, text=True)
    assert (result.returncode != 0) == fails, (arguments, result.stdout, result.stderr)
    return result.stdout + result.stderr


def difference(a, b):
    return float(np.abs(a - b).max())


def check(name, value, limit, below=True):
    good = value < limit if below else value > limit
    print(f"{'ok  ' if good else 'FAIL'} {name}: {value:.3g} ({'<' if below else '>'} {limit:g})")
    if not good:
        check.failed += 1


check.failed = 0


def main():
    print(f"llama-cpp-python {llama_cpp.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for kind, arch, permutes in [("llama", "llama", True), ("mistral", "llama", True), ("qwen2", "qwen2", False),
                                     ("qwen3", "qwen3", False)]:
            model = make_model(kind)
            base = str(folder / f"{kind}.gguf")
            write_base(model, base, arch, permutes)
            model.config.save_pretrained(folder / kind)
            with torch.no_grad():
                plain = model(torch.tensor([TOKENS])).logits[0].numpy()
            check(f"{kind}: base", difference(host(base), plain), 1e-4)
            wanted, model = make_adapter(model, folder / f"{kind}-peft", LINEAR + ["lm_head", "embed_tokens"])
            check(f"{kind}: the adapter matters", difference(wanted, plain), 0.1, below=False)
            for source in (base, folder / kind):
                out = folder / f"{kind}-f32.gguf"
                loragen("convert", folder / f"{kind}-peft", out, "--base", source)
                check(f"{kind}: f32, base from {Path(source).name}", difference(host(base, str(out)), wanted), 1e-4)
            back = folder / f"{kind}-back"
            loragen("convert", out, back)
            with torch.no_grad():
                again = PeftModel.from_pretrained(model, str(back)).eval()
                check(f"{kind}: back to PEFT", difference(again(torch.tensor([TOKENS])).logits[0].numpy(), wanted), 1e-5)
                model = again.unload()
            for dtype, limit in [("float16", 0.05), ("bfloat16", 0.4)]:
                out = folder / f"{kind}-{dtype}.gguf"
                loragen("convert", folder / f"{kind}-peft", out, "--base", base, "--dtype", dtype)
                check(f"{kind}: {dtype}", difference(host(base, str(out)), wanted), limit)
            if permutes:
                out = folder / f"{kind}-unpermuted.gguf"
                loragen("convert", folder / f"{kind}-peft", out, "--base", "architecture=llama,permute=no")
                check(f"{kind}: control without permutation", difference(host(base, str(out)), wanted), 0.1, below=False)
            # Q8_0 in its blocks of 32, rank-stabilised scaling, ranks by a pattern.
            wanted, model = make_adapter(model, folder / f"{kind}-r32", ["q_proj", "up_proj"], r=32, use_rslora=True)
            out = folder / f"{kind}-q8.gguf"
            assert "numbers would change" in loragen(
                "convert", folder / f"{kind}-r32", out, "--base", base, "--dtype", "q8_0", fails=True)
            loragen("convert", folder / f"{kind}-r32", out, "--base", base, "--dtype", "q8_0", "--lossy")
            check(f"{kind}: q8_0", difference(host(base, str(out)), wanted), 1.0)
            assert "do not divide" in loragen("convert", folder / f"{kind}-peft", out, "--base", base, "--dtype", "q8_0",
                                              "--lossy", fails=True)
            wanted, model = make_adapter(
                model, folder / f"{kind}-mixed", ["q_proj", "k_proj"], rank_pattern={"k_proj": 4},
                alpha_pattern={"k_proj": 3})
            out = folder / f"{kind}-mixed.gguf"
            loragen("convert", folder / f"{kind}-mixed", out, "--base", base)
            check(f"{kind}: ranks and alphas by patterns", difference(host(base, str(out)), wanted), 1e-4)
        experts(folder)
        # What aborts llama.cpp is refused.
        print(loragen("convert", folder / "llama-peft", folder / "tied.gguf", "--base",
                      "architecture=llama,heads=4,kv-heads=2,tied=yes", fails=True).strip())
    return check.failed


if __name__ == "__main__":
    sys.exit(main())
