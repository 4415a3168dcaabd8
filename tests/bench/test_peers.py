"""The peers are the same network: with our weights they have our outputs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.bench.cases import CASES
from jaxcnn.bench.flax_peer import FlaxPeer
from jaxcnn.bench.jax_program import JaxProgram
from jaxcnn.bench.job import Job
from jaxcnn.layers import (
    Activation,
    AdaptiveAveragePool,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    LocalResponseNorm,
    MaxPool,
    PaddedIdentity,
    Residual,
    Scale,
)
from jaxcnn.models import Chain
from jaxcnn.runtime.errors import InputError

# Every kind of layer that the peers have.
NET = Chain(
    (
        Conv(6, kernel=5, stride=2, padding=2, name="conv1"),
        Activation("relu", name="act1"),
        LocalResponseNorm(size=4, alpha=0.3, name="norm1"),
        MaxPool(3, stride=2, name="pool1"),
        Conv(8, kernel=3, padding=1, groups=2, name="conv2"),
        BatchNorm(name="norm2"),
        Activation("tanh", name="act2"),
        LocalResponseNorm(alpha=0.5, beta=0.6, k=1.5, alpha_mode="mean", name="norm3"),
        AveragePool(2, stride=1, name="pool2"),
        Residual(
            (PaddedIdentity(10, 1, name="a"), Scale(0.5, name="b")), (PaddedIdentity(10, 1, name="c"),), name="res"
        ),
        AdaptiveAveragePool(2, name="pool3"),
        Flatten(name="flatten"),
        Dense(7, name="fc3"),
        Activation("sigmoid", name="act3"),
        Dropout(0.5, name="drop3"),
        Dense(6, bias_init=None, name="fc4"),
        Dense(5, name="fc5"),
    )
)
SHAPE = (21, 21, 3)


@pytest.fixture(scope="module")
def ours():
    """Return images, variables that all differ from their initial values, and outputs."""
    draw = np.random.default_rng(0)
    images = draw.normal(size=(4, *SHAPE)).astype(np.float32)
    shapes = jax.eval_shape(lambda: NET.init(jax.random.key(0), images, train=False))
    variables = jax.tree.map(lambda x: jnp.asarray(draw.uniform(0.1, 0.5, x.shape), jnp.float32), shapes)
    variables["params"] = jax.tree.map(lambda x: 4 * (x - 0.3), variables["params"])
    return images, variables, np.asarray(jax.jit(lambda v: NET.apply(v, images, train=False))(variables))


def test_every_kind_of_layer_in_the_cases_is_tested():
    kinds = {type(layer) for case in CASES.values() for layer in case.model.layers()}
    assert kinds <= {type(layer) for layer in NET.layers()}


def test_flax_peer_is_the_network(ours):
    images, variables, expected = ours
    assert np.ptp(expected, axis=0).min() > 0.01
    for dtype, error in (("float32", 1e-4), ("bfloat16", 0.05)):
        peer = FlaxPeer(NET.layers(), dtype)
        got = jax.jit(lambda v, peer=peer: peer.apply(v, images, train=False))(variables)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, expected, atol=error)


def test_flax_peer_trains_on_the_statistics_of_the_batch(ours):
    images, variables, _ = ours
    layers = NET.layers()[:7]
    means = []
    for net in (Chain(layers), FlaxPeer(layers)):
        train = jax.jit(lambda v, net=net: net.apply(v, images, train=True, mutable=["batch_stats"])[1])
        updated = train(variables)
        means.append(updated["batch_stats"]["norm2"]["mean"])
    np.testing.assert_allclose(*means, atol=1e-5)


@pytest.mark.parametrize("kinds", [(), (BatchNorm,)])
def test_flax_peer_trains_as_we_do(kinds):
    layers = (
        Conv(4, name="conv"),
        *(kind(name="norm") for kind in kinds),
        Flatten(name="flatten"),
        Dense(3, name="fc"),
    )
    ours, peer = (JaxProgram(Job(library, Chain(layers), (5, 5, 2), 8, "train", 1)) for library in ("jaxcnn", "flax"))
    before = jax.tree.map(np.asarray, ours._carry.params)
    for _ in range(3):
        ours.step()
        peer.step()
    # Initial weights follow from the names of the layers, so they are equal.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours._carry.params, peer._carry["params"])
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), ours._carry.params, before)
    assert min(moved["conv"]["kernel"], moved["fc"]["kernel"], moved["fc"]["bias"]) > 1e-4


def test_torch_peer_is_the_network(ours, torch):
    from jaxcnn.bench.torch_peer import torch_peer

    images, variables, expected = ours
    net = torch_peer(NET.layers(), SHAPE).eval()
    arrays = {}
    for name, leaves in variables["params"].items():
        if "kernel" in leaves:
            kernel = np.asarray(leaves["kernel"])
            if name == "fc3":  # PyTorch flattens maps channel by channel.
                kernel = kernel.reshape(2, 2, 10, 7).transpose(2, 0, 1, 3).reshape(40, 7)
            arrays[f"{name}.weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        else:
            arrays[f"{name}.weight"] = leaves["scale"]
        if "bias" in leaves:
            arrays[f"{name}.bias"] = leaves["bias"]
    stats = variables["batch_stats"]["norm2"]
    arrays |= {"norm2.running_mean": stats["mean"], "norm2.running_var": stats["var"]}
    arrays["norm2.num_batches_tracked"] = np.zeros((), np.int64)
    net.load_state_dict({name: torch.tensor(np.asarray(value)) for name, value in arrays.items()})
    with torch.inference_mode():
        got = net(torch.tensor(images).permute(0, 3, 1, 2))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_torch_program_steps(torch):
    from jaxcnn.bench.torch_program import TorchProgram

    threads = torch.get_num_threads()
    try:
        for mode, dtype in (("train", "float32"), ("forward", "bfloat16")):
            program = TorchProgram(Job("torch", NET.clone(dtype=dtype), SHAPE, 4, mode, 1))
            before = program._net[0].weight.clone()
            program.step()
            assert torch.equal(before, program._net[0].weight) == (mode == "forward")
            assert program._net.training == (mode == "train")
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("layer", [Conv(1, connections=((0,),), name="partial"), AdaptiveAveragePool(5, name="uneven")])
def test_a_layer_that_flax_lacks_is_refused_in_one_line(layer, ours):
    images, variables, _ = ours
    with pytest.raises(InputError, match=rf"^peer flax has no layer like {layer.name} \(.*leave this peer out"):
        jax.eval_shape(lambda: FlaxPeer((layer, *NET.layers())).apply(variables, images, train=False))


def test_a_layer_that_torch_lacks_is_refused_in_one_line(torch):
    from jaxcnn.bench.torch_peer import torch_peer

    conv = dataclasses.replace(NET.layers()[0], features=1, connections=((0,),))
    with pytest.raises(InputError, match=r"^peer torch has no layer like conv1 "):
        torch_peer((conv,), SHAPE)
