"""A hint for runs that had too few updates for the running statistics of batch normalization."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from jaxcnn.norms.population import initial_share
from jaxcnn.runs.workdir import read_record

# About the share that is left when updates * (1 - momentum) is 3.
_NEGLIGIBLE = 0.05


def running_statistics_hint(
    run: str | Path, model: nn.Module, variables: dict[str, Any], image_shape: tuple[int, int, int], updates: int
) -> str | None:
    """Return a line that suggests other statistics if the running ones still hold much of their initial values.

    Args:
        run: folder of the run.
        model: network of the run.
        variables: variables of the network, or their shapes.
        image_shape: (height, width, channels) of the network's input.
        updates: number of updates of the weights, which is also that of the statistics.

    Returns:
        One line; None if the share of the initial values is negligible.
    """
    # Weights from another run include its statistics, and so do converted weights, which have no updates.
    if not updates or read_record(Path(run)).get("init_from"):
        return None
    share = initial_share(model, variables, jax.ShapeDtypeStruct((1, *image_shape), np.float32), updates)
    if share <= _NEGLIGIBLE:
        return None
    return (
        f"the running statistics of batch normalization still hold {share:.0%} of their initial values after {updates} "
        f"updates; `python -m jaxcnn evaluate {run} --batch_stats=algorithm2` estimates them from training images"
    )
