"""Small networks whose gradients can be written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

SIZES = (6, 5, 3)


def run(function, *arguments):
    """Return the result of a function as NumPy arrays, compiled without optimization, which is faster here."""
    compiled = jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})
    return jax.device_get(compiled(*arguments))


class Plain(nn.Module):
    """Dense layers with an activation that is a plain function, called without `train`."""

    function: str = "tanh"

    @nn.compact
    def __call__(self, x):
        for i, size in enumerate(SIZES[:-1]):
            x = getattr(nn, self.function)(nn.Dense(size, name=f"dense{i}")(x))
        return nn.Dense(SIZES[-1], name="output")(x)


def batch_of(n=8, shape=(4,), seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": jnp.asarray(rng.normal(size=(n, *shape)).astype(np.float32)),
        "label": jnp.arange(n, dtype=jnp.int32) % SIZES[-1],
    }


def variables_of(model, batch, seed=1):
    """Return variables with biases that are not 0."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), batch["image"])
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(scale=0.5, size=s.shape).astype(np.float32)), shapes)


def plain_loss(params, batch, perturbations, function="tanh"):
    """Return the loss of `Plain`, written out, with perturbations added to the outputs of the layers; and these."""
    x, outputs = batch["image"], {}
    for name in ("dense0", "dense1", "output"):
        x = x @ params[name]["kernel"] + params[name]["bias"][None] + perturbations[name]
        outputs[name] = x
        x = getattr(nn, function)(x)
    logits = outputs["output"]
    losses = jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, batch["label"][:, None], 1)[:, 0]
    return jnp.mean(losses), outputs


def perturbed_gradients(params, batch, function="tanh"):
    """Return outputs, gradients with respect to them, and gradients of the parameters of `Plain`, by name."""
    zeros = {name: jnp.zeros((len(batch["image"]), n)) for name, n in zip(params, (6, 5, 3), strict=True)}
    gradient = jax.grad(functools.partial(plain_loss, function=function), (0, 2), has_aux=True)
    (own, outputs_gradient), outputs = run(gradient, params, batch, zeros)
    return outputs, outputs_gradient, own
