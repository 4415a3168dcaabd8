"""The plan of a run, made before anything is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcnn import data
from jaxcnn.config import Experiment
from jaxcnn.runs.programs import Programs, programs, structure
from jaxcnn.training import optim
from jaxcnn.training.state import IMPLEMENTATION, TrainState


@dataclass(frozen=True)
class Plan:
    """An experiment with its data loaded and everything that follows from both.

    Attributes:
        experiment: experiment to run.
        dataset: its images and labels.
        steps_per_epoch: full batches in the training split; the images left over differ from epoch to epoch.
        total_steps: steps of the whole run.
        programs: compiled functions, shared with other runs of the same structure.
        state: the state as ShapeDtypeStructs with its shardings; `key` and `hyper` are arrays.
        batch_sharding: how batches are split over the devices.
        colors: principal components of the colours of the training images (`data.color_axes`), an argument of the
            training step; None unless `augment.pca_color` is set.
    """

    experiment: Experiment
    dataset: data.Dataset
    steps_per_epoch: int
    total_steps: int
    programs: Programs
    state: TrainState
    batch_sharding: NamedSharding
    colors: jax.Array | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the network's input: of the crop if there is one, otherwise of the image."""
        return _one_image(self.experiment, self.dataset).shape[1:]

    @property
    def replicated(self) -> NamedSharding:
        """Sharding that puts a copy on every device."""
        return NamedSharding(self.batch_sharding.mesh, PartitionSpec())

    def initial_state(self, variables: dict[str, Any] | None = None) -> TrainState:
        """Return the state before the first step: weights from the seed, except those in `variables`."""
        return self.programs.initialize(np.uint32(self.experiment.seed), self.state.hyper, variables or {})


def make_plan(experiment: Experiment, arrays: Mapping[str, np.ndarray] | None = None) -> Plan:
    """Load the data, trace the network and check that all parts fit together.

    Args:
        experiment: experiment to run.
        arrays: `train_images`, `train_labels`, `test_images`, `test_labels` for `data.source="arrays"` in memory.

    Raises:
        InputError: something does not fit; the message is one line.
    """
    settings = experiment.data
    dataset = data.load(settings, experiment.seed, arrays)
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    steps_per_epoch = data.steps_per_epoch(len(dataset.train), settings.batch_size, sharding.mesh.size)
    colors = data.color_axes(dataset.train.images) if experiment.augment.pca_color else None
    made = programs(
        structure(
            experiment,
            steps_per_epoch=steps_per_epoch,
            image_shape=_one_image(experiment, dataset).shape[1:],
            batch_sharding=sharding,
        )
    )
    data.check_labels(dataset, made.logits.shape[-1])
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated), made.state)
    numbers = optim.hyperparameters(experiment.optimizer)
    key, hyper, colors = jax.device_put(
        (
            jax.random.key_data(jax.random.key(experiment.seed, impl=IMPLEMENTATION)),
            {name: np.float32(value) for name, value in numbers.items()},
            colors,
        ),
        replicated,
    )
    return Plan(
        experiment=experiment,
        dataset=dataset,
        steps_per_epoch=steps_per_epoch,
        total_steps=steps_per_epoch * experiment.epochs,
        programs=made,
        state=state.replace(key=key, hyper=hyper),
        batch_sharding=sharding,
        colors=colors,
    )


def _one_image(experiment: Experiment, dataset: data.Dataset) -> jax.Array:
    """Return an image of zeros in the shape that evaluation passes to the network."""
    images = jnp.zeros((1, *dataset.train.images.shape[1:]), jnp.float32)
    return data.center_crop(images, experiment.augment.crop)
