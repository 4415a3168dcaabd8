"""The hook that saves checkpoints."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.runs.checkpoint import Checkpoints, steps
from jaxcnn.runs.hooks import Hook, Keep, Run
from jaxcnn.runs.workdir import Results
from jaxcnn.training.steps import Readings


class Saves(Hook):
    """Saves the state under `checkpoints/`. Use it as a context manager, which waits for the last write.

    At the end it removes the checkpoints that the run does not keep.
    """

    def __init__(self, run: Run) -> None:
        folder = run.workdir / "checkpoints"
        step = int(run.state.step)
        run.saved = step if step in steps(folder) else -1
        self._checkpoints = Checkpoints(folder)

    def __enter__(self) -> "Saves":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._checkpoints.__exit__(*exception)

    def on_step(self, run: Run, step: int, sums: dict[str, float], readings: Readings | None) -> None:
        """Raise SaveError before the next row if a background write has failed."""
        if step % run.plan.experiment.log_every == 0:
            self._checkpoints.check()

    def wait(self) -> None:
        """Wait for the last write; raise SaveError if it has failed."""
        self._checkpoints.wait()

    def on_checkpoint(self, run: Run, step: int) -> None:
        loop_state = run.loop_state | {"seconds": run.clock.seconds}
        self._checkpoints.save(run.state, loop_state=loop_state, accuracies=run.accuracies)
        run.saved = step

    def on_end(self, run: Run, results: Results, logits: np.ndarray) -> None:
        tidy(run.workdir, run.keep, results.steps)


def tidy(workdir: Path, keep: Keep, last: int) -> None:
    """Remove the checkpoints that a finished run does not keep.

    Args:
        workdir: folder of the run.
        keep: what it keeps, as in `jaxcnn.train`.
        last: its last step.
    """
    folder = workdir / "checkpoints"
    if keep == "results":
        shutil.rmtree(folder, ignore_errors=not folder.exists())
    elif keep == "last":
        for step in set(steps(folder)) - {last}:
            shutil.rmtree(folder / str(step))
