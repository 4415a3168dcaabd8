"""The update rule as an optax chain: learning rate schedules, weight decay masks, the named stages."""

import dataclasses
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from jaxcnn.config import Optimizer
from jaxcnn.runtime.errors import InputError

# The order matters: stages before the momentum enter its buffer.
_ORDER = {
    "l2": ("clip", "decay", "momentum", "adam", "plateau", "learning_rate"),
    "krizhevsky": ("clip", "decay", "plateau", "learning_rate", "momentum"),
    "decoupled": ("clip", "momentum", "adam", "decay", "plateau", "learning_rate"),
}
_SCOPES = {
    "all": lambda name, rank: True,
    "kernels": lambda name, rank: name == "kernel",
    "dense": lambda name, rank: name == "kernel" and rank == 2,
    "conv": lambda name, rank: name == "kernel" and rank >= 3,
    "none": lambda name, rank: False,
}


def hyperparameters(config: Optimizer) -> dict[str, float]:
    """Return the hyperparameters that are arrays of the state, so that changing one needs no compilation.

    Everything else is structure: algorithm, form and scope of the weight decay, Nesterov, whether gradients are
    clipped, and the shape of the schedule in steps.

    Returns:
        `learning_rate` and `weight_decay`; `momentum` for sgd, `b1`, `b2` and `eps` for adam; `clip_norm` if it is
        set.
    """
    names = ["learning_rate", "weight_decay"]
    names += ["momentum"] if config.algorithm == "sgd" else ["b1", "b2", "eps"]
    names += ["clip_norm"] if config.clip_norm is not None else []
    return {name: getattr(config, name) for name in names}


def structure(config: Optimizer) -> Optimizer:
    """Return the optimizer with hyperparameters at fixed values: equal for optimizers that share a compiled program.

    A weight decay of 0 stays 0, because its scope may select nothing.
    """
    same = dict.fromkeys(hyperparameters(config), 0.5)
    return dataclasses.replace(config, **same | ({} if config.weight_decay else {"weight_decay": 0.0}))


def make_schedule(config: Optimizer, steps_per_epoch: int, total_steps: int) -> optax.Schedule:
    """Return the factor on the peak learning rate as a function of the step.

    Update t, counted from 0, uses the value at step t. Durations in epochs are rounded to whole steps.

    - Warm-up of W steps: `t / W` for t < W, so update 0 has rate 0 and update W the peak.
    - constant and plateau: 1. For plateau the reductions are a stage of `make_optimizer`, because they depend on
      the loss.
    - step: multiplied by `factor` at each drop; drops are counted from the start of training.
    - cosine: half a cosine from 1 at step W to `final` at step `total_steps - 1`.

    Args:
        config: the optimizer; only `schedule` is used.
        steps_per_epoch: updates in one pass over the training images.
        total_steps: updates in the whole run.

    Returns:
        A function from a step (an integer or an int32 scalar, traced or not) to a factor.

    Raises:
        InputError: a number of steps is not positive, the warm-up is longer than the run, or a drop is not between the
            warm-up and the end of the run.
    """
    schedule = config.schedule
    for name, value in (("steps_per_epoch", steps_per_epoch), ("total_steps", total_steps)):
        if not isinstance(value, Integral) or value < 1:
            raise InputError(f"{name} is {value!r}; it must be an integer > 0.")
    epochs = total_steps / steps_per_epoch
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if warmup > total_steps:
        raise InputError(
            f"Schedule.warmup_epochs is {schedule.warmup_epochs:g}, longer than the run of {epochs:g} epochs; shorten "
            "the warm-up or train for more epochs."
        )
    starts: list[int] = []
    pieces = [optax.constant_schedule(1.0)]
    if schedule.name == "step":
        starts = [round(drop * steps_per_epoch) for drop in schedule.drops]
        for drop, start in zip(schedule.drops, starts, strict=True):
            if not warmup < start < total_steps:
                raise InputError(
                    f"Schedule.drops has {drop:g}; a drop must come after the warm-up of {schedule.warmup_epochs:g} "
                    f"epochs and before the end of the run at {epochs:g}. Remove it or change the number of epochs."
                )
        pieces = [optax.constant_schedule(schedule.factor**k) for k in range(len(starts) + 1)]
    elif schedule.name == "cosine":
        pieces = [optax.cosine_decay_schedule(1.0, max(1, total_steps - 1 - warmup), alpha=schedule.final)]
    if warmup:
        starts, pieces = [warmup, *starts], [lambda step: step / warmup, *pieces]
    return optax.join_schedules(pieces, starts)


def decay_mask(params: optax.Params, scope: str) -> optax.Params:
    """Return which parameters decay under a scope.

    Only leaves named `kernel` are kernels, whatever module owns them: biases, normalization scales and other parameters
    (radial basis centres, subsampling coefficients) decay only under "all".

    Args:
        params: a tree of arrays or `jax.ShapeDtypeStruct`s.
        scope: "all": every leaf (AlexNet section 5 has no restriction); "kernels": every kernel; "dense": kernels of
            rank 2; "conv": kernels of rank 3 or more (1-D convolutions included); "none": no leaf.

    Returns:
        A tree of bool, of the same structure as `params`.

    Raises:
        InputError: the scope is not "none" and selects no leaf.
    """
    mask = jax.tree.map_with_path(lambda path, leaf: _SCOPES[scope](_name(path), leaf.ndim), params)
    if scope != "none" and not any(jax.tree.leaves(mask)):
        found = sorted({f"{_name(path)} (rank {leaf.ndim})" for path, leaf in jax.tree.leaves_with_path(params)})
        raise InputError(
            f"Optimizer.weight_decay_scope {scope!r} selects no parameter; found: {', '.join(found) or 'none'}. "
            f"Choose another of {', '.join(_SCOPES)}, or set weight_decay to 0."
        )
    return mask


