"""The hook that saves checkpoints."""

import shutil
from typing import Any

import numpy as np

from jaxcnn.runs.checkpoint import Checkpoints, steps
from jaxcnn.runs.hooks import Hook, Run
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
        folder = run.workdir / "checkpoints"
        if run.keep == "results":
            shutil.rmtree(folder)
        elif run.keep == "last":
            for step in set(steps(folder)) - {results.steps}:
                shutil.rmtree(folder / str(step))
