import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxcnn
from jaxcnn.layers import Activation, AveragePool, BatchNorm, Conv, Dense, Dropout, Flatten, Layer, LocalResponseNorm
from jaxcnn.models import ConvNet, LeNet5
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import PositiveInt

KEY = jax.random.key(0)


class Small(ConvNet):
    """A few layers that cover every kind of arithmetic."""

    width: PositiveInt = 4

    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        return (
            Conv(self.width, name="conv"),
            BatchNorm(name="norm"),
            Activation("relu", name="act"),
            LocalResponseNorm(name="lrn"),
            AveragePool(2, name="pool"),
            Dropout(name="drop"),
            Flatten(name="flat"),
            Dense(5, name="out"),
        )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(lambda: Small().init(KEY, images, train=False))()


def test_the_base_class_has_no_layers():
    with pytest.raises(NotImplementedError):
        ConvNet().init(KEY, jnp.zeros((1, 8, 8, 1)), train=False)


@pytest.mark.parametrize("model", [Small(), LeNet5(norm="batch")])
def test_layers_returns_equal_values_at_every_call(model):
    assert model.layers() == model.layers() == model.clone().layers()
    assert hash(model.layers()) == hash(model.layers())


def test_layers_can_be_read_while_the_network_is_applied(images):
    """A probe or a rewrite calls `layers` from inside a module: names must not clash."""

    class Asking(Small):
        @nn.compact
        def __call__(self, x, *, train):
            self.layers()
            return super().__call__(x, train=train)

    logits, _ = jax.eval_shape(lambda: Asking().init_with_output(KEY, images, train=False))
    assert logits.shape == (4, 5)


def test_models_compare_and_hash_by_value():
    assert Small() == Small(4) != Small(5)
    assert hash(Small()) == hash(Small(4))
    assert dataclasses.replace(Small(), width=5) == Small(5)


def test_fields_of_a_subclass_are_checked():
    with pytest.raises(InputError, match=r"Small\.width is 0; it must be an integer > 0\."):
        Small(width=0)
    with pytest.raises(InputError, match=r"Small\.dtype is 'half'; it must be one of float32, bfloat16\."):
        Small(dtype="half")


def test_bfloat16_is_used_for_activations_and_float32_for_the_rest(images, variables):
    model, seen = Small(dtype="bfloat16"), {}

    def note(call, arguments, options, context):
        result = call(*arguments, **options)
        seen["/".join(context.module.path)] = result.dtype
        return result

    with nn.intercept_methods(note):
        wanted = jax.eval_shape(lambda: model.init(KEY, images, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(wanted)} == {jnp.dtype("float32")}
    assert seen.pop("") == jnp.float32
    assert seen == {layer.name: jnp.bfloat16 for layer in model.layers()}

    @jax.jit
    def both(variables, images):
        return Small().apply(variables, images, train=False), model.apply(variables, images, train=False)

    full, half = map(np.asarray, both(variables, images))
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, atol=0.02 * np.abs(full).max())
    assert np.abs(half - full).max() > 0


def test_training_updates_statistics_and_drops_units(images, variables):
    def apply(key):
        return Small().apply(variables, images, train=True, mutable=["batch_stats"], rngs={"dropout": key})

    logits, updates = jax.jit(jax.vmap(apply))(jax.random.split(KEY, 2))
    assert np.abs(logits[0] - logits[1]).max() > 0
    assert set(updates) == {"batch_stats"}
    assert np.abs(updates["batch_stats"]["norm"]["mean"][0]).min() > 0


def test_dropout_without_a_key_raises_the_error_of_flax(images, variables):
    with pytest.raises(Exception, match="dropout"):
        jax.eval_shape(lambda: Small().apply(variables, images, train=True, mutable=["batch_stats"]))


def test_a_network_added_to_the_package_can_import_its_base_from_the_package(tmp_path):
    package = Path(shutil.copytree(Path(jaxcnn.__file__).parent, tmp_path / "jaxcnn"))
    (package / "models" / "aaa.py").write_text("from jaxcnn.models import ConvNet\nclass Added(ConvNet): ...\n")
    exports = package / "models" / "__init__.py"
    first = "from jaxcnn.models.alexnet"  # The new import sorts before this one.
    exports.write_text(exports.read_text().replace(first, f"from jaxcnn.models.aaa import Added\n{first}"))
    command = [sys.executable, "-c", "from jaxcnn.models import Added; print(Added.__module__)"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("jaxcnn.models.aaa\n", 0), done.stderr
