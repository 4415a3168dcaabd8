"""Which checkpoint of a run is meant by `last`, `best` or a step, and its weights."""

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
"""A checkpoint of a run: `last`, the newest; `best`, the one with the highest accuracy on the validation part, or on
the test part if the run set no validation part aside (among equal accuracies, the newest); or that of a step."""


@dataclass(frozen=True)
class Selection:
    """The weights of one checkpoint.

    Attributes:
        step: updates done.
        variables: `params` and `batch_stats` of the network, NumPy arrays.
        selected_by: validation or test, the part of the data whose accuracy chose the best checkpoint; None where the
            choice was another.
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
        biased = ", so its test error is biased low: the run set no validation part aside"
        return f"step {self.step}, the best by {self.selected_by} accuracy{biased * (self.selected_by == 'test')}"


def select(run: str | Path, checkpoint: Choice = "last") -> Selection:
    """The weights of a checkpoint of a run.

    Where the run trains and removes the checkpoint while it is read, the choice is made again.

    Raises:
        InputError: there is no such checkpoint, or it cannot be read.
    """
    folder, damaged = Path(run).absolute() / "checkpoints", []
    step, variables = checkpoints.restore_variables(folder, order(run, checkpoint), damaged.append)
    params, selected_by = variables["params"], evaluated_part(_saved_data(run)) if checkpoint == "best" else None
    network = variables | {"params": network_params(params)}
    return Selection(step, network, selected_by, params.get(OWN), tuple(damaged))


def order(run: str | Path, checkpoint: Choice) -> checkpoints.Order:
    """The steps that a choice allows.

    Raises:
        InputError: it is none of `last`, `best` and a step; or, from the function, there is no such checkpoint.
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
        raise InputError(f"{run} has no {what}; the steps of its checkpoints: {there}.")

    return chosen


def evaluated_part(data: Data) -> Literal["validation", "test"]:
    """The part of the data on which a run is evaluated while it trains."""
    return "validation" if data.validation else "test"


def _saved_data(run: str | Path) -> Data:
    """The settings of a run's data, read without its classes."""
    path = Path(run) / "config.json"
    if not path.is_file():
        raise InputError(f"{run} holds no run: it has no config.json. Give the workdir of a launch.")
    return from_json(read_object(path, "data")["data"], Data)
