"""Compiled programs of runs, shared by all runs of the same structure in a process.

Numbers that differ between the points of a sweep (learning rate, weight decay, momentum, seed, order of the data) are
arguments of these programs, so that thirty learning rates compile once.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec

from jaxcnn import data
from jaxcnn.config import Augment, Data, Experiment, Optimizer
from jaxcnn.data.streams import InitStream
from jaxcnn.objectives import OWN, Batch, Objective, Sums, trained
from jaxcnn.probes import with_features
from jaxcnn.runs.stacking import member_axes
from jaxcnn.runtime.errors import InputError
from jaxcnn.training import optim
from jaxcnn.training.state import IMPLEMENTATION, TrainState, create_state
from jaxcnn.training.steps import Readings, make_eval_step, make_train_step, training_apply

# Number of structures whose programs are kept; without a limit, a sweep over architectures would keep all of them.
_KEPT = 8

# Images of the batch with which an objective is checked.
_CHECKED = 256


@dataclass(frozen=True)
class Structure:
    """Everything that the programs of a run close over.

    Attributes:
        model, objective, augment: fields of the experiment.
        preprocessing: a `Data` in which only the fields that `data.make_preprocess` reads are set.
        optimizer: result of `optim.structure`.
        steps_per_epoch, total_steps: lengths on which the schedule depends.
        image_shape: (height, width, channels) of the network's input.
        batch_sharding: sharding of the batch axis.
    """

    model: nn.Module
    objective: Objective
    augment: Augment
    preprocessing: Data
    optimizer: Optimizer
    steps_per_epoch: int
    total_steps: int
    image_shape: tuple[int, int, int]
    batch_sharding: NamedSharding


@dataclass(frozen=True)
class Programs:
    """The programs of a structure; each is compiled at its first call.

    Attributes:
        optimizer: the optax chain; its hyperparameters are arguments.
        schedule: factor on the learning rate by step.
        state: the state as ShapeDtypeStructs, without shardings.
        logits: output of the network for one image, as a ShapeDtypeStruct.
        initialize: `(seed, hyper, replacements) -> state`, weights from the seed except those in `replacements`.
        train_step: `(state, batch, colors, *, readings=()) -> (state, metrics, (rate, answers))`, which donates its
            state. `colors` are the principal components of the colours of the training images if `augment` uses them,
            otherwise None; `readings`, static, are functions as in `make_train_step`, of which one may be
            `probes.Instruments`, and `answers` their results;
            `rate` is the learning rate of the update.
        eval_step: `(variables, batch) -> (metrics, logits)`.
        are_finite: `(variables) -> bool`, whether all of them are; one program, not one for every shape.
        train_members, eval_members: the same for several members of one structure, by `jax.vmap`. States are stacked as
            by `stacking.stack`, and results are stacked along a first axis. A batch, the colours and the key have this
            axis too, or belong to all members; so a learning rate sweep augments each batch once.
    """

    optimizer: Any
    schedule: Callable[[Any], Any]
    state: TrainState
    logits: jax.ShapeDtypeStruct
    initialize: Callable[..., TrainState]
    train_step: Any
    eval_step: Any
    are_finite: Any
    train_members: Any
    eval_members: Any


def structure(
    experiment: Experiment,
    *,
    steps_per_epoch: int,
    image_shape: tuple[int, int, int],
    batch_sharding: NamedSharding,
) -> Structure:
    """Return the structure of an experiment on images of this shape."""
    read = {name: getattr(experiment.data, name) for name in ("channel_order", "mean", "std")}
    return Structure(
        model=experiment.model,
        objective=experiment.objective,
        augment=experiment.augment,
        preprocessing=dataclasses.replace(Data(), **read),
        optimizer=optim.structure(experiment.optimizer),
        steps_per_epoch=steps_per_epoch,
        total_steps=steps_per_epoch * experiment.epochs,
        image_shape=image_shape,
        batch_sharding=batch_sharding,
    )


def programs(of: Structure) -> Programs:
    """Return the programs of a structure; an equal structure gets the same programs.

    A network with a field that cannot be hashed, such as a list, gets new programs on every call.

    Raises:
        InputError: the parts of the structure do not fit together.
    """
    try:
        hash(of)
    except TypeError:
        return _make(of)
    return shared(of)


def _check_names(network: Any) -> None:
    """Refuse names of which a checkpoint could not be read: it joins them with slashes."""
    for path, _ in jax.tree_util.tree_leaves_with_path(network):
        for name in (str(getattr(key, "key", "")) for key in path):
            if "/" in name or name == OWN:
                raise InputError(f"the network has {name!r} among its names; rename it without '/' or '~'.")


def _check_objective(
    objective: Objective,
    model: nn.Module,
    variables: dict[str, Any],
    images: jax.Array,
    logits: jax.ShapeDtypeStruct,
) -> None:
    """Refuse an objective whose loss is no scalar, or whose sums are not scalars that include `n`."""
    # Only shapes are computed, and some objectives divide a batch.
    images = jax.ShapeDtypeStruct((_CHECKED, *images.shape[1:]), images.dtype)
    batch: dict[str, Any] = {"image": images, "label": jax.ShapeDtypeStruct((_CHECKED,), np.int32)}
    further = {"target": images, "progress": jax.ShapeDtypeStruct((), np.float32)}
    batch |= {name: further[name] for name in objective.needs if name in further}
    rest = {name: collection for name, collection in variables.items() if name != "params"}

    def pretended(params: Any, state: Any, images: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        return jnp.zeros((len(images), *logits.shape[1:]), logits.dtype), state

    # An objective with further needs may read layers; for the others the network is not traced once more.
    apply = training_apply(model, train=True) if objective.needs else pretended

    def answer(params: Any, model_state: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
        loss, (_, sums) = objective(apply, params, model_state, objective.views(key, batch), key)
        return loss, sums

    loss, sums = jax.eval_shape(answer, variables["params"], rest, batch, _key(0))
    if loss.shape:
        raise InputError(f"{type(objective).__name__} gives a loss of shape {loss.shape}; it must be a scalar.")
    if "n" not in sums:
        raise InputError(
            f"{type(objective).__name__} gives the sums {', '.join(sums)}; they must include n, the images."
        )
    if wrong := [name for name, value in sums.items() if value.shape]:
        raise InputError(
            f"{type(objective).__name__} gives {wrong[0]} of shape {sums[wrong[0]].shape}; sums are scalars."
        )


def _features(model: nn.Module, variables: dict[str, Any], images: jax.Array) -> jax.ShapeDtypeStruct:
    """Return shape and dtype of the penultimate features of one image."""
    rest = {name: collection for name, collection in variables.items() if name != "params"}
    apply = training_apply(model, train=False)
    _, features, _ = jax.eval_shape(functools.partial(with_features, apply), variables["params"], rest, images, _key(0))
    return features


def _make(of: Structure) -> Programs:
    images = jnp.zeros((1, *of.image_shape), jnp.float32)
    preprocess = data.make_preprocess(of.preprocessing)
    jax.eval_shape(preprocess, images)
    network = jax.eval_shape(lambda: of.model.init(_key(0), images, train=False))
    logits = jax.eval_shape(lambda v: of.model.apply(v, images, train=False), network)
    if "params" not in network:
        raise InputError("the network has no parameters, so there is nothing to train.")
    _check_names(network)
    if not hasattr(logits, "ndim"):
        raise InputError(f"the network gives {type(logits).__name__} for one image; it must give logits (1, classes).")
    if logits.ndim != 2:
        raise InputError(f"the network gives logits of shape {logits.shape} for one image; it must give (1, classes).")

    shapes = (logits, _features(of.model, network, images)) if "features" in of.objective.needs else (logits,)

    def draw(key: jax.Array) -> dict[str, Any]:
        variables = of.model.init(key, images, train=False)
        own = of.objective.init(jax.random.fold_in(key, InitStream.OBJECTIVE), *shapes)
        return variables if own is None else {**variables, "params": {**variables["params"], OWN: own}}

    variables = jax.eval_shape(lambda: draw(_key(0)))
    trained(of.objective, variables["params"])
    _check_objective(of.objective, of.model, variables, images, logits)
    lengths = {"steps_per_epoch": of.steps_per_epoch, "total_steps": of.total_steps}
    optimizer = optim.make_optimizer(of.optimizer, variables["params"], **lengths)
    schedule = optim.make_schedule(of.optimizer, **lengths)
    hyper = optim.hyperparameters(of.optimizer)
    replicated = NamedSharding(of.batch_sharding.mesh, PartitionSpec())

    def initialize(seed: jax.Array, hyper: dict[str, jax.Array], replacements: dict[str, Any]) -> TrainState:
        drawn = draw(_key(seed))
        merged = {part: {**values, **replacements.get(part, {})} for part, values in drawn.items()}
        return create_state(merged, optimizer, seed=seed, hyper=hyper)

    def train_step(
        state: TrainState, batch: Batch, colors: jax.Array | None, *, readings: tuple[Callable[..., Any], ...] = ()
    ) -> tuple[TrainState, Sums, Readings]:
        def read(*values: Any) -> tuple[Readings, ...]:
            return tuple(each(*values if hasattr(each, "tap") else values[:4]) for each in readings)

        step = make_train_step(
            of.model,
            optimizer,
            preprocess=preprocess,
            augment=data.make_augment(of.augment, colors),
            objective=of.objective,
            readings=read,
            tap=next((each.tap for each in readings if hasattr(each, "tap")), None),
            total_steps=of.total_steps,
        )
        state, metrics, answers = step(state, batch)
        return state, metrics, (optim.current_learning_rate(schedule, state.hyper, state.opt_state), answers)

    def train_members(
        state: TrainState, batch: Batch, colors: jax.Array | None, *, readings: tuple[Callable[..., Any], ...] = ()
    ) -> tuple[TrainState, Sums, Readings]:
        axes, own_colors = member_axes(state), colors is not None and colors.ndim > 2
        step = functools.partial(train_step, readings=readings)
        each = jax.vmap(step, in_axes=(axes, _batch_axis(batch), 0 if own_colors else None), out_axes=(axes, 0, 0))
        return each(state, batch, colors)

    # Initialization runs once; for a CPU, XLA takes longer to optimize random number generators than they take to run.
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    eval_step = make_eval_step(
        of.model,
        preprocess=lambda images: preprocess(data.center_crop(images, of.augment.crop)),
        objective=of.objective,
    )

    def eval_members(variables: dict[str, Any], batch: Batch) -> tuple[Sums, jax.Array]:
        return jax.vmap(eval_step, in_axes=(0, _batch_axis(batch)))(variables, batch)

    def are_finite(variables: dict[str, Any]) -> jax.Array:
        return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(variables)]).all()

    return Programs(
        optimizer=optimizer,
        schedule=schedule,
        state=jax.eval_shape(lambda v: create_state(v, optimizer, hyper=hyper), variables),
        logits=logits,
        initialize=jax.jit(initialize, out_shardings=replicated, compiler_options=options),
        train_step=jax.jit(train_step, donate_argnums=0, static_argnames="readings", out_shardings=replicated),
        eval_step=jax.jit(eval_step),
        are_finite=jax.jit(are_finite),
        train_members=jax.jit(train_members, donate_argnums=0, static_argnames="readings", out_shardings=replicated),
        eval_members=jax.jit(eval_members),
    )


shared = functools.lru_cache(maxsize=_KEPT)(_make)
"""Programs by structure, cached."""


def _batch_axis(batch: Batch) -> int | None:
    """Return the axis of the members in a batch; None if it is the batch of every member."""
    return 0 if batch["image"].ndim > 4 else None


def _key(seed: int | jax.Array) -> jax.Array:
    return jax.random.key(seed, impl=IMPLEMENTATION)
