"""Exact metrics of a model on a split: as computed during training, and by a test protocol."""

import math
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

import flax.errors
import jax
import numpy as np
from flax import linen as nn
from jax.sharding import NamedSharding

from jaxcnn import data
from jaxcnn.data.sources import shuffled
from jaxcnn.data.streams import Stream
from jaxcnn.evaluation.scores import score
from jaxcnn.evaluation.test_time_augmentation import Protocol, predict, views
from jaxcnn.models.fully_convolutional import densify
from jaxcnn.norms.population import apply_blended
from jaxcnn.objectives import mean_metrics
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.steps import Batch


def evaluate(
    eval_step: Callable[[dict[str, Any], Batch], tuple[dict[str, jax.Array], jax.Array]],
    variables: dict[str, Any],
    batches: Iterable[Batch],
    *,
    poll: Callable[[], None] = lambda: None,
) -> tuple[dict[str, float], np.ndarray]:
    """Compute metrics and logits over all examples, each counted once whatever the batch size and number of devices.

    Args:
        eval_step: from `make_eval_step`, jitted.
        variables: `params` and `batch_stats`.
        batches: padded batches with a `mask`, from `jaxcnn.data.eval_batches`.
        poll: called before every batch; may raise to stop.

    Returns:
        The means of the objective's sums, for classification `accuracy`, `error` (1 - accuracy) and `loss`, and `n`;
        then the logits [n, classes] in the order of the data.

    Raises:
        NonFinite: a mean is NaN or infinite.
    """
    return _means(*_sums(eval_step, variables, batches, poll))


def evaluate_members(
    eval_step: Callable[[dict[str, Any], Batch], tuple[dict[str, jax.Array], jax.Array]],
    variables: dict[str, Any],
    batches: Iterable[Batch],
    *,
    poll: Callable[[], None] = lambda: None,
) -> list[tuple[dict[str, float], np.ndarray] | NonFinite]:
    """Compute what `evaluate` does for several members at once.

    Args:
        eval_step: a step whose variables and results have a first axis of members.
        variables: variables of the members, stacked.
        batches: batches for all members, or with a first axis of members.
        poll: called before every batch; may raise to stop.

    Returns:
        For each member the result of `evaluate`, or the error that it raises.
    """
    sums, logits = _sums(eval_step, variables, batches, poll)
    found: list[tuple[dict[str, float], np.ndarray] | NonFinite] = []
    for index, own in enumerate(logits):
        try:
            found.append(_means({name: values[index] for name, values in sums.items()}, own))
        except NonFinite as error:
            found.append(error)
    return found


