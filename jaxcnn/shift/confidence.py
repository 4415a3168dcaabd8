"""The accuracy on images without labels, estimated from the confidence of the network."""

import numpy as np

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Outputs


def estimate_accuracy(source: Outputs, target: Outputs) -> float:
    """Estimate the accuracy on a target without labels by average thresholded confidence (ATC).

    The threshold is the confidence below which there are as many source images as errors on the source. The estimate is
    the share of target images with at least this confidence. Confidence is the probability of the predicted class.

    It assumes that the share of low confidence tells the share of errors on the target as on the source. A network that
    is confidently wrong there is less accurate than estimated; print it beside the truth where labels exist.

    Args:
        source: outputs for labelled images that the network was not trained on.
        target: outputs of the same network; its labels are not used.

    Raises:
        InputError: the source has no labels.

    Source: Garg et al. 2022 (arXiv:2201.04234), section 4.
    """
    if source.labels is None:
        raise InputError("source has no labels; an estimate of accuracy needs them. Give labelled source images.")
    errors = int((source.predictions != source.labels).sum())
    # Logarithms have the order of the probabilities, and stay apart where these round to 1.
    confidence = [each.log_probabilities.max(axis=-1) for each in (source, target)]
    threshold = np.sort(confidence[0])[errors] if errors < len(source) else np.inf
    return float(np.mean(confidence[1] >= threshold))
