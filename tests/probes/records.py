"""Records of networks that no one trained, with readings made up for a test."""

import numpy as np

from jaxcnn.probes import EDGES, History
from jaxcnn.probes.record import Record

VALUES = 4
"""Values in the output of a layer for one image."""


def distribution(std, steps):
    counts = np.zeros((steps, len(EDGES) - 1))
    if std > 0:
        # Half of the values at +std, half at -std.
        counts[:, np.searchsorted(EDGES, [-std, std]) - 1] = 50
    ones = np.ones(steps)
    return {
        "mean": 0 * ones, "std": std * ones, "low": -std * ones, "high": std * ones, "histogram": counts
    }  # fmt: skip


def layer(std, steps=3, *, kernel=True, ratio=1e-3, **units):
    """Return readings of a layer whose gradients have a standard deviation."""
    found = {"activations": distribution(1.0, steps), "gradients": distribution(std, steps)}
    found |= {name: np.asarray(value) for name, value in units.items()}
    if kernel:
        sizes = {"norm": np.ones(steps), "update_norm": np.full(steps, ratio), "update_ratio": np.full(steps, ratio)}
        found["parameters"] = {"kernel": sizes | {"gradients": distribution(std, steps)}}
    return found


def record(stds=(1.0, 1.0, 1.0), *, label="as it is", others=None, readings=None, images=500, diverged=None, steps=3):
    """Return a record of layers fc1, fc2, ... with gradients of these deviations, and of further layers."""
    layers = {f"fc{i}": layer(std, steps) for i, std in enumerate(stds, 1)} | (others or {})
    return Record(
        label=label,
        changes={},
        history=History(10 * np.arange(steps), {"gradients": layers} | (readings or {}), {}),
        losses=np.linspace(2.3, 0.5, 10 * (steps - 1) + 1),
        images=images,
        units=dict.fromkeys(layers, VALUES),
        diverged=diverged,
    )


def landscape(change, norm=1.0, steps=3):
    """Return readings of a quadratic loss whose gradient changes by `change` in one step."""
    multiples = np.array([0.5, 1, 2, 4])
    return {
        "loss": np.ones(steps),
        "losses": np.ones((steps, 1)) - 0.1 * multiples,
        "loss_range": np.tile([0.6, 0.95], (steps, 1)),
        "gradient_norm": np.full(steps, norm),
        "gradient_changes": np.full((steps, 1), change) * multiples,
        "gradient_predictiveness": np.full(steps, 4 * change),
        "smoothness": np.full(steps, 10.0 * change),
    }


def shift(cosines, steps=3):
    """Return readings of the internal covariate shift by layer, whose gradients have norm 1 before and after."""
    return {
        "layers": {
            name: {
                "cosine": np.full(steps, cosine),
                "difference": np.full(steps, np.sqrt(2 - 2 * cosine)),
                "norm": np.ones(steps),
            }
            for name, cosine in cosines.items()
        }
    }
