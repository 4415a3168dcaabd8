"""Population statistics of a trained network, which its batch normalizations use at test time."""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from flax import linen as nn

from jaxcnn.norms import (
    BatchNorm,
    Statistics,
    batch_norm,
    batch_statistics,
    blend_statistics,
    population_statistics,
)
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError

EstimatedKind = Literal["algorithm2", "pooled", "full_pass"]
BatchStatsKind = Literal["ema", "algorithm2", "pooled", "full_pass", "batch", "blend"]
Path = tuple[str, ...]


class Measured(NamedTuple):
    """Statistics of one batch at one normalization: float32 [C] each, biased, over `count` values per channel."""

    mean: jax.Array
    var: jax.Array
    count: int


def parse_batch_stats(text: str) -> tuple[BatchStatsKind, float | None]:
    """Parse a choice of statistics on the command line into its kind and, for batch and blend:N, the weight of the
    running averages in images (0 for batch).

    ema: the running averages of training. algorithm2, pooled, full_pass: see `estimate_statistics`. batch: the
    statistics of each test batch. blend:N: see `apply_blended`.

    Raises:
        InputError: the choice is unknown, or blend without a number of 0 or more.
    """
    kind, colon, number = text.partition(":")
    if kind not in get_args(BatchStatsKind) or (colon and kind != "blend"):
        known = [k if k != "blend" else "blend:N" for k in get_args(BatchStatsKind)]
        close = fields.did_you_mean(text, known)
        raise InputError(f"batch_stats {text!r} is unknown; there are {', '.join(known)}.{close}")
    if kind == "batch":
        return kind, 0.0
    if kind != "blend":
        return kind, None
    try:
        return kind, fields.accept(float(number), fields.NonNegative)
    except ValueError:
        raise InputError(f"batch_stats is {text!r}; N must be a number >= 0, for example blend:128.") from None


def batch_norm_paths(model: nn.Module, variables: dict[str, Any], images: jax.Array) -> tuple[Path, ...]:
    """Return the paths of the network's batch normalizations (`norms.BatchNorm`) in the order of their calls.

    Args:
        model: any linen module with `__call__(x, *, train)`.
        variables: its variables, or their shapes.
        images: preprocessed images, or their shape.

    Raises:
        InputError: the network has none.
    """
    paths: list[Path] = []

    def note(module: BatchNorm, x: jax.Array, normalize: Callable[..., jax.Array]) -> jax.Array:
        paths.append(module.path)
        return normalize(train=False)

    jax.eval_shape(partial(_apply, model, note), variables, images)
    if not paths:
        raise InputError(
            f"{type(model).__name__} has no batch normalization (jaxcnn.norms.BatchNorm); use batch_stats 'ema'."
        )
    return tuple(paths)


def initial_share(model: nn.Module, variables: dict[str, Any], images: jax.Array, updates: int) -> float:
    """Return the share of the initial values that remains in the running statistics of the network's slowest batch
    normalization after a number of updates; 0 without batch normalization.

    Args:
        model: any linen module with `__call__(x, *, train)`.
        variables: its variables, or their shapes.
        images: preprocessed images, or their shape.
        updates: number of updates of the running statistics.
    """
    momenta = [0.0]

    def note(module: BatchNorm, x: jax.Array, normalize: Callable[..., jax.Array]) -> jax.Array:
        momenta.append(module.momentum)
        return normalize(train=False)

    jax.eval_shape(partial(_apply, model, note), variables, images)
    return max(momenta) ** updates


