"""LeNet-5 trained on 10,000 MNIST digits, for scikit-learn's scans: adaptation to another population without labels.

    python launch.py --config=configs/shift/mnist_to_digits.py --config.data.data_dir=DIR

DIR contains mnist as written by `python -m jaxcnn prepare mnist --data_dir=DIR`. The scans of 8x8 pixels are enlarged
to 20, as large as the digits of MNIST, and padded to its size. This run sees no scan in training (source only). Its
sweep (add `--sweep=objectives --grid.seed=0,1,2`) trains on 1,437 scans without labels too, by deep CORAL (Sun & Saenko
2016), by domain-adversarial training (Ganin et al. 2016) and by self-training. The other 360 scans are scored at the
end, `target` in results.json, and nothing is chosen by them.
"""

from collections.abc import Iterator

from jaxcnn import Data, Experiment, Optimizer, shift
from jaxcnn.models import LeNet5
from jaxcnn.objectives import CrossEntropy, Objective


def get_config() -> Experiment:
    return Experiment(
        model=LeNet5(norm="batch", activation="relu"),
        data=Data(
            source="tfds",
            name="mnist",
            train_split="train[:10000]",
            target="digits@20",
            batch_size=100,
            pad=2,
            mean=(0.1,),
            std=(0.3,),
        ),
        optimizer=Optimizer(algorithm="adam", learning_rate=1e-3, weight_decay=0.0),
        epochs=6,
    )


def sweep_objectives() -> Iterator[dict[str, Objective]]:
    """Source only, CORAL and DANN: `python launch.py --config=... --sweep=objectives --grid.seed=0,1,2`."""
    yield {"objective": CrossEntropy()}
    for weight in (1.0, 10.0, 100.0):
        yield {"objective": shift.DeepCoral(weight=weight)}
    for weight in (0.1, 1.0):
        yield {"objective": shift.DANN(weight=weight)}
    yield {"objective": shift.SelfTraining()}


def sweep_coral() -> Iterator[dict[str, Objective]]:
    """How much the weight of CORAL matters: `python launch.py --config=... --sweep=coral --grid.seed=0,1,2`."""
    for weight in (1.0, 3.0, 10.0, 30.0, 100.0, 300.0):
        yield {"objective": shift.DeepCoral(weight=weight)}
