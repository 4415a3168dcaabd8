"""The last layer, fitted again to features of held-out source images: no training of the network."""

import numpy as np
from threadpoolctl import threadpool_limits

from jaxcnn.runtime.errors import InputError
from jaxcnn.shift.features import Outputs


def refit_last_layer(source: Outputs, target: Outputs, weights: np.ndarray | None = None) -> np.ndarray:
    """Fit a multinomial logistic regression to the penultimate features of the source and return its log probabilities
    for the target, float32 [m, classes].

    Even without weights it differs from the network's last layer, because it is fitted to the source images given here
    and not to those of training; what weights change is the difference to this.

    Args:
        source: outputs for labelled images that the network was not trained on, n of them.
        target: outputs for m images; their labels are not used.
        weights: of the source images, [n], with mean 1, so that they do not change the strength of the regularization;
            None: all 1.

    Raises:
        InputError: the source has no labels, or no image of a class.

    Source: Shimodaira 2000 (J. Stat. Plan. Inference 90), section 2, on weighted maximum likelihood.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if source.labels is None:
        raise InputError("source has no labels; fitting the last layer needs them. Give labelled source images.")
    classes = source.log_probabilities.shape[1]
    counts = np.bincount(source.labels, minlength=classes)
    if not counts.all():
        raise InputError(
            f"source has no image with label {int(counts.argmin())}; fitting the last layer needs every class. Give "
            "more source images."
        )
    scaler = StandardScaler().fit(source.features.astype(np.float64))
    # On matrices as small as these, threads of BLAS that wait for each other take many times as long as one.
    with threadpool_limits(1, user_api="blas"):
        layer = LogisticRegression(max_iter=1000).fit(scaler.transform(source.features), source.labels, weights)
        scores = layer.decision_function(scaler.transform(target.features))
    # Of two classes scikit-learn gives the score of the second only.
    scores = scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)
    return (scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)).astype(np.float32)
