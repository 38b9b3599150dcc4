"""Flax models that tests of the probe share."""

import jax
import jax.numpy as jnp
from flax import linen, nnx


class LinenBlock(linen.Module):
    """x + dense relu dense x, with dropout that would be heard."""

    width: int

    @linen.compact
    def __call__(self, x):
        h = linen.relu(linen.Dense(self.width)(x))
        return x + linen.Dense(self.width)(linen.Dropout(0.5, deterministic=False)(h))


class LinenNetwork(linen.Module):
    """A dense layer, blocks, and a normalization that is told to use its running averages."""

    width: int = 16
    blocks: int = 2

    @linen.compact
    def __call__(self, x, scale=1.0):
        x = scale * linen.Dense(self.width)(x)
        for _ in range(self.blocks):
            x = LinenBlock(self.width)(x)
        return linen.BatchNorm(use_running_average=True)(x)


class Transformer(linen.Module):
    """Tokens through attention; what comes out is (sequence, token, feature)."""

    @linen.compact
    def __call__(self, tokens):
        x = linen.Embed(11, 12)(tokens)
        x = x + linen.MultiHeadDotProductAttention(3)(linen.LayerNorm()(x))
        return linen.Dense(5)(x)


class Branch(nnx.Module):
    """What NNX's twin of the block adds."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.inner = nnx.Linear(width, width, rngs=rngs)
        self.outer = nnx.Linear(width, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.outer(self.dropout(jax.nn.relu(self.inner(x))))


class NNXNetwork(nnx.Module):
    """A linear layer, a branch used twice, and batch normalization."""

    def __init__(self, width: int = 16, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(8, width, rngs=rngs)
        self.branches = nnx.List([Branch(width, rngs=rngs)])
        self.norm = nnx.BatchNorm(width, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        for branch in (self.branches[0], self.branches[0]):
            x = x + branch(x)
        return self.norm(x)


class Remat(nnx.Module):
    """A layer inside a transformation, and one outside."""

    def __init__(self, rngs: nnx.Rngs):
        self.inside = nnx.Linear(8, 8, rngs=rngs)
        self.outside = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        x = nnx.remat(lambda layer, x: layer(x))(self.inside, x)
        return self.outside(jnp.tanh(x))
