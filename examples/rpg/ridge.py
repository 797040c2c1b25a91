# SPDX-License-Identifier: Apache-2.0
"""Ridge regression from label bits and their products to adapters, in NumPy."""
from itertools import combinations

import numpy as np

PENALTIES = [0.1, 0.3, 1, 3, 10, 30, 100, 300]


def features(tasks, order):
    """[tasks, terms]: bits as -1 and 1 and their products of up to `order` of them; the constant comes first."""
    bits = np.array([[2 * int(bit) - 1 for bit in task] for task in tasks], float)
    columns = [np.ones(len(bits))]
    for count in range(1, order + 1):
        columns += [bits[:, list(places)].prod(1) for places in combinations(range(bits.shape[1]), count)]
    return np.stack(columns, 1)


def fit(tasks, values, held_out, held_out_values, order):
    """(function from tasks to values, penalty): the penalty with the least error on the held-out tasks."""
    x, other = features(tasks, order), features(held_out, order)
    constant_is_free = np.ones(x.shape[1])
    constant_is_free[0] = 0
    best = (np.inf, None, None)
    for penalty in PENALTIES:
        weights = np.linalg.solve(x.T @ x + penalty * np.diag(constant_is_free), x.T @ values)
        error = np.square(other @ weights - held_out_values).sum()
        if error < best[0]:
            best = (error, weights, penalty)
    _, weights, penalty = best
    return lambda names: features(names, order) @ weights, penalty


class Factors:
    """Adapters as the numbers of A and B."""

    def __init__(self, tensors):
        self.shapes = {key: value.shape for key, value in tensors.items()}

    def encode(self, tensors):
        return np.concatenate([tensors[key].ravel() for key in self.shapes])

    def decode(self, row):
        tensors, start = {}, 0
        for key, shape in self.shapes.items():
            tensors[key] = row[start : start + np.prod(shape)].reshape(shape)
            start += np.prod(shape)
        return tensors


class Product:
    """Adapters as their updates B·A; back by the best approximation of the same rank."""

    def __init__(self, tensors):
        self.pairs = [(key, key.replace("lora_A", "lora_B")) for key in tensors if "lora_A" in key]
        self.sizes = [(tensors[b].shape[0], *tensors[a].shape) for a, b in self.pairs]  # out, rank, in

    def encode(self, tensors):
        return np.concatenate([(tensors[b] @ tensors[a]).ravel() for a, b in self.pairs])

    def decode(self, row):
        tensors, start = {}, 0
        for (a, b), (outputs, rank, inputs) in zip(self.pairs, self.sizes):
            update = row[start : start + outputs * inputs].reshape(outputs, inputs)
            u, s, v = np.linalg.svd(update, full_matrices=False)
            root = np.sqrt(s[:rank])
            tensors[b], tensors[a] = u[:, :rank] * root, root[:, None] * v[:rank]
            start += outputs * inputs
        return tensors
