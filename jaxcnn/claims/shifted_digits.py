"""LeNet-5 with and without batch normalization on MNIST, and what is known of a network so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcnn import shift
from jaxcnn.claims.study import Record, Study
from jaxcnn.config import Data, Experiment, Optimizer, Schedule
from jaxcnn.models import LeNet5
from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.json_object import read_object

NETWORKS = {"none": "without batch norm", "batch": "with batch norm"}
"""Values of `LeNet5.norm`."""

FACTORS = (0.3, 1, 3)
"""Multiples of the learning rate that are tried."""


def mnist(study: Study) -> Data:
    """Return MNIST, padded to the 32x32 pixels that LeNet-5 reads; the test images are all 10,000 at scale small."""
    return study.images(
        "mnist",
        train=study.choose(tiny=40, small=60_000, full=60_000),
        test=study.choose(tiny=24, small=10_000, full=10_000),
        batch_size=study.choose(tiny=16, small=128, full=128),
        pad=2,
    )


def lenet5(study: Study, images: Data, norm: str, *, epochs: int) -> Experiment:
    """Return the experiment that trains LeNet-5 by Adam with a cosine schedule.

    Args:
        study: the study.
        images: its data set.
        norm: none or batch, after C1 and C3.
        epochs: at scale small; four times as many at scale full.
    """
    return Experiment(
        model=LeNet5(norm=norm),
        data=images,
        optimizer=Optimizer(
            algorithm="adam", learning_rate=3e-3, weight_decay=0.0, schedule=Schedule(name="cosine", warmup_epochs=0)
        ),
        epochs=study.choose(tiny=1, small=epochs, full=4 * epochs),
        eval_every=1000,
        checkpoint_every=1000,
        log_every=1000,
    )


class Kept:
    """What is known of one network, by name of the part, kept in a JSON file of the folder of its run, so that a claim
    that is stopped continues where it was.

    Attributes:
        network: the network; None if its run has diverged.
    """

    def __init__(self, record: Record, file: str) -> None:
        self.network = shift.load_network(record.workdir) if record.results else None
        self._path = Path(record.workdir) / file
        self._parts = read_object(self._path) if self._path.exists() else {}

    def __contains__(self, part: str) -> bool:
        return part in self._parts

    def __getitem__(self, part: str) -> Any:
        return self._parts[part]

    def __setitem__(self, part: str, found: Any) -> None:
        """Keep what was found, in JSON types."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, self._parts | {part: found})
        self._parts[part] = found


def lacking(networks: Sequence[Kept], part: str) -> list[Kept]:
    """Return the networks of which a part is not known yet."""
    return [network for network in networks if part not in network]
