#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well does kernel ridge regression in NumPy do on this corpus? It shares no code with the library.

    python kernel_ridge.py                  # about a minute on one core

A condition is the mean embedding of the definitions of X beside that of Y. What is predicted are the updates B A; kernel
and ridge are chosen on the validation tasks. Skill: 1 - squared error / squared error of the mean update.
"""
import argparse

import numpy as np
import torch

import measuring
import minilm
from corpus import Corpus, sides


MODULES = [(key, key.replace("lora_A", "lora_B")) for key in minilm.keys() if "lora_A" in key]


def grams(corpus):
    """<update of i, update of j> for all pairs of adapters, without making the updates: tr(A_i' B_i' B_j A_j)."""
    total, n = 0, len(corpus.lines)
    for key_a, key_b in MODULES:
        a, b = corpus.tensors[key_a], corpus.tensors[key_b]
        aa = (a.reshape(-1, minilm.WIDTH) @ a.reshape(-1, minilm.WIDTH).T).reshape(n, minilm.RANK, n, minilm.RANK)
        flat = b.transpose(0, 2, 1).reshape(-1, minilm.WIDTH)
        total = total + np.einsum("irjs,irjs->ij", aa, (flat @ flat.T).reshape(n, minilm.RANK, n, minilm.RANK))
    return total


def centred(gram, train):
    row = gram[:, train].mean(1)
    return gram - row[:, None] - row[None] + row[train].mean()


def kernels(x, known):
    """(name, [tasks, training tasks]) of conditions x [tasks, n] and those of the training tasks."""
    centre = known.mean(0)
    x, known = x - centre, known - centre
    yield "linear", x @ known.T
    apart = (x * x).sum(1)[:, None] + (known * known).sum(1) - 2 * x @ known.T
    scale = 2 * (known * known).sum(1).mean()  # the mean distance among training tasks
    for width in (0.5, 1, 2, 4):
        yield f"gaussian {width}", np.exp(-apart / (width * scale))


def weights(kernel, known, ridge):
    """[tasks, training tasks]: a prediction is the mean plus these weights times the centred training updates.
    `known` is the kernel among training tasks."""
    return kernel @ np.linalg.inv(known + ridge * np.trace(known) / len(known) * np.eye(len(known)))


def skill(w, gram, train, which):
    error = np.diag(gram)[which] - 2 * (w[which] * gram[np.ix_(which, train)]).sum(1)
    error = error + np.einsum("ti,ij,tj->t", w[which], gram[np.ix_(train, train)], w[which])
    return 1 - error.sum() / np.diag(gram)[which].sum()


def predicted(corpus, w, train):
    """Adapters of the rank that all have, closest to the predicted updates: per PEFT key [tasks, ...]."""
    out = {}
    w = w + (1 - w.sum(1, keepdims=True)) / len(train)  # on updates that are not centred
    for key_a, key_b in MODULES:
        a = corpus.tensors[key_a][train].reshape(-1, minilm.WIDTH)
        b = corpus.tensors[key_b][train]  # [train tasks, 384, r]
        pairs = []
        for row in w:
            update = (b * row[:, None, None]).transpose(1, 0, 2).reshape(minilm.WIDTH, -1) @ a
            u, s, v = torch.svd_lowrank(torch.from_numpy(update), q=16, niter=4)
            root = s[: minilm.RANK].sqrt()
            pairs.append(((v[:, : minilm.RANK] * root).T.numpy(), (u[:, : minilm.RANK] * root).numpy()))
        out[key_a], out[key_b] = (np.stack(part) for part in zip(*pairs))
    return out


def embedded(lines, which):
    """[tasks, 2 x 384]: of each task's conditions number `which`, the mean embedding of X's texts and of Y's."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(minilm.folder()), AutoModel.from_pretrained(minilm.folder()).eval()
    asked = [line["conditions"][which][side]["text"] for line in lines for side in ("yes", "no")]
    asked = [texts if isinstance(texts, list) else [texts] for texts in asked]
    texts = sorted({text for some in asked for text in some})
    found = {}
    for start in range(0, len(texts), 64):
        batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        found.update(zip(texts[start : start + 64], pooled.numpy().astype(np.float64)))
    return np.stack([np.mean([found[text] for text in some], 0) for some in asked]).reshape(len(lines), -1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, help="use only so many training tasks")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    corpus = Corpus()
    train = corpus.train[: args.train]
    gram = centred(grams(corpus), train)
    few_shot, named = embedded(corpus.lines, 0), embedded(corpus.lines, -1)
    _, name, ridge = best = max((skill(weights(k, k[train], r), gram, train, corpus.validation), name, r)
                                for name, k in kernels(few_shot, few_shot[train]) for r in 10.0 ** np.arange(-4, 1.1, 0.5))
    print(f"{len(train)} training tasks; chosen on validation: {name} kernel, ridge {ridge:.2g}, skill {best[0]:.3f}")
    measure = measuring.Measure()
    for asked, x in (("definitions", few_shot), ("names", named)):
        known = dict(kernels(few_shot, few_shot[train]))[name][train]
        w = weights(dict(kernels(x, few_shot[train]))[name], known, ridge)
        for group, rows in corpus.test.items():
            accuracy = 100 * np.array(measure(predicted(corpus, w[rows], train), [sides(corpus.lines[i]) for i in rows]))
            print(f"asked by {asked}, {group}: skill {skill(w, gram, train, rows):.3f}, "
                  f"accuracy {accuracy.mean():.1f} ± {accuracy.std():.1f}")
    for group, rows in corpus.test.items():
        scores = [100 * corpus.lines[i]["scores"]["test_accuracy"] for i in rows]
        print(f"fine-tuned, {group}: {np.mean(scores):.1f} ± {np.std(scores):.1f}")


if __name__ == "__main__":
    main()
