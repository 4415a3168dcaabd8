"""The hook that reports metrics: rows in metrics.jsonl, TensorBoard events, a progress bar, a line per evaluation."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcnn.objectives import mean_metrics
from jaxcnn.runs.hooks import Hook, Run
from jaxcnn.runs.metrics import Writer, progress_bar
from jaxcnn.training.steps import Readings


class Rows(Hook):
    """Averages the metrics of the steps between two rows. Sums of an incomplete row are kept when the run resumes.

    Use it as a context manager, which opens and closes the files.
    """

    def __init__(self, run: Run, on_row: Callable[[dict[str, Any]], None] | None = None) -> None:
        step = int(run.state.step)
        self._writer, self._on_row = Writer(run.workdir, step, tensorboard=run.keep == "all"), on_row
        self._bar = progress_bar(run.console, total=run.plan.total_steps, done=step)
        self._images = 0.0  # Images since the last row, in this launch only, as is its clock.

    def __enter__(self) -> "Rows":
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()
        self._writer.close()

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Readings | None) -> None:
        earlier = run.loop_state.get("sums", {})
        total = {name: earlier.get(name, 0.0) + value for name, value in sums.items()}
        run.loop_state["sums"], self._images = total, self._images + sums["n"]
        incomplete = step % run.plan.experiment.log_every
        if incomplete and step != run.plan.total_steps:
            return
        rate = run.clock.lap(self._images)
        previous = run.loop_state.get("previous_sums", {})
        run.loop_state["sums"], run.loop_state["previous_sums"], self._images = {}, total, 0.0
        if incomplete:
            # The last row has fewer steps than the others; its mean includes the steps of the previous row.
            total = {name: value + previous.get(name, 0.0) for name, value in total.items()}
        means = mean_metrics(total)
        self._row(run, step, "train", means | {"learning_rate": run.learning_rate}, {"images_per_second": rate})
        self._bar.update(
            self._bar.task_ids[0], completed=step, latest=f"loss {means['loss']:.4f}  {rate:,.0f} images/s"
        )

    def on_evaluation(self, run: Run, step: int, part: str, metrics: dict[str, float], logits: np.ndarray) -> None:
        self._row(run, step, part, metrics, {})
        run.console.print(f"epoch {step // run.plan.steps_per_epoch}: {part} {headline(metrics)}")

    def _row(self, run: Run, step: int, split: str, metrics: dict[str, float], clock: dict[str, float]) -> None:
        epoch = step / run.plan.steps_per_epoch
        time = {"seconds": run.clock.seconds, **clock}
        row = {"step": step, "epoch": epoch, "split": split, **metrics, "time": time}
        self._writer.write(row)
        if self._on_row is not None:
            self._on_row(row)


def headline(metrics: dict[str, float]) -> str:
    """Return a text such as `error 1.25%, loss 0.0431`; without the error if the objective has none."""
    error = f"error {metrics['error']:.2%}, " if "error" in metrics else ""
    return f"{error}loss {metrics['loss']:.4f}"
