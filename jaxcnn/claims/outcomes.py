"""What claims read from finished runs besides the test error: likelihoods, training errors, norms of the weights."""

import math

import jax
import numpy as np

from jaxcnn.claims.study import Record
from jaxcnn.runs.run_evaluation import evaluate_run
from jaxcnn.runs.selection import select


def nll(record: Record) -> float:
    """Return the mean negative log-likelihood of the test labels in nats; a diverged run counts as guessing, ln 10."""
    return record.results.test["loss"] if record.results else math.log(10)


def training_error(record: Record) -> float:
    """Return the error on the training images in percent at the end of training, without dropout and augmentation; a
    diverged run counts as guessing, 90 %. The run must have kept its checkpoint."""
    return 100 * evaluate_run(record.workdir, part="train")[0].top1_error if record.results else 90.0


def kernel_norms(record: Record) -> dict[str, float] | None:
    """Return the Euclidean norms of all kernels of convolutions and of dense layers together, `conv` and `dense`; None
    for a diverged run. The run must have kept its checkpoint."""
    if not record.results:
        return None
    params = select(record.workdir).variables["params"]
    kernels = [np.asarray(x, np.float64) for path, x in jax.tree.leaves_with_path(params) if path[-1].key == "kernel"]
    squares = {
        kind: sum(float(np.sum(kernel**2)) for kernel in kernels if (kernel.ndim == 2) == (kind == "dense"))
        for kind in ("conv", "dense")
    }
    return {kind: math.sqrt(value) for kind, value in squares.items()}
