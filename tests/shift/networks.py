"""Small networks with random weights, and images for them."""

import jax
import numpy as np

from jaxcnn.layers import Activation, BatchNorm, Conv, Dense, Flatten
from jaxcnn.models import Chain
from jaxcnn.shift.features import Network

LAYERS = (
    Conv(3, kernel=3, name="conv1"),
    BatchNorm(name="norm1"),
    Activation("relu", name="relu1"),
    Flatten(name="flatten"),
    Dense(5, name="f2"),
    Activation("tanh", name="tanh2"),
    Dense(4, name="output"),
)


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 1), np.uint8)


def preprocess(x):
    return x.astype(np.float32) / 255 - 0.5


def network(layers=LAYERS):
    model = Chain(layers)
    variables = model.init(jax.random.key(0), preprocess(images(1)), train=False)
    return Network(model, variables, preprocess)
