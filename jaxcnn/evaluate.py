"""Exact metrics of a model on a part of the data."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from jaxcnn.metrics import mean_metrics
from jaxcnn.steps import Batch


def evaluate(
    eval_step: Callable[[dict[str, Any], Batch], tuple[dict[str, jax.Array], jax.Array]],
    variables: dict[str, Any],
    batches: Iterable[Batch],
    *,
    poll: Callable[[], None] = lambda: None,
) -> tuple[dict[str, float], np.ndarray]:
    """Metrics and logits over all examples, each counted once whatever the batch size or number of devices.

    Args:
        eval_step: from `make_eval_step`.
        variables: `params` and `batch_stats`.
        batches: padded batches with a `mask`, as `jaxcnn.data.eval_batches` gives.
        poll: called before every batch; may raise to stop.

    Returns:
        `accuracy`, `error` (1 - accuracy), `loss` (mean cross-entropy, nats) and `n`; and the logits [n, classes] in
        the order of the data.
    """
    sums: dict[str, list] = {"loss": [], "correct": [], "n": []}
    logits = []
    for batch in batches:
        poll()
        metrics, batch_logits = eval_step(variables, batch)
        for name, values in sums.items():
            values.append(metrics[name])
        logits.append((batch_logits, batch["mask"]))
    # Fetched at the end, so that the device works on while batches are sent.
    totals = {name: float(np.sum(jax.device_get(values), dtype=np.float64)) for name, values in sums.items()}
    kept = [np.asarray(x)[np.asarray(mask)] for x, mask in logits]
    means = mean_metrics(totals)
    n = int(totals["n"])
    result = {"accuracy": means["accuracy"], "error": 1 - means["accuracy"], "loss": means["loss"], "n": n}
    return result, np.concatenate(kept)
