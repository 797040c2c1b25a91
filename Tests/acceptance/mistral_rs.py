"""mistral.rs (Python package) against transformers and PEFT: folders that `loragen convert` wrote, loaded while it runs.

mistral_rs.py LORAGEN: a tiny Llama is made on the spot. Passes when the greedy tokens and their probabilities are those of
PEFT, with plain scale, with rslora and with ranks and alphas by patterns, and when a folder that mistral.rs rejects is one
that `loragen convert --portable` refuses.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from mistralrs import Architecture, ChatCompletionRequest, ModelDType, Runner, Which
from peft import LoraConfig, get_peft_model
from tiny import make_llama, words
from transformers import AutoModelForCausalLM

torch.set_num_threads(2)
LORAGEN = sys.argv[1]
PROMPT, LENGTH = [1, 5, 9, 33, 3, 70, 41], 12
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
failed = 0


def check(name, passed, detail=""):
    global failed
    failed += not passed
    print(f"{'ok  ' if passed else 'FAIL'} {name} {detail}", flush=True)


def make_base(folder):
    model = make_llama(folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_theta"] = 10000.0  # where mistral.rs looks
    (folder / "config.json").write_text(json.dumps(config))
    words().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{{ messages[0]['content'] }}"}))
    return model


def greedy(model):
    tokens, logprobs = list(PROMPT), []
    with torch.no_grad():
        for _ in range(LENGTH):
            scores = torch.log_softmax(model(torch.tensor([tokens])).logits[0, -1], -1)
            token = int(scores.argmax())
            tokens.append(token)
            logprobs.append(float(scores[token]))
            if token == 2:
                break
    return tokens[len(PROMPT):], logprobs


def served(runner, adapter=None):
    answer = runner.send_chat_completion_request(ChatCompletionRequest(
        messages=" ".join(f"w{t}" for t in PROMPT), model="default", temperature=0.0, top_k=1, max_tokens=LENGTH,
        logprobs=True, top_logprobs=1, adapter=adapter))
    content = answer.choices[0].logprobs.content
    return [int(c.token.strip().removeprefix("w")) for c in content], [c.logprob for c in content]


def agree(name, found, wanted):
    same = found[0] == wanted[0]
    worst = max(abs(a - b) for a, b in zip(found[1], wanted[1])) if same else float("inf")
    check(name, same and worst < 2e-2,  # the base model alone is off by 2e-3
          f"{len(wanted[0])} tokens, worst logarithm of a probability off by {worst:.1e}"
          if same else f"{found[0]} instead of {wanted[0]}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        plain = greedy(make_base(folder / "base"))
        cases = {"plain": {}, "rslora": {"use_rslora": True},
                 "patterns": {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"v_proj": 20}}}
        wanted = {}
        for name, options in cases.items():
            model = AutoModelForCausalLM.from_pretrained(folder / "base").eval()
            torch.manual_seed(len(name))
            peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=12, target_modules=TARGETS, **options)).eval()
            with torch.no_grad():
                for key, parameter in peft.named_parameters():
                    if "lora_" in key:
                        parameter.copy_(torch.randn_like(parameter) * 0.2)
            peft.save_pretrained(folder / f"{name}-peft")
            wanted[name] = greedy(peft)
            check(f"{name}: the adapter matters", wanted[name][0] != plain[0])
            subprocess.run([LORAGEN, "convert", folder / f"{name}-peft", folder / name, "--format", "peft"], check=True,
                           stdout=subprocess.DEVNULL)
        runner = Runner(which=Which.Lora(model_id=str(folder / "base"), adapters=[], arch=Architecture.Llama,
                                         dtype=ModelDType.F32), no_paged_attn=True)
        agree("base", served(runner), plain)
        for name in cases:
            runner.load_lora_adapter(name, str(folder / name))
            agree(name, served(runner, name), wanted[name])
        # What it rejects must not leave loragen as portable.
        peft = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "base"),
                              LoraConfig(r=4, target_modules=TARGETS, use_dora=True))
        peft.save_pretrained(folder / "dora")
        refused = subprocess.run([LORAGEN, "convert", folder / "dora", folder / "dora-out", "--portable"],
                                 capture_output=True, text=True)
        check("DoRA is refused as portable", refused.returncode != 0 and not (folder / "dora-out").exists(),
              refused.stderr.strip().splitlines()[-1][:160])
        try:
            runner.load_lora_adapter("dora", str(folder / "dora"))
            check("DoRA is rejected by mistral.rs", False)
        except Exception as error:
            check("DoRA is rejected by mistral.rs", True, str(error).splitlines()[0][:80])
    return failed


if __name__ == "__main__":
    sys.exit(main())
