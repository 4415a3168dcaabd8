"""The result of a test for a shift, whichever test it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jaxcnn.evaluation.multiple_tests import holm

ALPHA = 0.05
"""Level of every test: the largest accepted probability of a false alarm."""

Detector = Literal["kolmogorov_smirnov", "mmd", "classifier", "chi_square", "frechet", "diagonal_frechet"]

EFFECTS: Mapping[Detector, str] = {
    "kolmogorov_smirnov": "largest difference of two distribution functions, 0 to 1",
    "mmd": "distance of the mean embeddings, 0 to 1.41",
    "classifier": "area under the ROC curve, 0.5 is chance",
    "chi_square": "Cramér's V, 0 to 1",
    "frechet": "distance / mean distance of random splits, 1 is no shift",
    "diagonal_frechet": "distance / mean distance of random splits, 1 is no shift",
}
"""What the effect size of each detector is."""


@dataclass(frozen=True)
class Detection:
    """The result of one test.

    Attributes:
        detector: name of the test.
        statistic: its statistic, in its own units.
        p: its p-value, already corrected for the features that it compares.
        effect: effect size, as in `EFFECTS`; unlike p it does not fall merely because there are more images.
        source, target: number of images that it compared.
        features: what it compared, such as `pixels` or `penultimate`.
        p_holm: p after Holm's correction over all tests of a report; equal to `p` for a test alone.
        part: the feature, or the class, that differs most; None if the test does not tell.
        examples: rows of the target that resemble the source least, the first the least; only from `classifier`.
    """

    detector: Detector
    statistic: float
    p: float
    effect: float
    source: int
    target: int
    features: str = ""
    p_holm: float | None = None
    part: int | None = None
    examples: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.p_holm is None:
            object.__setattr__(self, "p_holm", self.p)

    @property
    def shifted(self) -> bool:
        """Whether the corrected p-value is at most `ALPHA`."""
        return self.p_holm <= ALPHA


def corrected(detections: Sequence[Detection]) -> tuple[Detection, ...]:
    """Return the results with Holm's correction over all of them, so that the probability of any false alarm among
    them is at most `ALPHA`."""
    adjusted = holm([each.p for each in detections])
    return tuple(replace(each, p_holm=p) for each, p in zip(detections, adjusted, strict=True))
