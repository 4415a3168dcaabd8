"""Explanations of networks, norms and vanishing gradients, with the figures of the instance or of a real batch."""

import inspect
import re
from pathlib import Path
from typing import Literal

import numpy as np

from jaxcnn import norms
from jaxcnn.describe.gradient_example import vanishing_example
from jaxcnn.describe.gradient_explanation import explain_vanishing_gradients
from jaxcnn.describe.norm_examples import batch_norm_example, local_response_example, response_share
from jaxcnn.describe.paragraphs import filled
from jaxcnn.describe.tables import Grid, memory_text, network, stages
from jaxcnn.layers import Shape
from jaxcnn.models import ConvNet, LeNet5
from jaxcnn.runtime.errors import InputError

Topic = Literal["batch_norm", "local_response_norm", "vanishing_gradients"]
"""What is explained step by step."""


def explain_network(model: ConvNet, shape: Shape) -> list[str | Grid]:
    """Explain the parts of a network and why they were chosen, from the docstring of its class, and give its figures.

    Args:
        model: network to explain.
        shape: (height, width, channels) of an image.

    Raises:
        InputError: the class has no docstring, or the network cannot take such an image.
    """
    totals, kind = network(model, shape)["totals"], type(model).__name__
    counted = ["weight_layers", "parameters", *(["connections"] if isinstance(model, LeNet5) else [])]
    *counts, last = (f"{totals[name]:,} {name.replace('_', ' ')}" for name in counted)
    figures = f"""
        This {kind} has {", ".join(counts)} and {last}. Each image takes {totals["multiply_adds"]:,} multiply-adds
        and {memory_text(totals["activation_bytes"])} for the outputs of all layers in {model.dtype}.
    """
    return [_words(model), filled(figures), stages(model, shape)]


def explain_topic(topic: Topic) -> list[str | Grid]:
    """Explain a topic step by step, with the numbers of a real batch."""
    explain = {
        "batch_norm": _explain_batch_norm,
        "local_response_norm": _explain_local_response_norm,
        "vanishing_gradients": explain_vanishing_gradients,
    }
    return explain[topic]()