def decay_report(config: Optimizer, params: optax.Params) -> list[tuple[str, tuple[int, ...], bool]]:
    """List which parameters decay and which do not, in the order of the tree.

    Args:
        config: the optimizer; nothing decays if `weight_decay` is 0.
        params: a tree of arrays or `jax.ShapeDtypeStruct`s.

    Returns:
        Path ("conv1_1/kernel"), shape, and whether it decays, for every parameter.

    Raises:
        InputError: as in `decay_mask`.
    """
    leaves = jax.tree.leaves_with_path(params)
    mask = jax.tree.leaves(_mask(config, params))
    return [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape, decays)
        for (path, leaf), decays in zip(leaves, mask, strict=True)
    ]


def make_optimizer(
    config: Optimizer, params: optax.Params, *, steps_per_epoch: int, total_steps: int
) -> optax.GradientTransformationExtraArgs:
    """Return the update rule as a chain of named stages.

    With g the gradient (clipped first), w the weights, a the weight decay, m the momentum, e the learning rate of this
    step:

    - l2 (PyTorch's SGD and Adam): `v = m v + g + a w; w = w - e v`.
    - krizhevsky (AlexNet section 5): `v = m v - a e w - e g; w = w + v`. The rate is inside the buffer, with or without
      decay, so a drop of the rate takes 1 / (1 - m) updates to take effect. With nesterov this is exactly Nesterov's
      method, with its look-ahead points as the weights.
    - decoupled (Loshchilov & Hutter, Decoupled Weight Decay Regularization, as in PyTorch's AdamW):
      `v = m v + g; w = w - e (v + a w)`. In the long run l2 shrinks weights 1 / (1 - m) times as much per update.

    Under l2 and decoupled, nesterov uses `m v + d` instead of v in the step, where v is the new buffer and d what was
    added to it (l2: g + a w; decoupled: g). Adam replaces v by its own direction. The plateau reduction multiplies e:
    the mean of `value` over each epoch, including the warm-up, must fall 0.01 % below the minimum so far to count as an
    improvement, and the rate drops at the last update of the `patience`-th consecutive epoch without one.

    Args:
        config: the optimizer.
        params: a tree of arrays or `jax.ShapeDtypeStruct`s, to determine which parameters decay.
        steps_per_epoch: updates in one pass over the training images.
        total_steps: updates in the whole run.

    Returns:
        A transformation for `update(gradients, state, params, value=loss, hyper=hyper)`. `value`, the training loss of
        this step, is needed by the plateau schedule and ignored by the others; `hyper` has the values of
        `hyperparameters(config)` as arrays, which may be traced; without it the values of `config` are used. The state
        is a dict of arrays by stage: "decay", "momentum" or "adam", "learning_rate", and "clip" and "plateau" if they
        are on. The decay and momentum stages are always present. If `config.weight_decay` is 0, nothing decays,
        whatever `hyper` says, because the scope then may select nothing.

    Raises:
        InputError: as in `make_schedule` and `decay_mask`.
    """
    schedule = make_schedule(config, steps_per_epoch, total_steps)
    mask = _mask(config, params)

    def chain(hyper: Mapping[str, jax.Array]) -> optax.GradientTransformationExtraArgs:
        stages = {
            "decay": optax.add_decayed_weights(hyper["weight_decay"], mask),
            "learning_rate": optax.scale_by_schedule(lambda step: -hyper["learning_rate"] * schedule(step)),
        }
        if config.algorithm == "adam":
            stages["adam"] = optax.scale_by_adam(hyper["b1"], hyper["b2"], hyper["eps"])
        else:
            stages["momentum"] = optax.trace(hyper["momentum"], config.nesterov)
        if config.clip_norm is not None:
            stages["clip"] = optax.clip_by_global_norm(hyper["clip_norm"])
        if config.schedule.name == "plateau":
            stages["plateau"] = contrib.reduce_on_plateau(
                config.schedule.factor, config.schedule.patience, accumulation_size=steps_per_epoch
            )
        return optax.named_chain(*((name, stages[name]) for name in _ORDER[config.weight_decay_form] if name in stages))

    def update(
        gradients: optax.Updates,
        state: optax.OptState,
        params: optax.Params,
        *,
        hyper: Mapping[str, jax.Array] | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, optax.OptState]:
        values = hyper or hyperparameters(config)
        if missing := hyperparameters(config).keys() - values.keys():
            raise InputError(f"hyper lacks {', '.join(sorted(missing))}; create_state takes it from hyperparameters().")
        return chain(values).update(gradients, state, params, **extra)

    return optax.GradientTransformationExtraArgs(chain(hyperparameters(config)).init, update)


def current_learning_rate(
    schedule: optax.Schedule, hyper: Mapping[str, jax.Array], opt_state: optax.OptState
) -> jax.Array:
    """Return the learning rate that the last update used, including plateau reductions.

    Args:
        schedule: from `make_schedule`.
        hyper: the hyperparameters that the update received; `learning_rate` is used.
        opt_state: state of `make_optimizer`'s chain, as returned by an update.

    Returns:
        A float32 scalar.
    """
    rate = hyper["learning_rate"] * jnp.asarray(schedule(opt_state["learning_rate"].count - 1), jnp.float32)
    return rate * opt_state["plateau"].scale if "plateau" in opt_state else rate


def _mask(config: Optimizer, params: optax.Params) -> optax.Params:
    """Return the decay mask of a configuration; with a weight decay of 0 nothing decays."""
    return decay_mask(params, config.weight_decay_scope if config.weight_decay else "none")


def _name(path: tuple) -> str:
    """Return the last name in the path of a leaf."""
    return jax.tree_util.keystr(path[-1:], simple=True)
