"""Training objectives as frozen records, and their loss functions."""

from jaxcnn.objectives.classification import (
    Classification,
    CrossEntropy,
    MaximumAPosteriori,
    MeanSquaredError,
    cross_entropy,
    maximum_a_posteriori,
    mean_squared_error,
)
from jaxcnn.objectives.objective import OWN, Apply, Batch, Need, Objective, Sums, mean_metrics, network_params, trained

__all__ = [
    "OWN",
    "Apply",
    "Batch",
    "Classification",
    "CrossEntropy",
    "MaximumAPosteriori",
    "MeanSquaredError",
    "Need",
    "Objective",
    "Sums",
    "cross_entropy",
    "maximum_a_posteriori",
    "mean_metrics",
    "mean_squared_error",
    "network_params",
    "trained",
]
