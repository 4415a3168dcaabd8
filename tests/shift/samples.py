"""Outputs of an imagined network, in which images, features and labels are related in a known way."""

import numpy as np

from jaxcnn.shift.detectors.gaussians import Moments
from jaxcnn.shift.features import Outputs

CENTRES = 2 * np.eye(3)


def outputs(labels, *, seed=0, move=0.0, labelled=True):
    """Outputs for images of these classes: the features are normal around the centre of the class, moved along the
    first axis, and the network gives the exact class probabilities of unmoved features."""
    labels = np.asarray(labels)
    random = np.random.default_rng(seed)
    features = CENTRES[labels] + random.normal(size=(len(labels), 3)) + move * np.array([1.0, 0, 0])
    logits = features @ CENTRES.T
    log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    images = np.repeat(features, 4, axis=1).reshape(-1, 3, 4, 1)
    layers = {"input": Moments(features[:, :1], features[:, :1] ** 2), "f1": Moments(features, features**2)}
    return Outputs(images, features, log_probabilities, layers, labels if labelled else None)


def drawn(n, shares=(1 / 3, 1 / 3, 1 / 3), seed=0):
    """Labels with these shares."""
    return np.random.default_rng(1000 + seed).choice(3, n, p=shares)
