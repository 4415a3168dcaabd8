"""The explanation of vanishing gradients, with the numbers of networks of 20 layers on real images."""

import numpy as np

from jaxcnn.describe.gradient_example import (
    DEPTH,
    IMAGES,
    NETWORKS,
    RATE,
    STEPS,
    UNITS,
    VANISHING,
    vanishing_example,
)
from jaxcnn.describe.paragraphs import filled
from jaxcnn.describe.tables import Grid

_EXAMPLE = 10
"""The layer whose step of the backward pass is shown."""


def explain_vanishing_gradients() -> list[str | Grid]:
    """Explain the product of the chain rule layer by layer, then its remedies, with the numbers of real networks."""
    e = vanishing_example()
    sigmoid, small, _, normed, skips = (e.networks[name] for name in NETWORKS)
    i = _EXAMPLE - 1
    weights, slopes = (float(np.prod(factors)) for factors in (sigmoid.by_weights, sigmoid.by_slopes))
    typical = [b.typical for b in e.networks.values() if b.is_plain]
    (by_weights, by_slopes), (small_weights, small_slopes), (he_weights, he_slopes) = typical
    times = {radius: rms[-1] for radius, rms in e.recurrent.items()}
    deviation = np.mean([z.std(axis=0).mean() for z in normed.preactivations[1:-1]])
    steps = f"""
        Gradients vanish where the chain rule multiplies many factors below 1, one for each layer between the loss and
        the weights; the first layers then stop learning. This example shows it in an untrained network of {DEPTH} dense
        layers with {UNITS} units each, sigmoid activations and Glorot initialization, on {IMAGES} test images of
        scikit-learn's digits.

        1. One layer. In the forward pass, layer l computes

            z_l = W_l h_(l-1) + b_l,  h_l = f(z_l)

        from the output of layer l-1, and the loss L depends on the last layer. In the backward pass, by the chain rule,

            dL/dz_l = (W_(l+1)^T dL/dz_(l+1)) * f'(z_l)

        so on its way down the gradient is multiplied twice, by the weights and by the slope of the activation. Layer
        {_EXAMPLE}: dL/dz_{_EXAMPLE + 1} has a root mean square of {sigmoid.rms[i + 1]:.1e}. W_{_EXAMPLE + 1}^T
        multiplies it by {sigmoid.by_weights[i]:.2f} and the slope by {sigmoid.by_slopes[i]:.2f}:

            {sigmoid.rms[i + 1]:.1e} * {sigmoid.by_weights[i]:.2f} * {sigmoid.by_slopes[i]:.2f} = {sigmoid.rms[i]:.1e}

        2. The slope. That of the sigmoid, f(z) (1 - f(z)), is 1/4 at z = 0 and smaller everywhere else; where a unit
        saturates, it is almost 0. Glorot's weights preserve the size of a gradient (on average, their factor is
        {by_weights:.2f}), so nothing makes up for a slope of {by_slopes:.2f}.

        3. The product. From layer {DEPTH} to layer 1 there are {DEPTH - 1} such pairs of factors; the weights multiply
        the gradient by {weights:.2g} in all, the slopes by {slopes:.1e}. The gradient of layer 1 is
        {sigmoid.rms[0]:.1e}, 10^{sigmoid.decades:.1f} times that of layer {DEPTH}. On average, every layer
        divides it by {1 / sigmoid.per_layer:.1f}, so it vanishes exponentially with depth.

        4. What it does. A step of gradient descent with rate {RATE:g} subtracts {RATE:g} dL/dW from W. Float32 numbers
        have about 7 digits, so a change that is much smaller than the weight is rounded away. In layers 1 to
        {sigmoid.unchanged}, the step changes no weight (less than 0.5 % of them): these layers keep their random
        initial values and learn nothing.

        5. Remedies, on the same images and with the same random numbers as weights:

        Activation and initialization together. The slope of ReLU is 0 or 1; about half of the units are active, which
        multiplies the root mean square by {he_slopes:.2f}, close to sqrt(1/2). He et al. (2015) therefore choose the
        variance 2/n for n inputs, with which W^T multiplies it by {he_weights:.2f}, close to sqrt(2): the product is
        {he_weights * he_slopes:.2f}. ReLU alone is no remedy. With weights from N(0, 0.01), the factor of W^T is
        {small_weights:.2f}, the product is {small_weights * small_slopes:.3f}, and the gradient of layer 1 is
        10^{small.decades:.1f} times that of layer {DEPTH}. The outputs of the layers vanish as well then.

        Batch normalization (Ioffe & Szegedy 2015) divides z by its standard deviation over the batch, so the backward
        pass divides the gradient by it too. It is {deviation:.2f} here on average, which makes up for the slope: the
        gradient of layer 1 is {normed.rms[0] / normed.rms[-1]:.2f} times that of layer {DEPTH}. (With ReLU, whose slope
        needs no such help, gradients then grow exponentially towards layer 1; Yang et al. 2019, arXiv:1902.08129.)

        Skip connections (He et al. 2016) add the input of a block to its output, y = x + F(x), so

            dL/dx = dL/dy + (dF/dx)^T dL/dy

        and the first term passes unchanged, whatever the second is. From layer {DEPTH - 1} to layer 1 the gradient is
        multiplied only by {skips.rms[0] / skips.rms[-2]:.2f}, the slope of layer 1's own activation. This holds if no
        activation lies between the sums (`skip` pre_activation).

        6. Through time. A recurrent network applies the same weights at each step, h_t = tanh(W h_(t-1) + x_t), so the
        gradient with respect to the state t steps earlier has t such factors, all with the same W. {STEPS} steps
        earlier, it is {times[0.5]:.0e} times as large if the spectral radius of W is 0.5, {times[1.0]:.1g} times if it
        is 1, and {times[1.5]:.0f} times if it is 1.5 (it explodes). Such networks therefore hardly learn dependencies
        over many steps (Bengio et al. 1994). Gated cells (LSTM, GRU) add to their state, as skip connections do.
    """
    return [filled(steps), _passes(), _remedies()]


def _passes() -> Grid:
    b = vanishing_example().networks[VANISHING]
    rows = []
    for i in reversed(range(DEPTH)):
        factors = ("", "", "") if i == DEPTH - 1 else _factors(b.by_weights[i], b.by_slopes[i])
        rows.append((str(i + 1), *factors, f"{b.rms[i]:.1e}", f"{b.changed[i]:.0%}"))
    headings = ("layer", "weights", "slope", "product", "rms of dL/dz", "weights changed by a step")
    return Grid(f"The backward pass: {VANISHING}", headings, tuple(rows))


def _factors(by_weights: float, by_slopes: float) -> tuple[str, str, str]:
    return f"{by_weights:.2f}", f"{by_slopes:.3f}", f"{by_weights * by_slopes:.3f}"


def _remedies() -> Grid:
    rows = []
    for name, b in vanishing_example().networks.items():
        figures = (f"{b.rms[0]:.1e}", f"{b.rms[-1]:.1e}", f"10^{b.decades:.1f}", f"{b.per_layer:.2f}")
        rows.append((name, *figures, f"{b.changed[0]:.0%}"))
    headings = ("network", "layer 1", f"layer {DEPTH}", "ratio", "per layer", "layer 1 changed by a step")
    return Grid("Root mean square of dL/dz at the start of training", headings, tuple(rows))
