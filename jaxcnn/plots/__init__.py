"""The pictures that a finished run saves in its folder, as PNG files about 1000 pixels wide."""

from jaxcnn.plots.confusions import confusion_matrix
from jaxcnn.plots.curves import learning_curves, learning_curves_of_seeds
from jaxcnn.plots.filters import first_layer_filters
from jaxcnn.plots.mistakes import confident_errors

__all__ = [
    "confident_errors",
    "confusion_matrix",
    "first_layer_filters",
    "learning_curves",
    "learning_curves_of_seeds",
]
