"""All claims, each imported only when it is asked for."""

import importlib

from jaxcnn.claims.claim import Claim
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import did_you_mean

NAMES = (
    "batch_norm_rates",
    "batch_norm_steps",
    "batch_norm_mnist",
    "batch_norm_regularization",
    "batch_norm_inference",
    "norms_batch_size",
    "lrn_contrast",
    "lrn_accuracy",
    "lrn_place",
    "lrn_vgg",
    "weight_decay_scope",
    "weight_decay_forms",
    "weight_decay_training",
    "vgg_dropout",
    "small_noisy_data",
    "activation_steps",
    "overlapping_pooling",
    "vgg_depth",
    "stacked_kernels",
    "lenet5_parts",
    "lenet5_distortions",
    "vanishing_depth",
    "he_initialization",
    "saturation_order",
    "vanishing_remedies",
    "depth_degradation",
    "batch_norm_shift",
    "recurrent_gradients",
    "batch_norm_corruptions",
    "detected_harmful",
    "classifiers_shift",
    "digits_adaptation",
    "importance_weighting",
    "robust_training",
    "cifar10_corruptions",
    "shift_internal",
)
"""Names of the claims, which are those of their files, in the order in which they are listed."""


def find(name: str) -> Claim:
    """Return the claim of that name.

    Raises:
        InputError: there is none; the message suggests the nearest.
    """
    if name not in NAMES:
        raise InputError(f"{name!r} is not a claim.{did_you_mean(name, NAMES)} Claims are {', '.join(NAMES)}.")
    return importlib.import_module(f"jaxcnn.claims.{name}").CLAIM
