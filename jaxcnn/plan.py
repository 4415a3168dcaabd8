"""What a run will do, worked out before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn import data, optim
from jaxcnn.config import Experiment
from jaxcnn.errors import InputError
from jaxcnn.state import TrainState, create_state


@dataclass(frozen=True)
class Plan:
    """An experiment with its data loaded and everything that follows from both.

    Attributes:
        experiment: as given.
        dataset: its images and labels.
        steps_per_epoch: full batches in the training part; what is left over is other images in every epoch.
        total_steps: of the whole run.
        schedule: learning rate by step.
        optimizer: the optax chain.
        state: the state as ShapeDtypeStructs, placed as it will be.
        batch_sharding: how batches are split over the devices.
        colors: principal components of the training colours (`data.color_axes`) where `augment.pca_color` wants them.
    """

    experiment: Experiment
    dataset: data.Dataset
    steps_per_epoch: int
    total_steps: int
    schedule: optax.Schedule
    optimizer: optax.GradientTransformationExtraArgs
    state: TrainState
    batch_sharding: NamedSharding
    colors: np.ndarray | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the network sees: the crop where there is one, else the image."""
        return _one_image(self.experiment, self.dataset).shape[1:]

    @property
    def replicated(self) -> NamedSharding:
        """Every device has the whole."""
        return NamedSharding(self.batch_sharding.mesh, PartitionSpec())

    def initial_state(self, variables: dict[str, Any] | None = None) -> TrainState:
        """The state before the first step: weights from the seed, but for those of `variables` that are given."""
        experiment, images = self.experiment, _one_image(self.experiment, self.dataset)

        def create(key: jax.Array, given: dict[str, Any]) -> TrainState:
            drawn = experiment.model.init(key, images, train=False)
            merged = {part: values | given.get(part, {}) for part, values in drawn.items()}
            return create_state(merged, self.optimizer)

        # Runs once, and XLA takes longer to optimize random number generators for a CPU than they take to run.
        options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
        create = jax.jit(create, out_shardings=self.replicated, compiler_options=options)
        return create(jax.random.key(experiment.seed), variables or {})


def make_plan(experiment: Experiment, arrays: Mapping[str, np.ndarray] | None = None) -> Plan:
    """Load the data, trace the network and check that all parts fit together.

    Args:
        experiment: what to run.
        arrays: `train_images`, `train_labels`, `test_images`, `test_labels` for `data.source="arrays"` in memory.

    Raises:
        InputError: whatever does not fit, in a line.
    """
    settings = experiment.data
    dataset = data.load(settings, experiment.seed, arrays)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    steps_per_epoch = data.steps_per_epoch(len(dataset.train), settings.batch_size, sharding.mesh.size)
    total_steps = steps_per_epoch * experiment.epochs

    images = _one_image(experiment, dataset)
    preprocess = data.make_preprocess(settings)
    jax.eval_shape(preprocess, images)
    variables = jax.eval_shape(
        lambda key: experiment.model.init(key, images, train=False), jax.eval_shape(lambda: jax.random.key(0))
    )
    logits = jax.eval_shape(lambda v: experiment.model.apply(v, images, train=False), variables)
    if logits.ndim != 2:
        raise InputError(f"the network gives logits of shape {logits.shape} for one image; it must give (1, classes).")
    data.check_labels(dataset, logits.shape[-1])

    optimizer = optim.make_optimizer(
        experiment.optimizer, variables["params"], steps_per_epoch=steps_per_epoch, total_steps=total_steps
    )
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    state = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated),
        jax.eval_shape(lambda v: create_state(v, optimizer), variables),
    )
    return Plan(
        experiment=experiment,
        dataset=dataset,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        schedule=optim.make_schedule(experiment.optimizer, steps_per_epoch, total_steps),
        optimizer=optimizer,
        state=state,
        batch_sharding=sharding,
        colors=data.color_axes(dataset.train.images) if experiment.augment.pca_color else None,
    )


def _one_image(experiment: Experiment, dataset: data.Dataset) -> jax.Array:
    """Zeros, of the shape that evaluation gives the network."""
    images = jnp.zeros((1, *dataset.train.images.shape[1:]), jnp.float32)
    return data.center_crop(images, experiment.augment.crop)
