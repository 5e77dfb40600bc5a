"""JAX, written by hand and jitted; Adam by the formulas in the same jitted step."""
import os

import numpy as np

from flow import LOG_SCALE_BOUND


class Peer:
    def __init__(self, shape, weights, threads):
        if threads == 1:
            os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        import jax
        import jax.numpy as jnp
        self.jax, self.jnp, self.shape = jax, jnp, shape
        self.weights = [jnp.asarray(w) for w in weights]
        frozen = self.weights
        self.score = jax.jit(lambda x: self.log_density(frozen, x))

    def log_density(self, weights, x):
        jnp, shape = self.jnp, self.shape
        middle = (shape.features + 1) // 2
        parts = [x[:, :middle], x[:, middle:]]
        total = 0
        for layer in range(shape.layers):
            w0, b0, w1, b1, w2, b2 = weights[6 * layer:6 * layer + 6]
            reads, changes = layer % 2, 1 - layer % 2
            h = jnp.maximum(parts[reads] @ w0.T + b0, 0)
            h = jnp.maximum(h @ w1.T + b1, 0)
            raw, shift = jnp.split(h @ w2.T + b2, 2, axis=1)
            log_scale = LOG_SCALE_BOUND * jnp.tanh(raw * (1 / LOG_SCALE_BOUND))
            parts[changes] = parts[changes] * jnp.exp(log_scale) + shift
            total = total + log_scale.sum(axis=1)
        squares = sum((part * part).sum(axis=1) for part in parts)
        return total - 0.5 * squares - 0.5 * shape.features * 1.8378770664093453

    def scorer(self, rows):
        x, score = self.jnp.asarray(rows), self.score
        return lambda: np.asarray(score(x))

    def one_record(self):
        return lambda row: float(self.score(row)[0])

    def trainer(self, rows):
        jax, jnp = self.jax, self.jnp
        x = jnp.asarray(rows)

        def step(state, x):
            weights, first, second, count = state
            count = count + 1
            gradient = jax.grad(lambda w: -self.log_density(w, x).mean())(weights)
            first = [0.9 * m + 0.1 * g for m, g in zip(first, gradient)]
            second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradient)]
            one, two = 1 / (1 - 0.9 ** count), 1 / (1 - 0.999 ** count)
            weights = [w - 1e-4 * m * one / (jnp.sqrt(v * two) + 1e-8)
                       for w, m, v in zip(weights, first, second)]
            return weights, first, second, count

        compiled = jax.jit(step, donate_argnums=0)
        copies = [jnp.array(w) for w in self.weights]
        zeros = lambda: [jnp.zeros_like(w) for w in self.weights]
        self.state = (copies, zeros(), zeros(), jnp.float32(0))

        def call():
            self.state = jax.block_until_ready(compiled(self.state, x))
        return call
