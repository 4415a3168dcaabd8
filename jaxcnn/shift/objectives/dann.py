"""Domain-adversarial training: features from which a classifier cannot tell source and target."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn.objectives import OWN, Apply, Batch, Need, Sums
from jaxcnn.runtime.fields import NonNegative, Positive, PositiveInt
from jaxcnn.shift.objectives.supervised import Supervised, entropy, with_terms
from jaxcnn.shift.objectives.two_domains import Domain, two_passes


@jax.custom_vjp
def reverse_gradient(x: jax.Array, strength: jax.Array | float) -> jax.Array:
    """Return x; its gradient is multiplied by `-strength` (Ganin et al. 2016, section 4.2, equations 16 and 17)."""
    return x


def _forward(x: jax.Array, strength: jax.Array | float) -> tuple[jax.Array, jax.Array]:
    return x, jnp.asarray(strength, x.dtype)


def _backward(strength: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return -strength * gradient, jnp.zeros_like(strength)


reverse_gradient.defvjp(_forward, _backward)


def reversal_strength(progress: jax.Array | float, gamma: float = 10.0) -> jax.Array:
    """Return `2 / (1 + exp(-gamma p)) - 1`, which rises from 0 to 1 with the progress p of training (Ganin et al. 2016,
    section 5.2.2), so that a domain classifier that knows nothing yet does not disturb the features."""
    return 2 / (1 + jnp.exp(-gamma * progress)) - 1


@dataclass(frozen=True)
class DANN(Supervised):
    """Domain-adversarial training (Ganin et al. 2016): classification of the source, and a domain classifier on the
    penultimate features, whose gradient is reversed before it reaches the encoder. It needs `data.target`.

    The domain classifier learns at the full rate; only the encoder's gradient is reversed and scaled. Its parameters
    are the objective's own. It is unstable: use three seeds or more, and choose settings by `target_entropy`, which
    training reports beside `domain_loss` and `domain_accuracy` (0.5: the features do not tell the domains apart; 1:
    the encoder has lost), not by the target's accuracy.

    Attributes:
        weight: factor of the reversed gradient, beside the schedule `reversal_strength`. The paper has 1, with SGD; if
            `domain_loss` rises far above 0.69, the value of a guess, the encoder overpowers the domain classifier, and
            0.1 is better (Adam on MNIST).
        gamma: steepness of that schedule; the paper has 10.
        hidden: widths of the hidden ReLU layers of the domain classifier; the paper has one of 100 for MNIST, and two
            of 1024 for larger networks (its figure 4).
        statistics: see `two_domains.Domain`.
    """

    needs: ClassVar[tuple[Need, ...]] = ("target", "progress", "features")

    weight: NonNegative = 1.0
    gamma: Positive = 10.0
    hidden: tuple[PositiveInt, ...] = (100,)
    statistics: Domain = "target"

    def init(self, key: jax.Array, logits: jax.ShapeDtypeStruct, features: jax.ShapeDtypeStruct | None = None) -> Any:
        widths = (features.shape[1], *self.hidden, 1)
        draw = nn.initializers.he_normal()
        return {
            f"dense{number}": {
                "kernel": draw(jax.random.fold_in(key, number), shape, jnp.float32),
                "bias": jnp.zeros(shape[1], jnp.float32),
            }
            for number, shape in enumerate(itertools.pairwise(widths), start=1)
        }

    def domain_logits(self, own: Any, features: jax.Array) -> jax.Array:
        """Return the log odds that features [n, d] are those of source images: [n]."""
        x = features
        for number in range(1, len(self.hidden) + 2):
            layer = own[f"dense{number}"]
            x = (jax.nn.relu(x) if number > 1 else x) @ layer["kernel"] + layer["bias"][None]
        return x[:, 0]

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        passes = two_passes(apply, params, model_state, batch, key, self.statistics)
        sums = self.sums(passes.source_logits, batch)
        strength = self.weight * reversal_strength(batch["progress"], self.gamma)
        source, target = (
            self.domain_logits(params[OWN], reverse_gradient(features, strength))
            for features in (passes.source_features, passes.target_features)
        )
        # Cross-entropy with the label 1 for source and 0 for target, each domain with half of the weight.
        domain_loss = (jnp.mean(jax.nn.softplus(-source)) + jnp.mean(jax.nn.softplus(target))) / 2
        terms = {
            "domain_loss": domain_loss,
            "domain_accuracy": (jnp.mean(source > 0) + jnp.mean(target <= 0)) / 2,
            "target_entropy": entropy(passes.target_logits),
        }
        return sums["loss"] / sums["n"] + domain_loss, (passes.model_state, with_terms(sums, terms))
