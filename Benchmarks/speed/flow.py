"""The flow that all sides compute: affine couplings over alternating halves, without normalization.

    log-scale = 2 tanh(raw / 2), conditioner reads-H-H-2·changed with ReLU, standard normal base, float32
"""
from dataclasses import dataclass

import numpy as np

LOG_SCALE_BOUND = 2.0


@dataclass(frozen=True)
class Shape:
    features: int
    layers: int
    width: int

    @property
    def name(self):
        return f"{self.features}x{self.layers}x{self.width}"

    def halves(self, layer):
        """What the layer reads and what it changes, as slices of the features."""
        middle = (self.features + 1) // 2
        first, second = slice(0, middle), slice(middle, self.features)
        return (first, second) if layer % 2 == 0 else (second, first)

    def sides(self, layer):
        """Inputs and outputs of the conditioner's three dense layers."""
        middle = (self.features + 1) // 2
        reads = middle if layer % 2 == 0 else self.features - middle
        return [(reads, self.width), (self.width, self.width), (self.width, 2 * (self.features - reads))]

    @property
    def flops(self):
        """Of the dense layers, for one row scored; a training step does three times as many."""
        return sum(2 * i * o for layer in range(self.layers) for i, o in self.sides(layer))

    @property
    def parameters(self):
        return sum((i + 1) * o for layer in range(self.layers) for i, o in self.sides(layer))


SHAPES = [Shape(8, 8, 64), Shape(16, 8, 128), Shape(43, 10, 128), Shape(64, 10, 256)]


def make_weights(shape, seed=1):
    """Per layer the weight [outputs, inputs] and bias of three dense layers, one after the other."""
    rng = np.random.default_rng(seed)
    weights = []
    for layer in range(shape.layers):
        for index, (inputs, outputs) in enumerate(shape.sides(layer)):
            size = np.sqrt(2 / inputs) * (0.1 if index == 2 else 1)
            weights.append((rng.normal(size=(outputs, inputs)) * size).astype(np.float32))
            weights.append((rng.normal(size=outputs) * 0.05).astype(np.float32))
    return weights


def make_rows(shape, count=4096, seed=2):
    return np.random.default_rng(seed).normal(size=(count, shape.features)).astype(np.float32)


def reference(shape, weights, rows):
    """The log-likelihoods in float64, by the formulas."""
    x = rows.astype(np.float64)
    total = np.zeros(len(x))
    for layer in range(shape.layers):
        reads, changes = shape.halves(layer)
        h = x[:, reads]
        for index in range(3):
            w, b = weights[6 * layer + 2 * index], weights[6 * layer + 2 * index + 1]
            h = h @ w.T.astype(np.float64) + b
            if index < 2:
                h = np.maximum(h, 0)
        raw, shift = np.split(h, 2, axis=1)
        log_scale = LOG_SCALE_BOUND * np.tanh(raw / LOG_SCALE_BOUND)
        x[:, changes] = x[:, changes] * np.exp(log_scale) + shift
        total += log_scale.sum(axis=1)
    return total - 0.5 * (x * x).sum(axis=1) - 0.5 * shape.features * np.log(2 * np.pi)
