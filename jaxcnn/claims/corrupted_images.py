"""Errors of trained networks on test images and on corruptions of them, which several claims compare."""

import numpy as np

from jaxcnn import data
from jaxcnn.config import Data, Experiment
from jaxcnn.data import Split
from jaxcnn.data.targets import Target, read_target
from jaxcnn.shift.features import Network, read


def test_images(experiment: Experiment) -> Target:
    """Return the test images of an experiment in memory, as stored, with their labels."""
    test = data.load(experiment.data, 0).test
    return Target(np.asarray(test.images), np.asarray(test.labels), "test images")


def corrupted(test: Split | Target, config: Data, name: str, severity: int) -> np.ndarray:
    """Return the test images with a corruption, as stored, the same ones at every call. It is applied to the
    images without their padding, which is added again."""
    return np.asarray(read_target(f"corruption:{name}:{severity}", own=test, config=config).images)


def error_on(network: Network, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the error of a network in percent on images as stored, with the statistics of training."""
    return 100 * float(np.mean(read(network, images).predictions != labels))


def spoken(name: str) -> str:
    """Return the name of a corruption in words."""
    return name.replace("_", " ")