def _sums(
    eval_step: Callable[[dict[str, Any], Batch], tuple[dict[str, jax.Array], jax.Array]],
    variables: dict[str, Any],
    batches: Iterable[Batch],
    poll: Callable[[], None],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return sums over all batches, float64, and the logits without padding, [..., n, classes]."""
    sums: dict[str, list] = {}
    logits = []
    for batch in batches:
        poll()
        metrics, batch_logits = eval_step(variables, batch)
        for name, value in metrics.items():
            sums.setdefault(name, []).append(value)
        logits.append((batch_logits, batch["mask"]))
    # Metrics are fetched at the end, so that the device keeps working while batches are sent.
    totals = {name: np.sum(jax.device_get(values), axis=0, dtype=np.float64) for name, values in sums.items()}
    # The mask of members is the same for all.
    masks = (np.asarray(mask).reshape(-1, mask.shape[-1])[0] for _, mask in logits)
    kept = [np.asarray(x)[..., mask, :] for (x, _), mask in zip(logits, masks, strict=True)]
    return totals, np.concatenate(kept, axis=-2)


def _means(sums: dict[str, np.ndarray], logits: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Return the metrics of one network, whose sums are scalars, and its logits."""
    totals = {name: float(value) for name, value in sums.items()}
    means = mean_metrics(totals)
    for name, value in means.items():
        if not math.isfinite(value):
            broken = int((~np.isfinite(logits)).any(-1).sum())
            raise NonFinite(
                f"the {name} is {value}; the logits of {broken} of {int(totals['n'])} images are not finite"
            )
    accuracy = {"accuracy": means["accuracy"], "error": 1 - means["accuracy"]} if "accuracy" in means else {}
    return accuracy | means | {"n": int(totals["n"])}, logits


def evaluate_model(
    model: nn.Module,
    variables: dict[str, Any],
    split: data.Split,
    protocol: Protocol,
    *,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    prior: float | None = None,
    batch_size: int = 500,
    seed: int = 0,
    sharding: NamedSharding | None = None,
    poll: Callable[[], None] = lambda: None,
) -> dict[str, float | int | None]:
    """Compute metrics over all examples with a test protocol, each example counted once.

    Args:
        model: any linen module with `__call__(x, *, train)`; dense protocols need a `ConvNet`.
        variables: its `params`, and `batch_stats` if it has any.
        split: images as stored, and labels.
        protocol: from `make_protocol`, for the size of these images.
        preprocess: function from stored images to network input; applied to each view.
        prior: None: batch normalization uses `batch_stats`. A number: it uses a blend of them with the statistics of
            each batch of test images (`apply_blended`); batches are then drawn with `seed`, and the last is filled up
            with images of the first.
        batch_size: images per batch, one view of each; affects results only with a `prior`.
        seed: seed of these batches.
        sharding: sharding of the batch axis over devices; None: one device.
        poll: called before every view of a batch; may raise to stop.

    Returns:
        `top1_error`, `top5_error`, `nll`, `ece` and `n`, as from `scores.score`.

    Raises:
        InputError: the network does not support this protocol, or not on images of this size.
        NonFinite: a score is NaN or infinite.
    """
    model, variables = protocol_network(model, variables, protocol, split.images.shape[1:])
    labels, of = split.labels, (model, preprocess, prior is not None)
    try:
        forward = _forward(*of)
    except TypeError:
        # A field of the network is not hashable.
        forward = _forward.__wrapped__(*of)
    if prior is not None:
        split, batch_size, sharding = _full_batches(split, batch_size, seed, sharding)
        labels = split.labels[: len(labels)]

    def scored(images: jax.Array) -> jax.Array:
        poll()
        return forward(variables, images, np.float32(prior or 0))

    answers = []
    for batch in data.eval_batches(split, batch_size, sharding=sharding):
        # Fetched immediately, so that only the views of one batch are on the device.
        answers.append(np.asarray(predict(protocol, scored, batch["image"])))
    # The images that fill up the last batch come last.
    return score(np.concatenate(answers)[: len(labels)], labels)


@lru_cache(maxsize=8)
def _forward(model: nn.Module, preprocess: Callable[[jax.Array], jax.Array], blended: bool) -> Callable[..., jax.Array]:
    """Return the network on stored images, `(variables, images, prior) -> logits`, compiled once per image shape and
    shared by all protocols, statistics in the variables, and values of the prior."""

    def forward(variables: dict[str, Any], images: jax.Array, prior: jax.Array) -> jax.Array:
        if blended:
            return apply_blended(model, variables, preprocess(images), prior)
        return model.apply(variables, preprocess(images), train=False)

    return jax.jit(forward)


def protocol_network(
    model: nn.Module, variables: dict[str, Any], protocol: Protocol, shape: tuple[int, int, int]
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network that scores the views of a protocol, densified if the views are whole images.

    Args:
        model, variables: as for `evaluate_model`.
        protocol: the protocol that defines the views.
        shape: (height, width, channels) of the stored images.

    Raises:
        InputError: the network does not support this protocol, or its weights do not fit views of this size.
    """
    if protocol.whole:
        model, variables = densify(model, variables, (*protocol.crop, shape[2]))
    for height, width in {view.crop for view in views(protocol, shape[:2])}:
        image = jax.ShapeDtypeStruct((1, height, width, shape[2]), np.float32)
        try:
            jax.eval_shape(partial(model.apply, train=False), variables, image)
        except flax.errors.ScopeParamShapeError:
            raise InputError(
                f"crop is {height}x{width}; the network's weights are for images of another size. Set --crop to the "
                "side that the network was trained on."
            ) from None
    return model, variables


def _full_batches(
    split: data.Split, batch_size: int, seed: int, sharding: NamedSharding | None
) -> tuple[data.Split, int, NamedSharding | None]:
    """Return the images in random order, with the first ones repeated at the end, so that every batch is full."""
    size = min(batch_size, len(split))
    order = np.resize(shuffled(len(split), seed, Stream.TEST_ORDER), -(-len(split) // size) * size)
    even = sharding is not None and size % sharding.mesh.size == 0
    return data.Split(data.Rows(split.images, order), split.labels[order]), size, sharding if even else None
