"""The file failure.json, which says why a run of a sweep has no results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from jaxcnn.runtime.atomic import write_json
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object

Kind = Literal["diverged", "failed"]
"""What can become of a run besides results."""


@dataclass(frozen=True)
class Failure:
    """Why a run has no results: the content of its file failure.json.

    Attributes:
        kind: diverged: a loss, a weight or an evaluation was not finite; failed: an error.
        reason: one line.
        traceback: where an unexpected error was raised.
    """

    kind: Kind
    reason: str
    traceback: str | None = None


def read_failure(workdir: Path) -> Failure | None:
    """Return why a run has no results; None if it did not fail.

    A file that is damaged counts as a failure, which is tried again: this costs a run at most.
    """
    path = workdir / "failure.json"
    if not path.exists():
        return None
    try:
        found = read_object(path, "kind", "reason")
    except InputError as error:
        return Failure("failed", str(error))
    kind, reason = found["kind"], found["reason"]
    if kind not in get_args(Kind) or not isinstance(reason, str):
        return Failure("failed", f"{path} is damaged (its kind is {kind!r}); delete it to continue.")
    return Failure(kind, reason, found.get("traceback"))


def write_failure(workdir: Path, failure: Failure) -> None:
    """Write failure.json into the folder of a run."""
    workdir.mkdir(parents=True, exist_ok=True)
    record = {"kind": failure.kind, "reason": failure.reason}
    write_json(workdir / "failure.json", record | ({"traceback": failure.traceback} if failure.traceback else {}))
