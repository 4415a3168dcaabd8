"""Networks and norms in plain words, with the figures of the instance or of a real batch."""

import functools
import inspect
import math
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import norms
from jaxcnn.config import Data
from jaxcnn.data import Dataset, load, make_preprocess
from jaxcnn.data.sources import shuffled
from jaxcnn.describe import Grid, _bytes, network, stages
from jaxcnn.errors import InputError
from jaxcnn.layers import Layer, Shape, trace
from jaxcnn.models import Chain, ConvNet, LeNet5

_BATCH = 32
_COLUMNS = 100


def explain_network(model: ConvNet, shape: Shape) -> list[str | Grid]:
    """What each part of a network is for and why it was chosen, from the docstring of its class; then its figures.

    Args:
        model: any of ours.
        shape: (height, width, channels) of an image.

    Raises:
        InputError: the class has no docstring, or the network cannot take such an image.
    """
    totals, kind = network(model, shape)["totals"], type(model).__name__
    connections = f", {totals['connections']:,} connections" if isinstance(model, LeNet5) else ""
    figures = f"""
        This {kind}: {totals["weight_layers"]} weight layers, {totals["parameters"]:,} parameters; for each image
        {totals["multiply_adds"]:,} multiply-adds{connections}, {_bytes(totals["activation_bytes"])} of outputs in
        {model.dtype}.
    """
    return [_words(model), _filled(figures), stages(model, shape)]


def explain_norm(name: Literal["batch_norm", "local_response_norm"]) -> list[str | Grid]:
    """What a norm does, step by step, with the numbers of a real batch."""
    return {"batch_norm": _explain_batch_norm, "local_response_norm": _explain_local_response_norm}[name]()


def draw_norm(name: Literal["batch_norm", "local_response_norm"], path: str | Path) -> Path:
    """The same as a picture, .svg or .png.

    Returns:
        `path`.
    """
    from jaxcnn import norm_pictures

    if name == "batch_norm":
        return norm_pictures.batch_norm(batch_norm_example(), path)
    return norm_pictures.local_response_norm(local_response_example(), path)


class BatchNormExample(NamedTuple):
    """A batch of digits on its way through batch normalization, behind C1 of an untrained LeNet-5.

    Attributes:
        images: uint8 [n, 32, 32, 1].
        kernel: of C1, [5, 5, 1, 6].
        x: what C1 puts out, [n, 28, 28, 6].
        batch: its statistics.
        normalised: x with these.
        scale, shift: [6], chosen by hand: a fresh layer has 1 and 0, which would change nothing.
        y: x normalised, scaled and shifted, as in training.
        batches: statistics of random training batches of n images, [batches, 6] each.
        population: from these by the paper's algorithm 2.
        running: from these by moving average.
        inferred: y with the statistics of the population instead of its own.
    """

    images: np.ndarray
    kernel: jax.Array
    x: jax.Array
    batch: norms.Statistics
    normalised: jax.Array
    scale: jax.Array
    shift: jax.Array
    y: jax.Array
    batches: norms.Statistics
    population: norms.Statistics
    running: norms.Statistics
    inferred: jax.Array


