"""Selection of a checkpoint of a run by `last`, `best` or a step, and its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jaxcnn.config import Data, from_json
from jaxcnn.objectives import OWN, network_params
from jaxcnn.runs import checkpoint as checkpoints
from jaxcnn.runs.metrics import accuracies, read_rows
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object

Choice = int | Literal["last", "best"]
"""A choice of a run's checkpoint: `last`, the newest; `best`, the one with the highest accuracy on the validation
split, or on the test split if the run has no validation split (among equal accuracies, the newest); or a step."""


@dataclass(frozen=True)
class Selection:
    """The weights of one checkpoint.

    Attributes:
        step: number of updates done.
        variables: `params` and `batch_stats` of the network, NumPy arrays.
        selected_by: validation or test, the split on which the best checkpoint has the highest accuracy; None for a
            choice other than `best`.
        objective: the objective's own parameters, or None.
        damaged: steps of newer checkpoints that cannot be read.
    """

    step: int
    variables: dict[str, Any]
    selected_by: Literal["validation", "test"] | None = None
    objective: Any = None
    damaged: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.damaged:
            return f"step {self.step}; newer checkpoints are damaged: {', '.join(map(str, self.damaged))}"
        if self.selected_by is None:
            return f"step {self.step}"
        biased = ", so its test error is biased low: the run has no validation split"
        return f"step {self.step}, the best by {self.selected_by} accuracy{biased * (self.selected_by == 'test')}"


def select(run: str | Path, checkpoint: Choice = "last") -> Selection:
    """Return the weights of a checkpoint of a run.

    If a run in progress deletes the checkpoint while it is read, the selection is repeated.

    Raises:
        InputError: there is no such checkpoint, or it is damaged.
        RestoreError: it could not be read, and nothing shows that it is damaged.
    """
    folder, damaged = Path(run).absolute() / "checkpoints", []
    step, variables = checkpoints.restore_variables(folder, order(run, checkpoint), damaged.append)
    params, selected_by = variables["params"], evaluated_part(_saved_data(run)) if checkpoint == "best" else None
    network = variables | {"params": network_params(params)}
    return Selection(step, network, selected_by, params.get(OWN), tuple(damaged))


def order(run: str | Path, checkpoint: Choice) -> checkpoints.Order:
    """Return a function from the saved steps to the steps to try, in order. It raises InputError if the choice does not
    exist.

    Raises:
        InputError: the choice is not `last`, `best` or a step.
    """
    if isinstance(checkpoint, bool) or not (isinstance(checkpoint, int) or checkpoint in ("last", "best")):
        raise InputError(f"checkpoint is {checkpoint!r}; it must be last, best or the step of a checkpoint.")
    if checkpoint == "last":
        return reversed

    def chosen(saved: list[int]) -> list[int]:
        step: int | None = checkpoint
        if checkpoint == "best":
            rows = read_rows(Path(run) / "metrics.jsonl")
            step = checkpoints.best(accuracies(rows, evaluated_part(_saved_data(run))), saved)
        if step in saved:
            return [step]
        what = "evaluated checkpoint" if checkpoint == "best" else f"checkpoint of step {step}"
        there = ", ".join(map(str, saved)) or "none"
        raise InputError(f"{run} has no {what}; available steps: {there}.")

    return chosen


def evaluated_part(data: Data) -> Literal["validation", "test"]:
    """Return the split on which a run is evaluated during training."""
    return "validation" if data.validation else "test"


def _saved_data(run: str | Path) -> Data:
    """Return the data settings of a run, without loading its classes."""
    path = Path(run) / "config.json"
    if not path.is_file():
        raise InputError(f"{run} is not a run folder: it has no config.json. Give the workdir of a run.")
    return from_json(read_object(path, "data")["data"], Data)
