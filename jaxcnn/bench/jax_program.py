"""A step of our network, or of its peer in plain linen, compiled by XLA."""

import time
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib
import optax
from flax import linen as nn

from jaxcnn.bench.flax_peer import FlaxPeer
from jaxcnn.bench.job import DECAY, MOMENTUM, RATE, Job
from jaxcnn.config import Optimizer
from jaxcnn.layers import Shape
from jaxcnn.objectives import Batch
from jaxcnn.training.optim import hyperparameters, make_optimizer
from jaxcnn.training.state import create_state
from jaxcnn.training.steps import make_train_step

Step = Callable[[Any, Batch], tuple[Any, Any]]


class JaxProgram:
    """See `program.Program`."""

    def __init__(self, job: Job) -> None:
        model = job.model if job.library == "jaxcnn" else FlaxPeer(job.model.layers(), job.model.dtype)
        self._key = jax.random.key(0)
        self._batch = random_batch(model, job.shape, job.batch_size, self._key)
        make = {("jaxcnn", "train"): training, ("flax", "train"): _plain_training}
        self._carry, step = make.get((job.library, job.mode), _forward)(model, self._key, self._batch)
        # The key is a constant of the step, so compilation would otherwise include waiting for earlier computations.
        jax.block_until_ready((self._carry, self._batch, self._key))
        begun = time.perf_counter()
        self._step = step.lower(self._carry, self._batch).compile()
        memory = self._step.memory_analysis()
        self._dtype, self._training, self._device = job.model.dtype, job.mode == "train", jax.devices()[0]
        self.facts = {
            "platform": self._device.platform,
            "device": self._device.device_kind,
            "versions": {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "flax": flax.__version__},
            "compile_seconds": time.perf_counter() - begun,
            "temporary_bytes": memory and memory.temp_size_in_bytes,
        }

    def step(self) -> None:
        result = jax.block_until_ready(self._step(self._carry, self._batch))
        if self._training:
            self._carry = result[0]

    def product(self, side: int) -> Callable[[], None]:
        matrix = jax.random.normal(self._key, (side, side), self._dtype)
        square = jax.jit(jnp.matmul)
        return lambda: jax.block_until_ready(square(matrix, matrix))

    def device_bytes(self) -> int | None:
        return (self._device.memory_stats() or {}).get("peak_bytes_in_use")


def _initial(create: Callable[[jax.Array], Any], key: jax.Array) -> Any:
    """Compute the initial state."""
    # This runs once, and XLA takes longer to optimize random number generators for a CPU than they take to run.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(create, compiler_options=options)(key)


def random_batch(model: nn.Module, shape: Shape, batch_size: int, key: jax.Array) -> Batch:
    """Return random images, and labels for the classes of a network."""
    images_key, labels_key = jax.random.split(key)
    images = jax.random.normal(images_key, (batch_size, *shape))
    classes = jax.eval_shape(lambda key: model.init_with_output(key, images, train=False)[0], key).shape[-1]
    return {"image": images, "label": jax.random.randint(labels_key, (batch_size,), 0, classes)}


def training(model: nn.Module, key: jax.Array, batch: Batch, **options: Any) -> tuple[Any, Any]:
    """Return an initial state and our jitted training step, which donates it.

    Options are those of `make_train_step`.
    """
    settings = Optimizer(learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY, weight_decay_scope="all")

    def variables(key: jax.Array) -> Any:
        return model.init(key, batch["image"][:1], train=False)

    params = jax.eval_shape(variables, key)["params"]
    optimizer = make_optimizer(settings, params, steps_per_epoch=1, total_steps=1)
    hyper = hyperparameters(settings)
    state = _initial(lambda key: create_state(variables(key), optimizer, hyper=hyper), key)
    return state, jax.jit(make_train_step(model, optimizer, **options), donate_argnums=0)


def _plain_training(model: nn.Module, key: jax.Array, batch: Batch) -> tuple[Any, Step]:
    optimizer = optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(RATE, MOMENTUM))

    def create(key: jax.Array) -> Any:
        variables = model.init(key, batch["image"][:1], train=False)
        state = {"params": variables["params"], "stats": variables.get("batch_stats", {})}
        return state | {"optimizer": optimizer.init(state["params"]), "count": jnp.zeros((), jnp.int32)}

    def step(state: Any, batch: Batch) -> tuple[Any, jax.Array]:
        dropout = jax.random.fold_in(key, state["count"])

        def loss(params: Any) -> tuple[jax.Array, Any]:
            variables = {"params": params, "batch_stats": state["stats"]}
            logits, updated = model.apply(
                variables, batch["image"], train=True, mutable=["batch_stats"], rngs={"dropout": dropout}
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            return losses.mean(), updated.get("batch_stats", {})

        (value, stats), gradients = jax.value_and_grad(loss, has_aux=True)(state["params"])
        changes, optimizer_state = optimizer.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], changes)
        count = state["count"] + 1
        return {"count": count, "params": params, "stats": stats, "optimizer": optimizer_state}, value

    return _initial(create, key), jax.jit(step, donate_argnums=0)


def _forward(model: nn.Module, key: jax.Array, batch: Batch) -> tuple[Any, Step]:
    variables = _initial(lambda key: model.init(key, batch["image"][:1], train=False), key)
    return variables, jax.jit(lambda variables, batch: model.apply(variables, batch["image"], train=False))