@functools.cache
def batch_norm_example() -> BatchNormExample:
    """The first test images of scikit-learn's digits, with a population of all training images."""
    digits, kernel, outputs = _digits(LeNet5().layers()[:1], mean=0.08, std=0.78)
    train, images = digits.train.images, digits.test.images[:_BATCH]
    order = shuffled(len(train), 0)[: len(train) // _BATCH * _BATCH].reshape(-1, _BATCH)
    every = [norms.batch_statistics(outputs(train[rows])) for rows in order]
    x = outputs(images)
    channels = x.shape[-1]
    count, running = x.size // channels, norms.Statistics(jnp.zeros(channels), jnp.ones(channels))
    for mean, var in every:
        unbiased = norms.Statistics(mean, norms.unbiased_variance(var, count))
        running = norms.update_running(running, unbiased, momentum=norms.BatchNorm.momentum)
    batch = norms.batch_statistics(x)
    batches = norms.Statistics(*map(jnp.stack, zip(*every, strict=True)))
    population = norms.population_statistics("algorithm2", *batches, [count] * len(every))
    scale, shift = jnp.array([1.5, 0.5, 1.0, 2.0, 0.75, 1.25]), jnp.array([-1.0, 1.0, 0.0, 0.5, -0.5, 1.5])
    return BatchNormExample(
        images=images,
        kernel=kernel,
        x=x,
        batch=batch,
        normalised=norms.batch_norm(x, *batch, jnp.ones(channels), jnp.zeros(channels)),
        scale=scale,
        shift=shift,
        y=norms.batch_norm(x, *batch, scale, shift),
        batches=batches,
        population=population,
        running=running,
        inferred=norms.batch_norm(x, *population, scale, shift),
    )


class LocalResponseExample(NamedTuple):
    """One position of C3 of an untrained, rectified LeNet-5 on a digit, whose maps are to be normalised.

    Attributes:
        image: uint8 [32, 32, 1].
        corner: row and column of the first pixel that the position sees.
        side: of the square that it sees, in pixels.
        size, k, alpha, beta: the paper's constants.
        channel: the map that is followed, the one with the largest response.
        raw: responses to pixels in 0..255, [16].
        raw_normalised: these, normalised.
        unit: responses to the same pixels in 0..1, [16].
        unit_normalised: these, normalised.
    """

    image: np.ndarray
    corner: tuple[int, int]
    side: int
    size: int
    k: float
    alpha: float
    beta: float
    channel: int
    raw: np.ndarray
    raw_normalised: np.ndarray
    unit: np.ndarray
    unit_normalised: np.ndarray

    def window(self, channel: int) -> range:
        """The maps that a map is compared with, itself among them."""
        low, high = channel - self.size // 2, channel + (self.size - 1) // 2
        return range(max(low, 0), min(high + 1, len(self.raw)))


@functools.cache
def local_response_example() -> LocalResponseExample:
    """A position in the first test images of scikit-learn's digits at which many maps respond."""
    layers = LeNet5(activation="relu").layers()
    layers = layers[: [layer.name for layer in layers].index("act3") + 1]
    digits, _, outputs = _digits(layers, mean=0.0, std=1.0)
    images, paper = digits.test.images[:_BATCH], norms.LRN_PRESETS["paper"]
    # Rectified maps without biases grow as their pixels do.
    unit = outputs(images)
    raw = 255 * unit
    normalised = [norms.local_response_norm(x, **paper) for x in (raw, unit)]
    raw, unit, raw_normalised, unit_normalised = map(np.asarray, (raw, unit, *normalised))
    share = response_share(raw, raw_normalised)
    place = _telling(raw, share)
    rows = trace(layers, images.shape[1:])
    step = math.prod(row.facts.stride for row in rows)
    return LocalResponseExample(
        image=images[place[0]],
        corner=(int(place[1]) * step, int(place[2]) * step),
        side=rows[-1].receptive_field,
        size=paper["size"],
        k=paper["k"],
        alpha=paper["alpha"],
        beta=paper["beta"],
        channel=int(raw[place].argmax()),
        raw=raw[place],
        raw_normalised=raw_normalised[place],
        unit=unit[place],
        unit_normalised=unit_normalised[place],
    )


def _telling(raw: np.ndarray, share: np.ndarray) -> tuple[int, ...]:
    """The position with most active maps; of several the one with most difference in what is left of responses."""
    active = np.sum(raw > 0, axis=-1)
    spread = np.max(share, axis=-1, initial=0, where=raw > 0) - np.min(share, axis=-1, initial=1, where=raw > 0)
    return np.unravel_index(np.argmax(active + spread), active.shape)


def response_share(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """What a norm leaves of each response, after / before; NaN where there was none."""
    return np.divide(after, before, out=np.full_like(before, np.nan), where=before > 0)


@functools.cache
def _scans() -> Dataset:
    return load(Data(source="digits"), seed=0)


def _digits(
    layers: tuple[Layer, ...], mean: float, std: float
) -> tuple[Dataset, jax.Array, Callable[[np.ndarray], jax.Array]]:
    """Scikit-learn's digits, the first kernel of freshly drawn layers, and what the layers make of images."""
    data = Data(source="digits", mean=(mean,), std=(std,))
    digits, preprocess, net = _scans(), make_preprocess(data), Chain(layers)
    image = jnp.zeros((1, *digits.test.images.shape[1:]))
    # As for a run: random numbers are slow to optimize and quick to draw on a CPU.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    variables = jax.jit(lambda key: net.init(key, image, train=False), compiler_options=options)(jax.random.key(0))
    outputs = jax.jit(lambda images: net.apply(variables, preprocess(images), train=False))
    return digits, variables["params"][layers[0].name]["kernel"], outputs


def _explain_batch_norm() -> list[str | Grid]:
    e = batch_norm_example()
    n, height, width, channels = e.x.shape
    count, batches = n * height * width, len(e.batches.mean)
    mean, sd = float(e.batch.mean[0]), float(e.batch.var[0]) ** 0.5
    epsilon, momentum = norms.BatchNorm.epsilon, norms.BatchNorm.momentum
    restored = norms.batch_norm(e.x, *e.batch, jnp.sqrt(e.batch.var + epsilon), e.batch.mean)
    off = np.max(np.abs(np.asarray(restored) - np.asarray(e.x)))
    normalised, y = (np.asarray(v[..., 0], np.float64) for v in (e.normalised, e.y))
    apart = np.abs(np.asarray(e.inferred) - np.asarray(e.y))
    left = momentum**batches
    steps = f"""
        Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167) gives every map of a layer, over each training
        batch, a mean and a spread that two trained numbers choose, whatever the layers before it do. Shown behind C1 of
        an untrained LeNet-5: {n} test images of scikit-learn's digits, {channels} maps of {height}x{width}.

        1. Batch statistics (algorithm 1, lines 1 and 2).

            mu = mean(x),  sigma^2 = mean((x - mu)^2)

        For each map over all images and positions together, for a convolution treats all positions alike (section 3.2):
        m = {n} * {height} * {width} = {count:,} values. The variance divides by m, and gradients flow through both.
        Map 1: mu = {mean:.4f}, sigma = {sd:.4f}.

        2. Normalise (line 3).

            x_hat = (x - mu) / sqrt(sigma^2 + epsilon)

        Every map now has mean 0 and variance 1, or just below: epsilon = {epsilon:g} only keeps the division safe where
        a map is constant. Map 1: mean {abs(normalised.mean()):.4f}, sigma
        {normalised.std():.5f}.

        3. Scale and shift (line 4).

            y = gamma * x_hat + beta

        One gamma and one beta a map, trained like weights from 1 and 0, so that the layer can express what it could
        before: gamma = sqrt(sigma^2 + epsilon) with beta = mu gives x back (section 3), here to within {off:.0e}. The
        nonlinearity follows. The convolution needs no bias, for beta does its work (section 3.2). Map 1, with gamma =
        {float(e.scale[0]):g} and beta = {float(e.shift[0]):g} set by hand: mean {y.mean():.4f},
        sigma {y.std():.4f}.

        4. Population statistics at inference (section 3.1, algorithm 2).

            E[x] = mean over batches of mu,  Var[x] = m/(m - 1) * mean over batches of sigma^2

        An answer must not depend on what else is in the batch, so both are fixed after training, from many training
        batches, here {batches}. To follow the progress of training, the paper has a moving average instead, new =
        {momentum:g} old + {1 - momentum:g} batch; libraries use it at inference too, and so do we by default
        (`evaluate --batch_stats=algorithm2` is the other). After {batches} batches it still has
        {left:.1%} of its start, variance 1, which shows where the variance is small.
        With the population's instead of the batch's statistics y differs by
        {np.sqrt(np.mean(apart**2)):.3f} (root mean square), at most by {apart.max():.3f}.

        Said to come of it: less internal covariate shift, the change of a layer's inputs as the layers before it learn
        (section 1), which Santurkar et al. (2018) dispute; higher learning rates (section 3.3); and, since an image is
        seen in other company each time, some regularization, so that dropout can be weaker or go (section 3.4).
    """
    rows = [
        (str(c + 1), *(f"{v:.4f}" for s in (e.batch, e.population, e.running) for v in (s.mean[c], s.var[c] ** 0.5)))
        for c in range(channels)
    ]
    headings = ("map", *(f"{name} {word}" for name in ("batch", "population", "moving") for word in ("mean", "sd")))
    return [_filled(steps), Grid("Statistics of the maps of C1", headings, tuple(rows))]


def _explain_local_response_norm() -> list[str | Grid]:
    e = local_response_example()
    i, window, floor = e.channel, e.window(e.channel), e.k**-e.beta
    squares = np.sum(np.square(e.raw[window.start : window.stop], dtype=np.float64))
    divisor = e.raw[i] / e.raw_normalised[i]
    raw, unit = response_share(e.raw, e.raw_normalised), response_share(e.unit, e.unit_normalised)
    # (k + alpha S)^-beta = 0.9 k^-beta, solved for S.
    tenth = e.k * (0.9 ** (-1 / e.beta) - 1) / e.alpha
    steps = f"""
        Local response normalization (Krizhevsky, Sutskever & Hinton 2012, section 3.3) divides every response by a
        power of what its neighbours among the maps respond at the same position, so that large responses hold those
        around them down.

            b_i = a_i / (k + alpha S_i)^beta,  S_i = sum of a_j^2 over the n maps around i

        n = {e.size}, k = {e.k:g}, alpha = {e.alpha:g}, beta = {e.beta:g}; nothing is trained. Shown at one position of
        C3 of an untrained, rectified LeNet-5, {len(e.raw)} maps, on a test image of scikit-learn's digits with pixels
        in 0..255.

        1. Squares: a_j^2 of every map at this position; other positions play no part. Map {i + 1} responds most,
        a = {e.raw[i]:.1f}.

        2. Window over the maps: S_i adds the squares of maps i - {e.size // 2} to i + {(e.size - 1) // 2}. Those beyond
        the first and the last do not exist and add nothing: map 1 has {len(e.window(0))} in its window, not {e.size}.
        The order of the maps is arbitrary but fixed before training, so they learn to have the neighbours they have.
        Map {i + 1}: S = {squares:,.0f} over maps {window.start + 1} to {window.stop}.

        3. Divisor: k keeps it from 0, alpha says from which size on responses count, beta how steeply. Map {i + 1}:

            ({e.k:g} + {e.alpha:g} * {squares:,.0f})^{e.beta:g} = {divisor:.3f}

        4. Division: b = {e.raw[i]:.1f} / {divisor:.3f} = {e.raw_normalised[i]:.1f}. Over the maps of this position b/a
        runs from {np.nanmin(raw):.3f} to {np.nanmax(raw):.3f}; those differences are what the layer does, for a common
        factor the next weights could undo.

        Its place is after the rectification of conv1 and conv2 and before pooling (sections 3.3 and 3.5). Some notes
        have it before the activation, CaffeNet after pooling: `norm_place` pre_activation and post_pool.

        The trap: these constants do next to nothing to small responses. While alpha S is small against k, b/a is
        k^-beta = {floor:.4f} everywhere. AlexNet was fed pixels in 0..255; the same image in 0..1 gives b/a from
        {np.nanmin(unit):.4f} to {np.nanmax(unit):.4f}, and a tenth less than {floor:.4f} would take S = {tenth:,.0f}.
        To study this norm feed raw pixels (`data.std` 1/255) or raise alpha.

        Whose alpha: the paper and TensorFlow, whose radius 2 is n = 5, multiply S by it, Caffe and PyTorch S/n, with
        k = 1 unless told otherwise (`alpha_mode`; `norms.LRN_PRESETS`).

        What it was worth: 1.4 and 1.2 points of AlexNet's top-1 and top-5 error, and 2 points, from 13 to 11 %, of a
        small network's on CIFAR-10 (section 3.3). VGG found no gain (Simonyan & Zisserman 2015, table 3: 29.7 % with
        it, 29.6 % without).
    """
    shares = ([f"{s:.4f}" if s == s else "" for s in share] for share in (raw, unit))
    rows = zip(map(str, range(1, len(raw) + 1)), _tenths(e.raw), _tenths(e.raw_normalised), *shares, strict=True)
    headings = ("map", "a", "b", "b/a", "b/a, pixels in 0..1")
    return [_filled(steps), Grid("The maps at that position", headings, tuple(rows))]


def _tenths(values: np.ndarray) -> list[str]:
    return [f"{value:.1f}" for value in values]


def _words(model: ConvNet) -> str:
    kind = type(model)
    # Without a docstring a dataclass has its signature in the place of one.
    if kind.__doc__ is None or kind.__doc__.startswith(f"{kind.__name__}("):
        raise InputError(f"{kind.__name__} has no docstring, from which --explain reads; write one.")
    return _filled(re.split(r"^Attributes:", inspect.getdoc(kind), flags=re.MULTILINE)[0])


def _filled(text: str) -> str:
    """Paragraphs in lines of `_COLUMNS`; those that are indented, formulas, as they are."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    fill = functools.partial(textwrap.fill, width=_COLUMNS, break_on_hyphens=False)
    return "\n\n".join(p if p.startswith(" ") else fill(" ".join(p.split())) for p in paragraphs)
