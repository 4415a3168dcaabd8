"""A worked example of vanishing gradients: the backward pass of networks of 20 layers on real images."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxcnn.config import Data
from jaxcnn.data import make_preprocess
from jaxcnn.describe.digits_program import digits, run_once
from jaxcnn.models import PlainNet

DEPTH, UNITS, IMAGES = 20, 128, 32
RATE = 0.1
"""Learning rate of the step of SGD."""
VANISHING = "sigmoid, Glorot"
"""The network that is explained step by step."""
NETWORKS = {
    VANISHING: PlainNet(DEPTH, UNITS, "sigmoid", "glorot", "none", kind="dense"),
    "ReLU, N(0, 0.01)": PlainNet(DEPTH, UNITS, "relu", "gaussian", "none", kind="dense"),
    "ReLU, He": PlainNet(DEPTH, UNITS, "relu", "he", "none", kind="dense"),
    "sigmoid, Glorot, batch norm": PlainNet(DEPTH, UNITS, "sigmoid", "glorot", "batch", kind="dense"),
    "sigmoid, Glorot, skips": PlainNet(DEPTH, UNITS, "sigmoid", "glorot", "none", "pre_activation", "dense"),
}
"""Networks by the words for them in tables and pictures."""
SPECTRAL_RADII = (0.5, 1.0, 1.5)
STEPS = 50
"""Time steps of the recurrent networks."""

_LAYERS = (*(f"fc{i}" for i in range(1, DEPTH)), "output")


class BackwardPass(NamedTuple):
    """What the backward pass leaves of the gradient in each layer of a network, from layer 1 to the output.

    Attributes:
        preactivations: z = W h + b of every layer, [images, units].
        gradients: dL/dz of every layer, [images, units].
        changed: share of the weights of each layer that one step of SGD changes in float32, [layers].
        by_weights, by_slopes: factors by which W^T of the next layer and the slope of the activation multiply the root
            mean square on its way to layers 1 to 19; None if a norm or a sum lies on that way too.
    """

    preactivations: tuple[np.ndarray, ...]
    gradients: tuple[np.ndarray, ...]
    changed: np.ndarray
    by_weights: np.ndarray | None
    by_slopes: np.ndarray | None

    @property
    def rms(self) -> np.ndarray:
        """The root mean square of dL/dz over images and units, [layers]."""
        return np.array([_rms(gradient) for gradient in self.gradients])

    @property
    def is_plain(self) -> bool:
        """Whether only weights and slopes lie between two layers."""
        return self.by_weights is not None

    @property
    def typical(self) -> tuple[float, float]:
        """The geometric means of `by_weights` and `by_slopes`, without the output, which has fewer units."""
        means = [np.exp(np.mean(np.log(factors[:-1]))) for factors in (self.by_weights, self.by_slopes)]
        return float(means[0]), float(means[1])

    @property
    def unchanged(self) -> int:
        """The number of layers, from layer 1 on, of which one step of SGD changes less than 0.5 % of the weights."""
        return int(np.argmax(self.changed >= 0.005))

    @property
    def decades(self) -> float:
        """The power of ten of the gradient of layer 1 relative to that of the last layer."""
        return float(np.log10(self.rms[0] / self.rms[-1]))

    @property
    def per_layer(self) -> float:
        """The factor of one layer: the geometric mean over the layers."""
        return float(10 ** (self.decades / (len(self.rms) - 1)))


class VanishingExample(NamedTuple):
    """Networks with the same images and the same random numbers as weights, scaled as their initializers prescribe.

    Attributes:
        networks: backward pass of each of `NETWORKS`.
        recurrent: for each of `SPECTRAL_RADII` the root mean square of the gradient of the last state of a recurrent
            network with respect to the state 0, 1, ... steps before, relative to the first, [steps + 1].
    """

    networks: dict[str, BackwardPass]
    recurrent: dict[float, np.ndarray]


@functools.cache
def vanishing_example() -> VanishingExample:
    """Return the example for the first test images of scikit-learn's digits."""
    test = digits().test
    images, labels = test.images[:IMAGES], test.labels[:IMAGES].astype(np.int32)
    variables = {name: _variables(model) for name, model in NETWORKS.items()}

    def program(variables: dict[str, Any], images: jax.Array, labels: jax.Array) -> dict[str, Any]:
        x = make_preprocess(Data(source="digits", mean=(0.08,), std=(0.78,)))(images)
        return {name: _layers(model, variables[name], x, labels) for name, model in NETWORKS.items()}

    found = run_once(program, variables, images, labels)
    kernels = {name: _kernels(tree["params"]) for name, tree in variables.items()}
    passes = {name: _backward_pass(model, kernels[name], found[name]) for name, model in NETWORKS.items()}
    return VanishingExample(passes, {radius: _recurrent(radius) for radius in SPECTRAL_RADII})


