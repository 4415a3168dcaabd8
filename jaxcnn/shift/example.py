"""A worked example of covariate shift: a small network on scikit-learn's digits, and on others in brighter light."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import data
from jaxcnn.config import Data, Optimizer
from jaxcnn.corruptions import corrupt
from jaxcnn.data import Split
from jaxcnn.describe.digits_program import digits
from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Flatten, MaxPool
from jaxcnn.models import Chain
from jaxcnn.shift.cost import Cost, measure_cost
from jaxcnn.shift.detectors.classifier import classifier_test
from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.features import Network, Outputs, read
from jaxcnn.shift.repairs.density_ratio import ImportanceWeights, importance_weights
from jaxcnn.shift.repairs.target_statistics import adapt_statistics
from jaxcnn.training.optim import hyperparameters, make_optimizer
from jaxcnn.training.state import create_state
from jaxcnn.training.steps import make_train_step

CORRUPTION, SEVERITY = "brightness", 5
EPOCHS, BATCH_SIZE = 4, 64
NETWORK = Chain(
    (
        Conv(8, kernel=5, stride=2, name="conv1"),
        BatchNorm(name="norm1"),
        Activation("relu", name="relu1"),
        MaxPool(2, name="pool1"),
        Flatten(name="flatten"),
        Dense(10, name="output"),
    )
)
"""It learns in a second."""

_OPTIMIZER = Optimizer(algorithm="adam", learning_rate=4e-3, weight_decay=0.0)


class CovariateShift(NamedTuple):
    """What the example shows.

    Attributes:
        source, target: outputs for one half of the test images, and for the other half in brighter light.
        repaired: outputs for the target with the statistics of the target.
        cost, repaired_cost: what the shift costs, without repair and with it.
        map: the map of the first convolution whose mean moves most, in units of its standard deviation.
        mean, sd: statistics of this map that batch normalization has kept from training.
        values: input of the normalization of this map, by population, [values].
        detection: the classifier two-sample test on the penultimate features.
        weights: importance weights of the source images.
    """

    source: Outputs
    target: Outputs
    repaired: Outputs
    cost: Cost
    repaired_cost: Cost
    map: int
    mean: float
    sd: float
    values: dict[str, np.ndarray]
    detection: Detection
    weights: ImportanceWeights

    def normalized(self, population: str) -> np.ndarray:
        """Return the values of the map after normalization with the statistics of training."""
        return (self.values[population] - self.mean) / self.sd


@functools.cache
def covariate_shift_example() -> CovariateShift:
    """Train a small network on the digits, change the light, and measure what happens."""
    dataset, preprocess = digits(), data.make_preprocess(Data())
    network = Network(NETWORK, _trained(dataset.train), preprocess)
    images, labels, half = dataset.test.images, dataset.test.labels, len(dataset.test) // 2
    bright = corrupt(CORRUPTION, images[half:] / np.float32(255), SEVERITY, key=jax.random.key(0), truncate=True)
    bright = np.rint(255 * np.asarray(bright)).astype(np.uint8)
    source, target = read(network, images[:half], labels[:half]), read(network, bright, labels[half:])
    repaired = read(adapt_statistics(network, bright), bright, labels[half:])
    kept = {name: np.asarray(value) for name, value in network.variables["batch_stats"]["norm1"].items()}
    inputs = {name: _inputs(network, each.images) for name, each in (("source", source), ("target", target))}
    sd = np.sqrt(kept["var"])
    moved = (inputs["target"].mean(axis=(0, 1, 2)) - kept["mean"]) / sd
    shown = int(np.abs(moved).argmax())
    return CovariateShift(
        source=source,
        target=target,
        repaired=repaired,
        cost=measure_cost(source, target),
        repaired_cost=measure_cost(source, repaired),
        map=shown,
        mean=float(kept["mean"][shown]),
        sd=float(sd[shown]),
        values={name: values[..., shown].ravel() for name, values in inputs.items()},
        detection=classifier_test(source.features, target.features),
        weights=importance_weights(source.features, target.features),
    )


def _trained(split: Split) -> dict:
    """Return the variables of LeNet-5 with batch normalization after some epochs."""
    preprocess = data.make_preprocess(Data())
    steps = len(split) // BATCH_SIZE
    variables = NETWORK.init(jax.random.key(0), preprocess(split.images[:1]), train=False)
    optimizer = make_optimizer(_OPTIMIZER, variables["params"], steps_per_epoch=steps, total_steps=EPOCHS * steps)
    state = create_state(variables, optimizer, seed=0, hyper=hyperparameters(_OPTIMIZER))
    train_step = make_train_step(NETWORK, optimizer, preprocess=preprocess)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, images, labels):
        return train_step(state, {"image": images, "label": labels})[0]

    random = np.random.default_rng(0)
    for _ in range(EPOCHS):
        for rows in random.permutation(len(split))[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE):
            state = step(state, jnp.asarray(split.images[rows]), jnp.asarray(split.labels[rows]))
    return state.variables


def _inputs(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the outputs of the first convolution, which its batch normalization reads, [n, height, width, maps]."""
    layer, dimensions = network.variables["params"]["conv1"], ("NHWC", "HWIO", "NHWC")
    x = network.preprocess(images)
    y = jax.lax.conv_general_dilated(x, layer["kernel"], (2, 2), "VALID", dimension_numbers=dimensions)
    return np.asarray(y) + np.asarray(layer.get("bias", 0.0))
