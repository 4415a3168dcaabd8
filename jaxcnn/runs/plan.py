"""The plan of a run, made and printed before anything is written."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

from jaxcnn import data
from jaxcnn.config import Experiment
from jaxcnn.describe import tables as describe
from jaxcnn.objectives import Objective, trained
from jaxcnn.probes import Instruments
from jaxcnn.runs.programs import Programs, programs, structure
from jaxcnn.runtime.errors import InputError
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
    def target(self) -> Any:
        """The unlabelled target images to train on; None if the objective needs none."""
        return self.dataset.unlabelled if "target" in self.experiment.objective.needs else None

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
    return _plan(experiment, data.load(experiment.data, experiment.seed, arrays))


def make_plans(experiments: Sequence[Experiment], arrays: Mapping[str, np.ndarray] | None = None) -> list[Plan]:
    """Return the plans of experiments that differ only in numbers; they share their images and programs.

    Args:
        experiments: experiments of one structure, as `members.structure_key` says.
        arrays: as for `make_plan`.

    Raises:
        InputError: as in `make_plan`.
    """
    first, seeds = experiments[0], {experiment.seed for experiment in experiments}
    settings = first.data
    if settings.split_seed is None and (settings.validation or settings.train_count):
        # Each seed draws its own validation and training images.
        whole = data.load(dataclasses.replace(settings, validation=0.0, train_count=None), first.seed, arrays)
        datasets = {seed: data.divided(whole, settings, seed) for seed in seeds}
    else:
        datasets = dict.fromkeys(seeds, data.load(settings, first.seed, arrays))
    plan = _plan(first, datasets[first.seed])
    return [_with_numbers_of(experiment, plan, datasets[experiment.seed]) for experiment in experiments]


def _plan(experiment: Experiment, dataset: data.Dataset) -> Plan:
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    steps_per_epoch = data.steps_per_epoch(len(dataset.train), experiment.data.batch_size, sharding.mesh.size)
    made = programs(
        structure(
            experiment,
            steps_per_epoch=steps_per_epoch,
            image_shape=_one_image(experiment, dataset).shape[1:],
            batch_sharding=sharding,
        )
    )
    data.check_labels(dataset, made.logits.shape[-1])
    if "target" in experiment.objective.needs and dataset.unlabelled is None:
        raise InputError(
            f"{type(experiment.objective).__name__} trains on images of a target, and data.target is empty; set it, "
            "for example config.data.target=digits@20 or corruption:gaussian_noise:5."
        )
    replicated = NamedSharding(sharding.mesh, PartitionSpec())
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated), made.state)
    plan = Plan(
        experiment=experiment,
        dataset=dataset,
        steps_per_epoch=steps_per_epoch,
        total_steps=steps_per_epoch * experiment.epochs,
        programs=made,
        state=_numbered(state, experiment, replicated),
        batch_sharding=sharding,
        colors=_colors(experiment, dataset, replicated),
    )
    _check_views(plan)
    if experiment.probes.every:
        _check_probes(plan)
    return plan


def _check_views(plan: Plan) -> None:
    """Raise InputError if the views of the objective do not fit the batches: compute their shapes."""
    objective, n = plan.experiment.objective, plan.experiment.data.batch_size
    if type(objective).views is not Objective.views:
        image = jax.ShapeDtypeStruct((n, *plan.image_shape), np.float32)
        batch = {"image": image, "label": jax.ShapeDtypeStruct((n,), np.int32)}
        batch |= {"target": image} if plan.target is not None else {}
        jax.eval_shape(objective.views, jax.random.key(0), batch)


def _check_probes(plan: Plan) -> None:
    """Raise InputError if the probes do not fit the network: trace a step with them."""
    images, n = plan.dataset.train.images, plan.experiment.data.batch_size
    shapes = {"image": ((n, *images.shape[1:]), images.dtype), "label": ((n,), np.int32)}
    if plan.target is not None:
        shapes["target"] = shapes["image"]
    batch = {name: jax.ShapeDtypeStruct(*each, sharding=plan.batch_sharding) for name, each in shapes.items()}
    instruments = (Instruments(plan.experiment.probes),)
    jax.eval_shape(partial(plan.programs.train_step, readings=instruments), plan.state, batch, plan.colors)


def _with_numbers_of(experiment: Experiment, plan: Plan, dataset: data.Dataset) -> Plan:
    """Return the plan of another experiment of the same structure."""
    colors = plan.colors if dataset is plan.dataset else _colors(experiment, dataset, plan.replicated)
    state = _numbered(plan.state, experiment, plan.replicated)
    return dataclasses.replace(plan, experiment=experiment, dataset=dataset, state=state, colors=colors)


def _numbered(state: TrainState, experiment: Experiment, sharding: NamedSharding) -> TrainState:
    """Return a state with the key and the hyperparameters of an experiment."""
    key = jax.random.key_data(jax.random.key(experiment.seed, impl=IMPLEMENTATION))
    hyper = {name: np.float32(value) for name, value in optim.hyperparameters(experiment.optimizer).items()}
    key, hyper = jax.device_put((key, hyper), sharding)
    return state.replace(key=key, hyper=hyper)


def _colors(experiment: Experiment, dataset: data.Dataset, sharding: NamedSharding) -> jax.Array | None:
    return jax.device_put(data.color_axes(dataset.train.images), sharding) if experiment.augment.pca_color else None


def _one_image(experiment: Experiment, dataset: data.Dataset) -> jax.Array:
    """Return an image of zeros in the shape that evaluation passes to the network."""
    images = jnp.zeros((1, *dataset.train.images.shape[1:]), jnp.float32)
    return data.center_crop(images, experiment.augment.crop)


def print_devices(console: Console) -> None:
    """Print one line with the number, the platform and the kind of devices."""
    devices = jax.devices()
    console.print(f"devices: {len(devices)} {devices[0].platform} ({devices[0].device_kind})")


def print_plan(console: Console, plan: Plan) -> None:
    """Print the devices, the network, its weight decay, the data and the number of steps."""
    if console.quiet:  # The tables take a tenth of a second.
        return
    experiment, dataset = plan.experiment, plan.dataset
    print_devices(console)
    describe.print_table(describe.network_table(experiment.model, plan.image_shape))
    settings = experiment.optimizer
    report = optim.decay_report(settings, plan.state.params)
    mask = jax.tree.leaves(trained(experiment.objective, plan.state.params))
    report = [(name, shape, decays and on) for (name, shape, decays), on in zip(report, mask, strict=True)]
    describe.print_table(describe.decay_table(report, settings.weight_decay, settings.weight_decay_form))
    if not all(mask):
        names = ", ".join(name for (name, *_), on in zip(report, mask, strict=True) if on)
        console.print(f"{type(experiment.objective).__name__} trains {sum(mask)} of {len(mask)} parameters: {names}")
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    counts = ", ".join(f"{len(part):,} {name}" for name, part in parts.items() if part is not None)
    console.print(
        f"data: {counts} images; {plan.total_steps:,} steps of {experiment.data.batch_size} images, "
        f"{plan.steps_per_epoch:,} per epoch"
    )
    if dataset.target is not None:
        console.print(f"target: {dataset.about_target}")