def _variables(model: PlainNet) -> dict[str, Any]:
    """Draw the initial variables: the same standard normal numbers for every network, times a deviation."""
    rng, image = np.random.default_rng(0), jax.ShapeDtypeStruct((1, *digits().test.images.shape[1:]), jnp.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    kernels = {}
    for layer in _LAYERS:
        shape = _kernels(shapes["params"])[layer].shape
        kernels[layer] = rng.standard_normal(shape, np.float32) * np.float32(deviation(model.kernel_init, *shape))

    def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        *_, layer, name = (key.key for key in path)
        return kernels[layer] if name == "kernel" else np.full(leaf.shape, name in ("scale", "var"), leaf.dtype)

    return jax.tree.map_with_path(fill, shapes)


def deviation(init: str, fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of the initial weights of a layer."""
    return {"glorot": (2 / (fan_in + fan_out)) ** 0.5, "he": (2 / fan_in) ** 0.5, "gaussian": 0.01}[init]


class _Layer(NamedTuple):
    """One layer with weights: its input h, its output z = W h + b, and dL/dz, each [images, units]."""

    h: jax.Array
    z: jax.Array
    gradient: jax.Array


def _layers(model: PlainNet, variables: dict[str, Any], x: jax.Array, labels: jax.Array) -> dict[str, _Layer]:
    """Return the layers of a network after its backward pass."""
    nothing = {layer: jnp.zeros((len(x), UNITS if layer != "output" else model.num_classes)) for layer in _LAYERS}

    def loss(added: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, tuple[jax.Array, jax.Array]]]:
        seen = {}

        def add(call: Any, arguments: tuple, options: dict, context: Any) -> Any:
            output = call(*arguments, **options)
            if not isinstance(context.module, nn.Dense) or context.method_name != "__call__":
                return output
            layer = context.module.name
            seen[layer] = arguments[0], output
            return output + added[layer]

        with nn.intercept_methods(add):
            logits, _ = model.apply(variables, x, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), seen

    # The derivative with respect to what is added to z is dL/dz.
    gradients, seen = jax.grad(loss, has_aux=True)(nothing)
    return {layer: _Layer(*seen[layer], gradients[layer]) for layer in _LAYERS}


def _backward_pass(model: PlainNet, kernels: dict[str, np.ndarray], layers: dict[str, _Layer]) -> BackwardPass:
    z, gradients = (tuple(getattr(layers[name], part) for name in _LAYERS) for part in ("z", "gradient"))
    steps = {name: np.float32(RATE) * layer.h.T @ layer.gradient for name, layer in layers.items()}
    changed = np.array([np.mean(kernels[name] - steps[name] != kernels[name]) for name in _LAYERS])
    if not model.norm == model.skip == "none":
        return BackwardPass(z, gradients, changed, None, None)
    after = zip(gradients[1:], _LAYERS[1:], strict=True)
    carried = np.array([_rms(gradient @ kernels[name].T.astype(np.float64)) for gradient, name in after])
    rms = np.array([_rms(gradient) for gradient in gradients])
    return BackwardPass(z, gradients, changed, by_weights=carried / rms[1:], by_slopes=rms[:-1] / carried)


def _kernels(params: Any) -> dict[str, np.ndarray]:
    """Return the kernels by layer, whatever residuals the layers are in."""
    return {path[-2].key: leaf for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "kernel"}


def _rms(values: np.ndarray) -> float:
    # Squares of the smallest gradients are below the smallest float32.
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _recurrent(spectral_radius: float) -> np.ndarray:
    """Return `VanishingExample.recurrent` for weights whose spectral radius is about this."""
    rng = np.random.default_rng(0)
    # The circular law: independent numbers of variance 1 / n have eigenvalues in the unit disc.
    weights = rng.normal(0, spectral_radius / UNITS**0.5, (UNITS, UNITS))
    inputs, gradient = rng.normal(0, 0.1, (STEPS, IMAGES, UNITS)), rng.standard_normal((IMAGES, UNITS))
    rms = np.array([_rms(gradient) for gradient in through_time(weights, inputs, gradient)])
    return rms / rms[0]


def through_time(weights: np.ndarray, inputs: np.ndarray, gradient: np.ndarray) -> list[np.ndarray]:
    """Return the gradients with respect to the states of a recurrent network, h_t = tanh(h_(t-1) W + x_t), h_0 = 0.

    Args:
        weights: W, [units, units].
        inputs: x, [steps, n, units].
        gradient: gradient with respect to the last state, [n, units].

    Returns:
        The gradients with respect to the last state, the one before, ..., and h_0.
    """
    states = [np.zeros_like(gradient)]
    for x in inputs:
        states.append(np.tanh(states[-1] @ weights + x))
    gradients = [gradient]
    for state in reversed(states[1:]):
        gradients.append((gradients[-1] * (1 - state**2)) @ weights.T)
    return gradients
