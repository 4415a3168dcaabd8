"""A statement, the experiment that decides it, and the verdict.

To add a claim, write `jaxcnn/claims/NAME.py` and add NAME to `catalogue.NAMES`. The file has three functions and
`CLAIM = Claim(...)`; `batch_norm_rates.py` is a short example:

- `measure(study)` builds experiments, chooses their learning rates with `study.tune` (multiples of each experiment's
  own rate), trains them with every seed by `study.repeat`, and returns numbers without any judgement: dicts with string
  keys, lists, and None for what does not exist, such as the loss of a diverged run. Sizes are chosen by
  `study.choose(tiny=..., small=..., full=...)`: `tiny` for tests, `small` for two CPU cores (at most 25 minutes with
  everything), `full` as in the paper. Images come from `study.images`.
- `decide(measurements)` follows the rule and computes everything that it says, conditions included, from the numbers.
  It is pure, and it gets the measurements as read from JSON. Intervals are in `estimates.py`.
- `draw(measurements, path)` draws one picture, which answers the question in five seconds (`picture.py`).

The rule is written and committed before the first run whose result it judges. Then `python -m jaxcnn claims NAME` runs
the claim and writes its record, and a test repeats `decide` on every record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxcnn.claims.study import Study

Measurements = dict[str, Any]
"""Numbers by name, in JSON types."""


@dataclass(frozen=True)
class Verdict:
    """The answer to a claim.

    Attributes:
        verdict: "holds", "does not hold" or "holds if ...", with the condition.
        effect: size of the effect, in the unit that `Claim.effect` names; None if it has no value, for example because
            no run of an arm reached the accuracy in question.
        interval: 95 % interval of the effect; an end is None if it does not exist.
        conditions: whole sentences with the numbers behind the verdict, and under which conditions they were found.
    """

    verdict: str
    effect: float | None
    interval: tuple[float | None, float | None]
    conditions: str

    def __post_init__(self) -> None:
        if self.verdict not in ("holds", "does not hold") and not self.verdict.startswith("holds if "):
            raise ValueError(f"verdict is {self.verdict!r}; it must be holds, does not hold, or holds if ...")


@dataclass(frozen=True)
class Claim:
    """A statement with its experiment.

    Attributes:
        name: name on the command line, and of the file.
        statement: the statement, as teaching notes make it.
        source: where it comes from.
        rule: how the verdict follows from the measurements, written down before the first run.
        effect: what the effect is and its unit, such as "test error without minus with batch normalization, points".
        data: names of the TFDS data sets that it needs.
        seeds: number of seeds unless the user gives another; 5 or more, 3 or more for networks of more than 10 layers.
        measure: trains and returns the measurements.
        decide: returns the verdict that follows from the measurements by the rule.
        draw: draws the picture of the measurements to a file.
    """

    name: str
    statement: str
    source: str
    rule: str
    effect: str
    data: tuple[str, ...]
    seeds: int
    measure: Callable[[Study], Measurements]
    decide: Callable[[Measurements], Verdict]
    draw: Callable[[Measurements, Path], Path]
