"""LeNet-5 on 10,000 MNIST digits with AugMix, for corruptions that training does not contain.

    python launch.py --config=configs/shift/lenet5_robust.py --config.data.data_dir=DIR

DIR contains mnist as written by `python -m jaxcnn prepare mnist --data_dir=DIR`. AugMix (Hendrycks et al. 2020) trains
on mixtures of shifts, rotations and changes of tone, with consistent predictions; its sweep (add `--sweep=augmentation
--grid.seed=0,1,2`) compares it with training on clean images, and on images with Gaussian noise (Rusak et al. 2020), on
two corruptions that none of them has seen. `target` in results.json is the error on corrupted test images.
"""

from collections.abc import Iterator
from typing import Any

from jaxcnn import Data, Experiment, Optimizer, shift
from jaxcnn.models import LeNet5
from jaxcnn.objectives import CrossEntropy


def get_config() -> Experiment:
    return Experiment(
        model=LeNet5(norm="batch", activation="relu"),
        data=Data(
            source="tfds",
            name="mnist",
            train_split="train[:10000]",
            target="corruption:impulse_noise:4",
            batch_size=100,
            pad=2,
            mean=(0.1,),
            std=(0.3,),
        ),
        optimizer=Optimizer(algorithm="adam", learning_rate=1e-3, weight_decay=0.0),
        objective=shift.AugMix(),
        epochs=6,
    )


def sweep_augmentation() -> Iterator[dict[str, Any]]:
    """Clean images, AugMix, and Gaussian noise, on two corruptions."""
    noise = shift.CorruptionAugmentation(corruptions=("gaussian_noise",))
    for target in ("corruption:impulse_noise:4", "corruption:gaussian_blur:3"):
        for objective in (CrossEntropy(), shift.AugMix(), noise):
            yield {"data.target": target, "objective": objective}
