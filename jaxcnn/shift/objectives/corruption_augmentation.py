"""Training on corrupted images."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le

from jaxcnn.corruptions import CORRUPTIONS, HOST, corrupt
from jaxcnn.data import to_float
from jaxcnn.objectives import Apply, Batch, Sums
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean
from jaxcnn.shift.objectives.supervised import Supervised


@dataclass(frozen=True)
class CorruptionAugmentation(Supervised):
    """Classification of images, of which a share of every batch is corrupted at severities that are uniform in 1..5.

    The corrupted images are the first of the batch, whose order is random, in equal numbers for each corruption; their
    number is rounded down. Severities are arrays, so all of them are one program. Images must be uint8, or float in
    0..1. Robustness should then be measured by other corruptions than these.

    Attributes:
        corruptions: names in `shift.CORRUPTIONS`, without those in `shift.HOST`. Gaussian noise alone is a strong
            baseline (Rusak et al. 2020, A simple way to make neural networks robust against diverse image corruptions).
        share: share of the images that are corrupted.
    """

    corruptions: tuple[str, ...] = ("gaussian_noise",)
    share: Annotated[float, Gt(0), Le(1)] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        known = [name for name in CORRUPTIONS if name not in HOST]
        for name in self.corruptions:
            if name not in known:
                raise InputError(
                    f"CorruptionAugmentation.corruptions has {name!r}; those that run on the device are "
                    f"{', '.join(known)}.{did_you_mean(name, known)}"
                )
        if not self.corruptions:
            raise InputError("CorruptionAugmentation.corruptions is empty; name at least one, such as gaussian_noise.")

    def views(self, key: jax.Array, batch: Batch) -> Batch:
        images = to_float(batch["image"])
        each = int(self.share * len(images)) // len(self.corruptions)
        if not each:
            raise InputError(
                f"CorruptionAugmentation.share is {self.share:g}; of {len(images)} images in a batch this leaves none "
                f"for each of {len(self.corruptions)} corruptions. Raise it, or data.batch_size."
            )
        parts = []
        for number, name in enumerate(self.corruptions):
            severity_key, noise_key = jax.random.split(jax.random.fold_in(key, number))
            severity = jax.random.randint(severity_key, (each,), 1, 6)
            some = jnp.clip(images[number * each : (number + 1) * each], 0, 1)
            parts.append(corrupt(name, some, severity, key=noise_key))
        return batch | {"image": jnp.concatenate([*parts, images[each * len(self.corruptions) :]])}

    def __call__(
        self, apply: Apply, params: Any, model_state: Any, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Any, Sums]]:
        return self.classification(apply, params, model_state, batch, key)
