"""How the values of a metric are written, and which of them are good."""

from dataclasses import dataclass

from jaxcnn.sweep.comparisons import Interval


@dataclass(frozen=True)
class Unit:
    """How the values of a metric are written.

    Attributes:
        name: the metric in words, `test error`.
        heading: the name with its unit, `test error, %`.
        points: unit of a difference, after a comma.
        factor: what values are multiplied by, 100 for percent.
        form: format of a number.
        lower_is_better: whether small values are good.
    """

    name: str
    heading: str
    points: str
    factor: float
    form: str
    lower_is_better: bool

    @staticmethod
    def of(metric: str) -> "Unit":
        """Return the unit of a metric: percent for errors and accuracies, and lower is better except for accuracies."""
        name, last = metric.replace(".", " ").replace("_", " "), metric.rpartition(".")[2]
        accurate = "accuracy" in last
        if accurate or "error" in last:
            return Unit(name, f"{name}, %", ", percentage points", 100, ".2f", not accurate)
        form = {"seconds": ",.1f", "steps": ",.0f"}.get(last, ".4g")
        return Unit(name, name, "", 1, form, True)

    def text(self, value: float | None, *, sign: bool = False) -> str:
        """Return a value with the decimals of the metric, with a plus sign if asked for; a dash for None."""
        form = f"{'+' * sign}{self.form}"
        return "-" if value is None else f"{self.factor * value:{form}}".replace("-", "−")

    def range(self, ends: Interval | None, *, sign: bool = False) -> str:
        """Return an interval as in `1.08 to 1.32`; a dash for None."""
        return "-" if ends is None else " to ".join(self.text(end, sign=sign) for end in ends)


def p_text(p: float | None) -> str:
    """Return a p-value with three decimals; a dash for None."""
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
