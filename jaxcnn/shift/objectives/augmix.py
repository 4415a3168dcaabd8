"""AugMix: mixed chains of augmentations, and consistent predictions of an image and two of its mixtures."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le

from jaxcnn.data import to_float
from jaxcnn.objectives import Apply, Batch, Sums
from jaxcnn.runtime.fields import NonNegative, Positive, PositiveInt
from jaxcnn.shift.objectives.operations import OPERATIONS, operate
from jaxcnn.shift.objectives.supervised import Supervised, with_terms

_VIEWS = ("view1", "view2")


def jensen_shannon(*logits: jax.Array) -> jax.Array:
    """Return the Jensen-Shannon divergence of predictions, in nats, averaged over the images: a float32 scalar.

    It is the mean over the distributions of their divergence from their mean, which is clamped to 1e-7 or more, as in
    the published code of AugMix. It is symmetric, and at most log k for k distributions.

    Args:
        logits: two distributions or more, each [n, classes].
    """
    log_p = jnp.stack([jax.nn.log_softmax(each.astype(jnp.float32)) for each in logits])
    p = jnp.exp(log_p)
    mixture = jnp.clip(jnp.mean(p, axis=0, keepdims=True), 1e-7, 1)
    return jnp.mean(jnp.sum(p * (log_p - jnp.log(mixture)), axis=-1))


@dataclass(frozen=True)
class AugMix(Supervised):
    """Classification of images plus `weight` times the Jensen-Shannon divergence of the predictions of an image and two
    mixtures of it (Hendrycks et al. 2020, algorithm 1). Training reports the divergence as `jsd`.

    A mixture is m x + (1 - m) Σ w_i chain_i(x) with m from Beta(alpha, alpha) and w from Dirichlet(alpha, ..., alpha),
    where a chain is one to three random operations (`operations.OPERATIONS`). Images must be uint8, or float in 0..1.
    The three versions go through the network in one pass, so that batch normalization sees all of them, and the loss of
    classification is that of the image itself, both as in the published code. A step takes about three times as long.

    Attributes:
        weight: factor of the divergence; the paper has 12.
        severity: operations have levels that are uniform in [0.1, severity]; the paper has 3, of at most 10.
        width: number of chains; the paper has 3.
        depth: operations in a chain; 0 draws 1, 2 or 3 for every chain, as the paper does.
        alpha: of both distributions; the paper has 1.
    """

    weight: NonNegative = 12.0
    severity: Annotated[float, Gt(0.1), Le(10)] = 3.0
    width: PositiveInt = 3
    depth: Annotated[int, Gt(-1), Le(8)] = 0
    alpha: Positive = 1.0

    def views(self, key: jax.Array, batch: Batch) -> Batch:
        images = to_float(batch["image"])
        mixed = jax.vmap(lambda key: augment_and_mix(key, images, self))(jax.random.split(key, len(_VIEWS)))
        return batch | dict(zip(_VIEWS, mixed, strict=True))

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        images = jnp.concatenate([batch[name] for name in ("image", *_VIEWS)])
        logits, model_state = apply(params, model_state, images, key)
        parts = jnp.split(logits, 1 + len(_VIEWS))
        sums, divergence = self.sums(parts[0], batch), jensen_shannon(*parts)
        loss = sums["loss"] / sums["n"] + self.weight * divergence
        return loss, (model_state, with_terms(sums, {"jsd": divergence}))


def augment_and_mix(key: jax.Array, images: jax.Array, options: AugMix = AugMix()) -> jax.Array:
    """Return a mixture of every image with augmented versions of itself, as `AugMix` describes.

    Args:
        key: random key.
        images: float32 [n, height, width, channels] in 0..1.
        options: its `severity`, `width`, `depth` and `alpha`.

    Returns:
        float32 of the same shape, in 0..1.
    """
    n, longest = len(images), options.depth or 3
    keys = jax.random.split(key, 6)
    drawn = (n, options.width, longest)
    numbers = jax.random.randint(keys[0], drawn, 0, len(OPERATIONS))
    levels = jax.random.uniform(keys[1], drawn, minval=0.1, maxval=options.severity)
    signs = jax.random.rademacher(keys[2], drawn, jnp.float32)
    depths = jax.random.randint(keys[3], drawn[:2], 1, 4) if not options.depth else jnp.full(drawn[:2], longest)
    weights = jax.random.dirichlet(keys[4], jnp.full(options.width, options.alpha), (n,))
    share = jax.random.beta(keys[5], options.alpha, options.alpha, (n,))

    def chain(image: jax.Array, number: jax.Array, level: jax.Array, sign: jax.Array, depth: jax.Array) -> jax.Array:
        def operated(image: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            place, *options = step
            return jnp.where(place < depth, operate(image, *options), image), None

        # A loop, which is compiled once.
        return jax.lax.scan(operated, image, (jnp.arange(longest), number, level, sign))[0]

    def mixed(image: jax.Array, weights: jax.Array, share: jax.Array, *chains: jax.Array) -> jax.Array:
        stored = jnp.rint(255 * jnp.clip(image, 0, 1))
        augmented = jax.vmap(chain, in_axes=(None, 0, 0, 0, 0))(stored, *chains)
        return (1 - share) * jnp.tensordot(weights, augmented / 255, 1) + share * image

    return jax.vmap(mixed)(images, weights, share, numbers, levels, signs, depths)
