"""LeNet-5 on scikit-learn's handwritten digits: real scans, no download.

    python launch.py

A complete run, from images to a run folder, in under a minute on two cores. The test split is a fixed, stratified
20 %, 360 images. Measured: configs/results/lenet5_digits.jsonl, seeds 0 to 4.
"""

from collections.abc import Iterator

from jaxcnn import Augment, Data, Experiment, Optimizer, Schedule
from jaxcnn.models import LeNet5


def get_config() -> Experiment:
    return Experiment(
        model=LeNet5(),
        data=Data(source="digits", batch_size=32, mean=(0.08,), std=(0.78,)),
        augment=Augment(shift=2.0, rotation=10.0, scale=0.1),
        optimizer=Optimizer(
            algorithm="adam",
            learning_rate=3e-3,
            weight_decay=1e-2,
            weight_decay_form="decoupled",
            schedule=Schedule(name="cosine", warmup_epochs=1),
        ),
        epochs=30,
        eval_every=5,
        checkpoint_every=10,
    )


def sweep_norm() -> Iterator[dict[str, str]]:
    """What each normalization changes: `python launch.py --sweep=norm --grid.seed=0,1,2,3,4`."""
    for norm in ("none", "batch", "layer", "group", "instance", "local_response"):
        yield {"model.norm": norm}