def draw_topic(topic: Topic, path: str | Path) -> Path:
    """Draw the same explanation as an .svg or .png picture.

    Returns:
        `path`.
    """
    from jaxcnn.describe.gradient_plot import vanishing_gradients
    from jaxcnn.describe.norm_plots import batch_norm, local_response_norm

    if topic == "batch_norm":
        return batch_norm(batch_norm_example(), path)
    if topic == "local_response_norm":
        return local_response_norm(local_response_example(), path)
    return vanishing_gradients(vanishing_example(), path)


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
        batch, a mean and a standard deviation that two trained parameters set, whatever the preceding layers do. This
        example shows it after C1 of an untrained LeNet-5, on {n} test images of scikit-learn's digits: {channels} maps
        of {height}x{width}.

        1. Batch statistics (algorithm 1, lines 1 and 2).

            mu = mean(x),  sigma^2 = mean((x - mu)^2)

        Both are computed for each map over all images and positions, because a convolution treats all positions alike
        (section 3.2): m = {n} * {height} * {width} = {count:,} values. The variance divides by m, and gradients
        flow through both statistics. Map 1: mu = {mean:.4f}, sigma = {sd:.4f}.

        2. Normalize (line 3).

            x_hat = (x - mu) / sqrt(sigma^2 + epsilon)

        Every map now has mean 0 and variance 1, or just below 1, because epsilon = {epsilon:g} is added. Epsilon only
        keeps the division safe where a map is constant. Map 1: mean {abs(normalised.mean()):.4f}, sigma
        {normalised.std():.5f}.

        3. Scale and shift (line 4).

            y = gamma * x_hat + beta

        Each map has one gamma and one beta, initialized to 1 and 0 and trained like weights, so that the layer can
        still represent what it could before: gamma = sqrt(sigma^2 + epsilon) with beta = mu restores x (section 3),
        here to within {off:.0e}. The nonlinearity follows. The convolution needs no bias, because beta takes its place
        (section 3.2). Map 1, with gamma =
        {float(e.scale[0]):g} and beta = {float(e.shift[0]):g} set by hand: mean {y.mean():.4f},
        sigma {y.std():.4f}.

        4. Population statistics at inference (section 3.1, algorithm 2).

            E[x] = mean over batches of mu,  Var[x] = m/(m - 1) * mean over batches of sigma^2

        A prediction must not depend on the other images in the batch, so both statistics are fixed after training, from
        many training batches, here {batches}. To track the progress of training, the paper uses a moving average
        instead, new = {momentum:g} old + {1 - momentum:g} batch. Libraries use it at inference too, and so does jaxcnn
        by default (`evaluate --batch_stats=algorithm2` selects the paper's algorithm). After {batches} batches, the
        initial variance of 1 still has a weight of {left:.1%}, which is noticeable where the variance is small. With
        the population statistics instead of the batch statistics, y changes by {np.sqrt(np.mean(apart**2)):.3f} (root
        mean square) and by at most {apart.max():.3f}.

        The paper claims three benefits: less internal covariate shift, the change of a layer's inputs as the preceding
        layers learn (section 1), which Santurkar et al. (2018) dispute; higher learning rates (section 3.3); and some
        regularization, because an image is batched with different images each time, so that dropout can be reduced or
        removed (section 3.4).
    """
    rows = [
        (str(c + 1), *(f"{v:.4f}" for s in (e.batch, e.population, e.running) for v in (s.mean[c], s.var[c] ** 0.5)))
        for c in range(channels)
    ]
    headings = ("map", *(f"{name} {word}" for name in ("batch", "population", "moving") for word in ("mean", "sd")))
    return [filled(steps), Grid("Statistics of the maps of C1", headings, tuple(rows))]


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
        factor that grows with the responses of the neighbouring maps at the same position, so that large responses
        inhibit those around them.

            b_i = a_i / (k + alpha S_i)^beta,  S_i = sum of a_j^2 over the n maps around i

        n = {e.size}, k = {e.k:g}, alpha = {e.alpha:g}, beta = {e.beta:g}; nothing is trained. This example shows one
        position of the {len(e.raw)} maps of C3, after ReLU, of an untrained LeNet-5, on a test image of scikit-learn's
        digits with pixels in 0..255.

        1. Squares: compute a_j^2 of every map at this position; other positions play no part. Map {i + 1} has the
        largest response, a = {e.raw[i]:.1f}.

        2. Window over the maps: S_i adds the squares of maps i - {e.size // 2} to i + {(e.size - 1) // 2}. The window
        ends at the first and the last map: map 1 has {len(e.window(0))} maps in its window, not {e.size}. The order of
        the maps is arbitrary but fixed before training, so the maps learn to work with their neighbours.
        Map {i + 1}: S = {squares:,.0f} over maps {window.start + 1} to {window.stop}.

        3. Divisor: k keeps it above 0, alpha sets how large responses must be to matter, and beta sets how steeply the
        divisor grows. Map {i + 1}:

            ({e.k:g} + {e.alpha:g} * {squares:,.0f})^{e.beta:g} = {divisor:.3f}

        4. Division: b = {e.raw[i]:.1f} / {divisor:.3f} = {e.raw_normalised[i]:.1f}. Over the maps of this position b/a
        ranges from {np.nanmin(raw):.3f} to {np.nanmax(raw):.3f}. These differences are the effect of the layer, because
        the next weights could undo a common factor.

        Placement: the layer follows the ReLU of conv1 and conv2 and precedes pooling (sections 3.3 and 3.5). Some notes
        place it before the activation (`norm_place` pre_activation), and CaffeNet places it after pooling (post_pool).

        Pitfall: with these constants, the layer has almost no effect on small responses. While alpha S is small
        compared with k, b/a is k^-beta = {floor:.4f} everywhere. AlexNet was trained on pixels in 0..255. The same
        image in 0..1 gives b/a from {np.nanmin(unit):.4f} to {np.nanmax(unit):.4f}, and a b/a one tenth below
        {floor:.4f} would take S = {tenth:,.0f}. To study this norm, use raw pixels (`data.std` 1/255) or raise alpha.

        Conventions for alpha: the paper and TensorFlow, whose radius 2 is n = 5, multiply S by alpha. Caffe and PyTorch
        multiply S/n by alpha, with k = 1 by default (`alpha_mode`; `norms.LRN_PRESETS`).

        Reported gains: the norm lowered AlexNet's top-1 and top-5 errors by 1.4 and 1.2 points, and the error of a
        small network on CIFAR-10 by 2 points, from 13 to 11 % (section 3.3). VGG found no gain (Simonyan & Zisserman
        2015, table 3: 29.7 % with it, 29.6 % without).
    """
    shares = ([f"{s:.4f}" if s == s else "" for s in share] for share in (raw, unit))
    rows = zip(map(str, range(1, len(raw) + 1)), _tenths(e.raw), _tenths(e.raw_normalised), *shares, strict=True)
    headings = ("map", "a", "b", "b/a", "b/a, pixels in 0..1")
    return [filled(steps), Grid("The maps at this position", headings, tuple(rows))]


def _tenths(values: np.ndarray) -> list[str]:
    return [f"{value:.1f}" for value in values]


def _words(model: ConvNet) -> str:
    kind = type(model)
    # A dataclass without a docstring gets its signature as one.
    if kind.__doc__ is None or kind.__doc__.startswith(f"{kind.__name__}("):
        raise InputError(f"{kind.__name__} has no docstring for --explain to print; write one.")
    return filled(re.split(r"^Attributes:", inspect.getdoc(kind), flags=re.MULTILINE)[0])