def measure(model: nn.Module, variables: dict[str, Any], images: jax.Array, *, by_batch: bool) -> dict[Path, Measured]:
    """Measure the statistics of a batch at the input of every batch normalization, without dropout.

    Args:
        model: any linen module with `__call__(x, *, train)`.
        variables: its variables.
        images: preprocessed images [n, height, width, channels].
        by_batch: normalize with the batch's own statistics, as in training (True), or with `batch_stats` (False).

    Returns:
        The measured statistics by path of the module.
    """
    found = {}

    def note(module: BatchNorm, x: jax.Array, normalize: Callable[..., jax.Array]) -> jax.Array:
        statistics = batch_statistics(x, fast_variance=module.fast_variance)
        found[module.path] = Measured(*statistics, x.size // x.shape[-1])
        return normalize(train=by_batch)

    _apply(model, note, variables, images)
    return found


def estimate_statistics(
    kind: EstimatedKind,
    model: nn.Module,
    variables: dict[str, Any],
    batches: Callable[[], Iterable[jax.Array]],
    *,
    prior: float = 0.0,
) -> dict[str, Any]:
    """Return variables whose `batch_stats` are re-estimated from images; the weights are unchanged.

    algorithm2 and pooled run the network as in training but without dropout, normalize every batch by its own
    statistics, and combine the statistics at each normalization (`norms.population_statistics`): algorithm2 averages
    the unbiased variances of the batches, pooled adds the variance of their means. full_pass computes the
    mean and the biased variance that all images would have as one single batch: the statistics of the first
    normalization are pooled over all images, then those of the second with the first already replaced, and so on, with
    one pass over the images per normalization.

    Args:
        kind: algorithm2, pooled or full_pass.
        model: any linen module with `__call__(x, *, train)`.
        variables: its `params` and `batch_stats`.
        batches: returns batches of preprocessed images [n, height, width, channels], the same ones at every call. For
            algorithm2 the caller must have drawn them at random.
        prior: N of `norms.blend_statistics`, by which the estimates are blended with the `batch_stats` so far; n is the
            number of images in all batches. With full_pass the result is that of `apply_blended` on all images as one
            single batch. 0: the estimates alone.

    Raises:
        InputError: the network has no batch normalization, there are no batches, or they are too small; or the prior is
            below 0 or not finite.

    Source: Ioffe and Szegedy 2015 (arXiv:1502.03167), section 3.1 and algorithm 2; for pooled Wu and Johnson 2021
        (arXiv:2105.07576). full_pass is described in some teaching notes; on images of another population it is AdaBN
        (Li et al. 2016, arXiv:1603.04779), with a prior Schneider et al. 2020 (arXiv:2006.16971).
    """
    first = next(iter(batches()), None)
    if first is None:
        raise InputError(f"batch_stats {kind!r} needs training images, and there are none.")
    paths = batch_norm_paths(model, variables, first)
    of = (model, kind != "full_pass")
    try:
        measured = _measured(*of)
    except TypeError:
        # The network has a field that cannot be hashed.
        measured = _measured.__wrapped__(*of)
    for wanted in [(path,) for path in paths] if kind == "full_pass" else [paths]:
        rows, total = [], 0
        for images in batches():
            # Results are read immediately, so that batches do not accumulate on the device.
            rows.append(jax.device_get(measured(variables, images, wanted)))
            total += len(images)
        for path, column in zip(wanted, zip(*rows, strict=True), strict=True):
            means, variances, counts = (np.stack(values) for values in zip(*column, strict=True))
            combine = "algorithm2" if kind == "algorithm2" else "pooled"
            statistics = population_statistics(combine, means, variances, counts)
            if prior:
                source = Statistics(**_at(variables["batch_stats"], path))
                statistics = blend_statistics(source, statistics, prior, total)
            variables = {**variables, "batch_stats": _with(variables["batch_stats"], path, statistics._asdict())}
    return variables


@lru_cache(maxsize=8)
def _measured(model: nn.Module, by_batch: bool) -> Callable[[dict[str, Any], jax.Array, tuple[Path, ...]], Any]:
    """Return a function that measures some normalizations, compiled once per network, image shape and set of paths."""

    def measured(variables: dict[str, Any], images: jax.Array, wanted: tuple[Path, ...]) -> list[Measured]:
        found = measure(model, variables, images, by_batch=by_batch)
        return [found[path] for path in wanted]

    return jax.jit(measured, static_argnums=2)


def apply_blended(
    model: nn.Module, variables: dict[str, Any], images: jax.Array, prior: float | jax.Array
) -> jax.Array:
    """Return logits for which every batch normalization blends its running averages and the statistics of this batch.

    Args:
        model: any linen module with `__call__(x, *, train)`.
        variables: its variables.
        images: preprocessed images [n, height, width, channels], without images that only fill the batch.
        prior: N of `norms.blend_statistics`, whose n is the number of images; 0: only the batch's statistics.

    Returns:
        What the network returns, without dropout.

    Source: Schneider et al. 2020 (arXiv:2006.16971); with prior 0 Nado et al. 2020 (arXiv:2006.10963).
    """

    def blend(module: BatchNorm, x: jax.Array, _: Callable[..., jax.Array]) -> jax.Array:
        own = {name: module.get_variable("batch_stats", name) for name in ("mean", "var")}
        scale, bias = (module.get_variable("params", name) for name in ("scale", "bias"))
        batch = batch_statistics(x, fast_variance=module.fast_variance)
        statistics = blend_statistics(Statistics(**own), batch, prior, x.shape[0])
        return batch_norm(x, *statistics, scale, bias, epsilon=module.epsilon)

    return _apply(model, blend, variables, images)


def _apply(model: nn.Module, treat: Callable[..., jax.Array], variables: dict[str, Any], images: jax.Array) -> Any:
    """Apply the network as at test time, with `treat(module, x, normalize)` in place of each batch normalization."""

    def intercept(call: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
        if not isinstance(context.module, BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        return treat(context.module, args[0], partial(call, args[0], update_stats=False))

    with nn.intercept_methods(intercept):
        return model.apply(variables, images, train=False)


def _with(tree: dict[str, Any], path: Path, value: dict[str, Any]) -> dict[str, Any]:
    """Return the nested dict with another value at a path."""
    return value if not path else {**tree, path[0]: _with(tree[path[0]], path[1:], value)}


def _at(tree: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the value of a nested dict at a path."""
    return tree if not path else _at(tree[path[0]], path[1:])
