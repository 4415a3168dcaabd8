"""Repairs of a shift that train: on source images with unlabelled target images, or on augmented source images."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxcnn.config import Experiment
from jaxcnn.objectives import Classification, CrossEntropy, Objective
from jaxcnn.runs.launch import train
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Outputs, load_network, read
from jaxcnn.shift.objectives import DANN, AugMix, DeepCoral, SelfTraining
from jaxcnn.shift.repairs.result import Repair
from jaxcnn.training.non_finite import NonFinite

SEEDS = (0, 1, 2)
"""Seeds of every trained repair, because adversarial training and self-training depend much on them."""

SHARE = 4
"""A repair trains for a quarter of the run's epochs, from its weights."""

TRAINED: Mapping[str, tuple[str, Callable[[Classification], Objective]]] = {
    "augmix": (
        "The network is trained further on mixtures of augmented source images (Hendrycks et al. 2020). It needs the "
        "training images, and no target image.",
        lambda loss: AugMix(classification=loss),
    ),
    "deep_coral": (
        "The network is trained further so that the covariances of its features agree on source and target (Sun and "
        "Saenko 2016, weight 100). It needs the training images and unlabelled target images.",
        lambda loss: DeepCoral(classification=loss, weight=100.0),
    ),
    "dann": (
        "The network is trained further so that a second head cannot tell source from target by its features (Ganin et "
        "al. 2016, weight 0.1). It needs the training images and unlabelled target images.",
        lambda loss: DANN(classification=loss, weight=0.1),
    ),
    "self_training": (
        "The network is trained further on its own predictions for the target where it is confident. It needs the "
        "training images and unlabelled target images.",
        lambda loss: SelfTraining(classification=loss),
    ),
}
"""What each trained repair is, by name: what it does and what it needs, and its objective with the run's loss. The
weights are those that served MNIST to scikit-learn's digits; labels of a target must not choose them."""


def train_repairs(
    run: str | Path,
    experiment: Experiment,
    target: str,
    outputs: Outputs,
    folder: str | Path,
    *,
    names: Sequence[str] = tuple(TRAINED),
    data_dir: str | None = None,
    progress: Callable[[str], None] = lambda part: None,
) -> tuple[Repair, ...]:
    """Train every repair with every seed and predict the target. Finished runs are not run again, and stopped ones
    continue.

    Args:
        run: folder of the run whose weights are the start.
        experiment: its experiment.
        target: name for `read_target`; its training images are used if it has any, without labels.
        outputs: outputs of the run's network for the target images to predict.
        folder: the runs are in subfolders of this folder, NAME_SEED.
        names: names from `TRAINED`.
        data_dir: folder of prepared data sets; None: the run's.
        progress: called with the name of each run before it begins.

    Returns:
        One result for each name; one that cannot be trained, or diverges, is refused with the reason.
    """
    return tuple(_repair(name, run, experiment, target, outputs, Path(folder), data_dir, progress) for name in names)


def _repair(
    name: str,
    run: str | Path,
    experiment: Experiment,
    target: str,
    outputs: Outputs,
    folder: Path,
    data_dir: str | None,
    progress: Callable[[str], None],
) -> Repair:
    about, make = TRAINED[name]
    begun, result = time.perf_counter(), Repair(name, about, outputs.log_probabilities, seeds=SEEDS)
    loss = experiment.objective if isinstance(experiment.objective, Classification) else CrossEntropy()
    epochs = max(1, experiment.epochs // SHARE)
    found: list[np.ndarray] = []
    for seed in SEEDS:
        progress(f"{name}, seed {seed}")
        settings = replace(experiment.data, target=target, data_dir=data_dir or experiment.data.data_dir)
        repaired = replace(experiment, data=settings, objective=make(loss), seed=seed, epochs=epochs)
        try:
            train(repaired, folder / f"{name}_{seed}", init_from=run, keep="last", verbose=False)
        except (InputError, NonFinite) as error:
            return replace(result, refused=str(error), seconds=time.perf_counter() - begun)
        found.append(read(load_network(folder / f"{name}_{seed}"), outputs.images).log_probabilities)
    first, *others = found
    return replace(
        result,
        log_probabilities=first,
        repeats=tuple(others),
        seconds=time.perf_counter() - begun,
        details={"epochs": float(epochs)},
    )
