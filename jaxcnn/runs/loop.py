"""Set up a run, loop over its steps, resume it: the only place with a loop over steps."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxcnn import data
from jaxcnn.config import Experiment
from jaxcnn.describe import tables as describe
from jaxcnn.evaluation.exact import evaluate
from jaxcnn.objectives import mean_metrics
from jaxcnn.runs import checkpoint
from jaxcnn.runs.init_from import transfer, validated_before
from jaxcnn.runs.metrics import Writer, accuracies, progress_bar, read_rows
from jaxcnn.runs.plan import Plan, make_plan
from jaxcnn.runs.saved import Choice, evaluated_part
from jaxcnn.runs.signals import Preempted, Signals
from jaxcnn.runs.workdir import Results, Source, check_workdir, finished, open_workdir, write_results
from jaxcnn.runtime import compilation_cache
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.lock import locked
from jaxcnn.training import optim
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.state import TrainState


def train(
    experiment: Experiment,
    workdir: str | Path,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
    init_from: str | Path | None = None,
    init_from_checkpoint: Choice = "last",
    config_file: str | Path | None = None,
    verbose: bool = True,
) -> Results:
    """Run an experiment in a folder, from its newest checkpoint if the folder has one.

    A finished run is not run again: its results are read. A run that was stopped, however, ends with the same weights
    and the same rows in metrics.jsonl as one that was not.

    Args:
        experiment: what to run.
        workdir: holds everything the run writes; made if needed.
        arrays: images and labels in memory for `data.source="arrays"`: `train_images`, `train_labels`, `test_images`,
            `test_labels`.
        init_from: folder of a run whose weights to start from, without its optimizer state.
        init_from_checkpoint: which of its checkpoints: `last`, `best` (by the accuracy on its validation part, or on
            the test part if it set none aside, which then biases test errors low) or a step.
        config_file: where the experiment was loaded from, if from a file; its text is kept as `config.py`.
        verbose: print devices, tables, a progress bar on a terminal, and a summary.

    Raises:
        InputError: something given does not fit; nothing has been written.
        Preempted: SIGTERM or Ctrl-C arrived; the state is saved.
        NonFinite: a number of training, of a weight or of an evaluation is NaN or infinite; no row, checkpoint or
            result has been written of it.
        SaveError: a checkpoint or another file of the run could not be written.
        RestoreError: a checkpoint could not be read, for a reason that is not its own; nothing has been changed.
    """
    workdir = check_workdir(workdir)
    console = Console(quiet=not verbose, highlight=False, markup=False, soft_wrap=True)
    source = Source.of(experiment, init_from, arrays, init_from_checkpoint)
    config_text = None if config_file is None else _config_text(config_file)
    if (results := _finished(experiment, workdir, source, console)) is not None:
        return results
    if experiment.compilation_cache:
        compilation_cache.enable(console.print)
    # Whatever JAX is set to, a run draws the same numbers.
    with jax.threefry_partitionable(True):
        plan = make_plan(experiment, arrays)
        print_plan(console, plan)
        with locked(workdir):
            # Before the folder was locked, another launch may have trained there.
            if (results := _finished(experiment, workdir, source, console)) is not None:
                return results
            state, carry = _begin(plan, workdir, source, console)
            if line := open_workdir(plan, workdir, source, config_text):
                console.print(line)
            try:
                return _Run(plan, workdir, console, state, carry).go()
            except OSError as error:
                raise checkpoint.SaveError(f"workdir {workdir} cannot be written any more: {error}") from error


def _config_text(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(
            f"config_file {file} cannot be read: {error.strerror}; give the file or leave it out."
        ) from error


def _finished(experiment: Experiment, workdir: Path, source: Source, console: Console) -> Results | None:
    """The results of a finished run, with a line that says so; None if it is not finished."""
    results = finished(experiment, workdir, source)
    if results is not None:
        console.print(f"{workdir} holds this experiment, finished: test error {results.test['error']:.2%}.")
    return results


def print_devices(console: Console) -> None:
    """One line: platform, number and kind of devices."""
    devices = jax.devices()
    console.print(f"devices: {len(devices)} {devices[0].platform} ({devices[0].device_kind})")


def print_plan(console: Console, plan: Plan) -> None:
    """Devices, the network, what decays and what does not, the data and the number of steps."""
    experiment, dataset = plan.experiment, plan.dataset
    print_devices(console)
    console.print(describe.network_table(experiment.model, plan.image_shape))
    settings = experiment.optimizer
    report = optim.decay_report(settings, plan.state.params)
    console.print(describe.decay_table(report, settings.weight_decay, settings.weight_decay_form))
    parts = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    counts = ", ".join(f"{len(part):,} {name}" for name, part in parts.items() if part is not None)
    console.print(
        f"data: {counts} images; {plan.total_steps:,} steps of {experiment.data.batch_size} images, "
        f"{plan.steps_per_epoch:,} an epoch"
    )


def _begin(plan: Plan, workdir: Path, source: Source, console: Console) -> tuple[TrainState, dict[str, Any]]:
    """The state to go on from, and what the loop carries with it."""
    restored = checkpoint.restore_state(workdir / "checkpoints", plan.state, console.print)
    if restored is not None:
        console.print(f"resuming from step {int(restored[0].step):,} in {workdir}/checkpoints")
        return restored
    variables = None
    if source.init_from:
        variables, line = transfer(plan, source.init_from, source.init_from_checkpoint)
        console.print(line)
        if line := validated_before(plan, source.init_from, source.arrays):
            console.print(line)
    return plan.initial_state(variables), {"sums": {}, "previous_sums": {}, "seconds": 0.0}


class _Run:
    """The moving parts of one launch."""

    def __init__(self, plan: Plan, workdir: Path, console: Console, state: TrainState, carry: dict[str, Any]) -> None:
        self.plan, self.workdir, self.console, self.state = plan, workdir, console, state
        self.sums, self.seconds_before = carry["sums"], carry["seconds"]
        self.previous_sums: dict[str, float] = carry.get("previous_sums", {})  # Those of the row before.
        self.images = 0.0  # Since the last row, of this launch alone, as its clock.
        self.folder = workdir / "checkpoints"
        self.saved = int(state.step) if int(state.step) in checkpoint.steps(self.folder) else -1
        self.started, self.signals, self.clock = time.perf_counter(), Signals(), _Clock()
        self.last: tuple[int, dict[str, float], np.ndarray] | None = None
        self.eval_part = evaluated_part(plan.experiment)

    def go(self) -> Results:
        """Train to the last step, evaluate, draw."""
        step = int(self.state.step)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.signals.watch())
            self.checkpoints = stack.enter_context(checkpoint.Checkpoints(self.folder))
            self.writer = stack.enter_context(contextlib.closing(Writer(self.workdir, step)))
            rows = read_rows(self.workdir / "metrics.jsonl")
            self.accuracies = accuracies(rows, self.eval_part)
            self.bar = stack.enter_context(progress_bar(self.console, total=self.plan.total_steps, done=step))
            try:
                self._loop(step)
                results, logits = self._finish()
            except Preempted:
                step = int(self.state.step)
                if self.saved != step:
                    self._save()
                raise Preempted(f"stopped at step {step:,}; the same command continues this run") from None
        write_results(results, self.plan.experiment)
        try:
            self._pictures(logits)
        except Exception as error:
            cause = (str(error).strip() or "no message").splitlines()[0]
            self.console.print(f"pictures could not be drawn: {type(error).__name__}: {cause}")
        self._summary(results)
        return results

    @property
    def seconds(self) -> float:
        """Spent in the run, over all its launches."""
        return self.seconds_before + time.perf_counter() - self.started

    def _loop(self, step: int) -> None:
        plan, experiment = self.plan, self.plan.experiment
        batches = data.train_batches(
            plan.dataset.train,
            experiment.data.batch_size,
            seed=experiment.seed,
            start_step=step,
            sharding=plan.batch_sharding,
        )
        pending, compiled = None, None
        with contextlib.closing(batches):
            while True:
                last = step == plan.total_steps
                evaluating = last or self._due(step, experiment.eval_every)
                saving = last or self._due(step, experiment.checkpoint_every)
                stopping = self.signals.received
                if evaluating or saving or stopping:
                    pending = self._take(pending)
                if stopping:
                    raise Preempted
                with self.clock.paused():
                    if evaluating and step not in self.accuracies:
                        self._evaluate_now(step)
                    if saving and self.saved != step:
                        self._save()
                if last:
                    return
                batch = next(batches)
                if compiled is None:
                    compiled = self._compile(batch)
                    self.clock.start()
                self.state, metrics, _ = compiled(self.state, batch, plan.colors)
                step += 1
                # One step late: the device works on this step while the last one's numbers are read.
                self._take(pending)
                pending = (step, metrics, self._learning_rate(step))

    def _due(self, step: int, every: int) -> bool:
        epoch, rest = divmod(step, self.plan.steps_per_epoch)
        return epoch > 0 and rest == 0 and epoch % every == 0

    def _logging(self, step: int) -> bool:
        return step % self.plan.experiment.log_every == 0 or step == self.plan.total_steps

    def _compile(self, batch: dict[str, jax.Array]) -> Callable[..., Any]:
        begun = time.perf_counter()
        compiled = self.plan.programs.train_step.lower(self.state, batch, self.plan.colors).compile()
        self.console.print(f"compiled the training step in {time.perf_counter() - begun:.1f} s")
        return compiled

    def _learning_rate(self, step: int) -> jax.Array | None:
        """Asked for before the next step takes the state's arrays."""
        if not self._logging(step):
            return None
        return optim.current_learning_rate(self.plan.programs.schedule, self.state.hyper, self.state.opt_state)

    def _take(self, pending: tuple[int, dict[str, jax.Array], jax.Array | None] | None) -> None:
        """Read a step's metrics; write a row where one is due."""
        if pending is None:
            return
        step, metrics, learning_rate = pending
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise self._non_finite(f"the {name} of step {step} is {value}")
        self.sums = {name: self.sums.get(name, 0.0) + value for name, value in values.items()}
        self.images += values["n"]
        if not self._logging(step):
            return
        self.checkpoints.check()
        sums, rate = self.sums, self.clock.lap(self.images)
        if step % self.plan.experiment.log_every:
            # The last row, with too few steps of its own for a mean that compares with the other rows.
            sums = {name: value + self.previous_sums.get(name, 0.0) for name, value in sums.items()}
        means = mean_metrics(sums)
        self.previous_sums, self.sums, self.images = self.sums, {}, 0.0
        self._row(step, "train", means | {"learning_rate": float(learning_rate)}, {"images_per_second": rate})
        self.bar.update(self.bar.task_ids[0], completed=step, latest=f"loss {means['loss']:.4f}  {rate:,.0f} images/s")

    def _row(self, step: int, split: str, metrics: dict[str, float], clock: dict[str, float]) -> None:
        epoch = step / self.plan.steps_per_epoch
        clock = {"seconds": self.seconds, **clock}
        self.writer.write({"step": step, "epoch": epoch, "split": split, **metrics, "time": clock})

    def _evaluate(self, part: str) -> tuple[dict[str, float], np.ndarray]:
        split, size = getattr(self.plan.dataset, part), self.plan.experiment.data.eval_batch_size
        batches = data.eval_batches(split, size, sharding=self.plan.batch_sharding)
        try:
            return evaluate(self.plan.programs.eval_step, self.state.variables, batches, poll=self.signals.poll)
        except NonFinite as error:
            raise self._non_finite(
                f"the evaluation on the {part} part after step {self.state.step} failed: {error}"
            ) from None

    def _evaluate_now(self, step: int) -> None:
        self.last = (step, *self._evaluate(self.eval_part))
        metrics = self.last[1]
        self._row(step, self.eval_part, metrics, {})
        epoch = step // self.plan.steps_per_epoch
        shown = f"error {metrics['error']:.2%}, " if "error" in metrics else ""
        self.console.print(f"epoch {epoch}: {self.eval_part} {shown}loss {metrics['loss']:.4f}")
        self.accuracies[step] = metrics["accuracy"]

    def _save(self) -> None:
        step = int(self.state.step)
        if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(self.state.variables)):
            raise self._non_finite(f"a weight is not finite after step {step}")
        carry = {"sums": self.sums, "previous_sums": self.previous_sums, "seconds": self.seconds}
        self.checkpoints.save(self.state, carry=carry, accuracies=self.accuracies)
        self.saved = step

    def _non_finite(self, what: str) -> NonFinite:
        none = self.saved < 0
        where = "no checkpoint was saved" if none else f"the last good checkpoint is step {self.saved} in {self.folder}"
        return NonFinite(
            f"{what}; {where}. Lower optimizer.learning_rate or set optimizer.clip_norm, in a new workdir; labels that "
            "are not 0..classes-1 and images that are not finite give this, too."
        )

    def _finish(self) -> tuple[Results, np.ndarray]:
        """The results of the last step, and the logits of the test images."""
        # The loop has evaluated the last step already, if this launch trained it.
        step, *last = self.last or (None,)
        known = {self.eval_part: last} if step == self.plan.total_steps else {}
        parts = ["test"] + (["validation"] if self.eval_part == "validation" else [])
        found = {part: known.get(part) or self._evaluate(part) for part in parts}
        metrics = {part: values for part, (values, _) in found.items()}
        results = Results(
            metrics["test"], self.plan.total_steps, self.seconds, str(self.workdir), metrics.get("validation")
        )
        return results, found["test"][1]

    def _pictures(self, logits: np.ndarray) -> None:
        from jaxcnn import plots

        test, known = self.plan.dataset.test, self.plan.dataset.class_names
        names = (*known, *map(str, range(len(known), logits.shape[-1])))
        probabilities = np.asarray(jax.nn.softmax(logits))
        plots.learning_curves(read_rows(self.workdir / "metrics.jsonl"), self.workdir / "learning_curves.png")
        plots.confusion_matrix(test.labels, probabilities.argmax(-1), names, self.workdir / "confusion_matrix.png")
        plots.confident_errors(test.images, test.labels, probabilities, names, self.workdir / "confident_errors.png")
        channels = test.images.shape[-1]
        kernels = [x for x in jax.tree.leaves(self.state.params) if x.ndim == 4 and x.shape[2] == channels]
        if kernels:
            order, path = self.plan.experiment.data.channel_order, self.workdir / "first_layer_filters.png"
            plots.first_layer_filters(np.asarray(kernels[0]), path, channel_order=order)

    def _summary(self, results: Results) -> None:
        test = results.test
        wrong = round(test["error"] * test["n"])
        self.console.print(
            f"\ntest error {test['error']:.2%} ({wrong} of {test['n']:,} wrong), accuracy {test['accuracy']:.2%}, "
            f"loss {test['loss']:.4f}; {results.steps:,} steps in {results.seconds:.1f} s"
        )
        for name, what in (
            ("results.json", "the numbers above"),
            ("metrics.jsonl", "a row a logged step; TensorBoard: tensorboard/"),
            ("*.png", "learning curves, confusion matrix, confident errors, first-layer filters"),
            ("checkpoints/", f"the latest two and the best by {self.eval_part} accuracy"),
            ("config.json, provenance.json", "what ran, and on what"),
        ):
            self.console.print(f"  {self.workdir}/{name}: {what}")


class _Clock:
    """Images per second of training, pauses left out."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Leave out all that was before."""
        self._mark, self._paused = time.perf_counter(), 0.0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._paused += time.perf_counter() - begun

    def lap(self, images: float) -> float:
        """Rate since the last lap."""
        now = time.perf_counter()
        rate = images / max(now - self._mark - self._paused, 1e-9)
        self._mark, self._paused = now, 0.0
        return rate
