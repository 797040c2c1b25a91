#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How well does kernel ridge regression in NumPy do on this corpus? It shares no code with the library.

    python kernel_ridge.py                  # about a minute on one core

A condition is the mean embedding of the texts for X beside that of the texts for Y. What is predicted are the updates
B A; kernel and ridge are chosen on the validation tasks. Skill: 1 - squared error / squared error of the mean update.
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
    """Adapters of the rank that all have, closest to the predicted updates: per PEFT key [tasks, ...]. Column j of `w`
    weighs the adapter of task train[j]."""
    out = {}
    own, place = np.unique(train, return_inverse=True)
    per_task = np.zeros((len(w), len(own)))
    np.add.at(per_task, (slice(None), place), w)
    w = per_task + (1 - per_task.sum(1, keepdims=True)) / len(own)  # on updates that are not centred
    for key_a, key_b in MODULES:
        a = corpus.tensors[key_a][own].reshape(-1, minilm.WIDTH)
        b = corpus.tensors[key_b][own]  # [training tasks, 384, r]
        pairs = []
        for row in w:
            update = (b * row[:, None, None]).transpose(1, 0, 2).reshape(minilm.WIDTH, -1) @ a
            u, s, v = torch.svd_lowrank(torch.from_numpy(update), q=16, niter=4)
            root = s[: minilm.RANK].sqrt()
            pairs.append(((v[:, : minilm.RANK] * root).T.numpy(), (u[:, : minilm.RANK] * root).numpy()))
        out[key_a], out[key_b] = (np.stack(part) for part in zip(*pairs))
    return out


def embedder(conditions):
    """A function from a condition to [2 x 384], the mean embedding of X's texts and of Y's."""
    from transformers import AutoModel, AutoTokenizer

    def texts_of(condition, side):
        texts = condition[side]["text"]
        return texts if isinstance(texts, list) else [texts]

    tokenizer, model = AutoTokenizer.from_pretrained(minilm.folder()), AutoModel.from_pretrained(minilm.folder()).eval()
    texts = sorted({text for condition in conditions for side in ("yes", "no") for text in texts_of(condition, side)})
    found = {}
    for start in range(0, len(texts), 64):
        batch = tokenizer(texts[start : start + 64], padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.no_grad():
            states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        pooled = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        found.update(zip(texts[start : start + 64], pooled.numpy().astype(np.float64)))
    return lambda condition: np.concatenate(
        [np.mean([found[text] for text in texts_of(condition, side)], 0) for side in ("yes", "no")])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, help="use only so many training tasks")
    parser.add_argument("--by", choices=("definitions", "names", "both"), default="both", help="conditions of training")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    corpus = Corpus()
    embed = embedder([condition for line in corpus.lines for condition in line["conditions"]])
    wanted = {"definitions": (list,), "names": (str,), "both": (list, str)}[args.by]
    # Each condition of a training task is a row; `task` says whose it is.
    known, task = zip(*((embed(condition), i) for i in corpus.train[: args.train]
                        for condition in corpus.lines[i]["conditions"] if isinstance(condition["yes"]["text"], wanted)))
    known, task = np.stack(known), np.array(task)
    asked = {by: np.stack([embed(line["conditions"][which]) for line in corpus.lines])
             for by, which in (("definitions", 0), ("names", -2))}
    gram = centred(grams(corpus), corpus.train[: args.train])
    first = asked["names" if args.by == "names" else "definitions"]
    among = dict(kernels(known, known))
    best, name, ridge = max((skill(weights(kernel, among[name], ridge), gram, task, corpus.validation), name, ridge)
                            for name, kernel in kernels(first, known) for ridge in 10.0 ** np.arange(-5, 1.1, 0.5))
    print(f"{len(set(task))} training tasks by {args.by}; chosen on validation: {name} kernel, ridge {ridge:.2g}, "
          f"skill {best:.3f}")
    measure = measuring.Measure()
    for by, x in asked.items():
        w = weights(dict(kernels(x, known))[name], among[name], ridge)
        for group, rows in corpus.test.items():
            accuracy = 100 * np.array(measure(predicted(corpus, w[rows], task), [sides(corpus.lines[i]) for i in rows]))
            print(f"asked by {by}, {group}: skill {skill(w, gram, task, rows):.3f}, "
                  f"accuracy {accuracy.mean():.1f} ± {accuracy.std():.1f}", flush=True)


if __name__ == "__main__":
    main()
