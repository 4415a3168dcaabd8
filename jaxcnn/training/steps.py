"""Pure functions for a training step and an evaluation step; the caller applies jit, vmap, donation and shardings."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxcnn.data.streams import FurtherStepStream, StepStream
from jaxcnn.objectives import OWN, Apply, Batch, CrossEntropy, Objective, Sums, network_params, trained
from jaxcnn.runtime.errors import InputError
from jaxcnn.training.state import IMPLEMENTATION, TrainState

Readings = Any
"""The values that a probe computes inside a step: any tree of arrays."""


class Model(Protocol):
    """The interface that the steps need; any linen module with `__call__(x, *, train)` satisfies it."""

    def apply(self, variables: dict, x: jax.Array, *, train: bool, **options: Any) -> Any:
        """Return logits [n, classes], together with the updated collections if `mutable` is passed."""


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    *,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    objective: Objective = CrossEntropy(),
    readings: Callable[..., Readings] | None = None,
    tap: Callable[..., tuple[Callable[..., Any], Any]] | None = None,
    total_steps: int | None = None,
) -> Callable[[TrainState, Batch], tuple[TrainState, Sums, Readings]]:
    """Return a pure function `step(state, batch) -> (state, metrics, readings)`, neither jitted nor donating.

    All randomness is a function of (state.key, state.step), so a resumed run equals an uninterrupted one, and members
    of a `jax.vmap` over states (with one `step` for all) equal their individual runs. On a batch that is sharded over
    devices, loss, gradients and batch statistics are computed over the whole batch.

    Args:
        model: the network. Its collections are `state.model_state`; it may update all of them.
        optimizer: its `update` receives `value=loss` and `hyper=state.hyper`, as optax's extended transformations do;
            others ignore them.
        preprocess: function from stored images to network input.
        augment: `(key, images) -> images`, before `preprocess`; None: no augmentation.
        objective: the objective to minimize; the default is softmax cross-entropy, in nats. Its parameters, if any, are
            `state.params[OWN]`; it may exclude parameters from training.
        readings: `(state, batch, gradients, updates) -> tree of arrays`, computed with the state before the update and
            the batch after preprocessing; None: readings are {}.
        tap: `(loss, params, batch) -> (tapped, zeros)` with `tapped(params, zeros) == loss(params)`. The step then
            differentiates `tapped`, and `readings` has two more arguments: the gradient with respect to `zeros`, and
            `loss`. So `jaxcnn.probes` read layers without a second backward pass.
        total_steps: steps of the whole run, of which `batch["progress"]` is a share; only objectives that need
            "progress" use it.

    Returns:
        The step. `batch` has `image` [n, height, width, channels] and the streams that the objective needs: usually
        `label` int32 [n] from 0 (labels are not checked: -1 trains on the last class, and a label of num_classes or
        more gives NaN), and `target`, images like `image`. `metrics` has the objective's sums over the batch.
    """
    if "progress" in objective.needs and not total_steps:
        raise InputError(f"{type(objective).__name__} needs the progress of the run; give make_train_step total_steps.")
    optimizer = optax.with_extra_args_support(optimizer)
    apply = training_apply(model, train=True)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums, Readings]:
        root = jax.random.wrap_key_data(state.key, impl=IMPLEMENTATION)
        # A key is derived only where it is used: on a CPU, XLA takes a second to compile each derivation.
        augment_key, dropout_key = (jax.random.fold_in(root, 2 * state.step + use) for use in StepStream)
        keys = {"image": augment_key}
        if "target" in batch:
            keys["target"] = _further_key(root, FurtherStepStream.TARGET_AUGMENT, state.step)
        if augment:
            for name, key in keys.items():
                changed = _once(lambda images, key=key: augment(key, images), batch[name], state.step)
                batch = batch | {name: changed}
        given = batch.keys() - keys.keys()
        if type(objective).views is not Objective.views:
            key = _further_key(root, FurtherStepStream.VIEWS, state.step)
            batch = _once(lambda batch: objective.views(key, batch), batch, state.step)
        views = {name for name in batch.keys() - given - keys.keys() if batch[name].ndim == 4}
        batch = batch | {name: preprocess(batch[name]) for name in sorted(keys.keys() | views)}
        if "progress" in objective.needs:
            batch["progress"] = state.step.astype(jnp.float32) / total_steps

        def loss(params: Any) -> tuple[jax.Array, tuple[Any, Sums]]:
            return objective(apply, params, state.model_state, batch, dropout_key)

        tapped, zeros = tap(loss, state.params, batch) if tap else (lambda params, _: loss(params), ())
        answer, (gradients, tap_sums) = jax.value_and_grad(tapped, (0, 1), has_aux=True)(state.params, zeros)
        value, (model_state, metrics) = answer
        mask = trained(objective, state.params)
        # Gradients are masked so that frozen parameters do not count in clipping; updates, so that they do not decay.
        gradients = _kept(mask, gradients)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params, value=value, hyper=state.hyper)
        updates = _kept(mask, updates)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            model_state=model_state,
            opt_state=opt_state,
        )
        seen = (state, batch, gradients, updates, *((tap_sums, loss) if tap else ()))
        return new, metrics, readings(*seen) if readings else {}

    return train_step


def training_apply(model: Model, **options: Any) -> Apply:
    """Return the network in training mode, as objectives call it.

    Args:
        model: the network.
        options: further arguments of its `__call__`, usually `train=True`.
    """

    def apply(params: Any, model_state: Any, images: jax.Array, key: jax.Array) -> tuple[jax.Array, Any]:
        variables, mutable = {"params": network_params(params), **model_state}, list(model_state)
        # In flax, a random stream of any other name falls back to that of params.
        streams = {"dropout": key, "params": jax.random.fold_in(key, 1)}
        logits, updates = model.apply(variables, images, **options, mutable=mutable, rngs=streams)
        return logits, {**model_state, **updates}

    return apply


def make_eval_step(
    model: Model,
    *,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    objective: Objective = CrossEntropy(),
) -> Callable[[dict[str, Any], Batch], tuple[Sums, jax.Array]]:
    """Return a pure function `step(variables, batch) -> (metrics, logits)`, not jitted.

    `variables` is `TrainState.variables`, including parameters of the objective. `batch` has `image`, `label` and
    `mask` (False for padding); `metrics` are the objective's sums over the examples whose mask is True, `logits` are
    [n, classes] float32, including padding. Labels are not checked: -1 counts as the last class in the loss and is
    never correct; a label of num_classes or more makes the loss NaN.
    """

    def eval_step(variables: dict[str, Any], batch: Batch) -> tuple[Sums, jax.Array]:
        params = variables["params"]
        network = {**variables, "params": network_params(params)}
        logits = model.apply(network, preprocess(batch["image"]), train=False)
        own = (params[OWN],) if OWN in params else ()
        return objective.sums(logits, batch, *own), logits

    return eval_step


def _further_key(root: jax.Array, stream: FurtherStepStream, step: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.fold_in(root, stream), step)


def _kept(mask: Any, tree: Any) -> Any:
    """Return the tree with zeros where the mask is False."""
    return jax.tree.map(lambda on, x: x if on else jnp.zeros_like(x), mask, tree)


def _once(function: Callable[[Any], Any], images: Any, step: jax.Array) -> Any:
    """Compute function(images) once, for an array or a tree of arrays. On a CPU, XLA would fuse it with its consumers
    and recompute a pixel at every read, which takes a fifth of a step of LeNet-5; it does not fuse across a
    conditional, and the condition here is always true. Under `jax.vmap` it remains a conditional as long as `step` has
    no batch axis, which `make_train_step` requires."""
    if jax.default_backend() != "cpu":
        return function(images)
    result = jax.eval_shape(function, images)
    nothing = functools.partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), result)
    return jax.lax.cond(step >= 0, function, lambda _: nothing(), images)
