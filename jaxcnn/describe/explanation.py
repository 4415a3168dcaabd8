"""Networks and norms in plain words, with the figures of the instance or of a real batch."""

import functools
import inspect
import re
import textwrap
from pathlib import Path
from typing import Literal

import numpy as np

from jaxcnn import norms
from jaxcnn.describe.norm_examples import batch_norm_example, local_response_example, response_share
from jaxcnn.describe.tables import Grid, memory_text, network, stages
from jaxcnn.layers import Shape
from jaxcnn.models import ConvNet, LeNet5
from jaxcnn.runtime.errors import InputError

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
        {totals["multiply_adds"]:,} multiply-adds{connections}, {memory_text(totals["activation_bytes"])} of outputs in
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
    from jaxcnn.describe.norm_plots import batch_norm, local_response_norm

    if name == "batch_norm":
        return batch_norm(batch_norm_example(), path)
    return local_response_norm(local_response_example(), path)


def _explain_batch_norm() -> list[str | Grid]:
    e = batch_norm_example()
    n, height, width, channels = e.x.shape
    count, batches = n * height * width, len(e.batches.mean)
    mean, sd = float(e.batch.mean[0]), float(e.batch.var[0]) ** 0.5
    epsilon, momentum = norms.BatchNorm.epsilon, norms.BatchNorm.momentum
    off = np.max(np.abs(e.restored - e.x))
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
