"""The pictures of runs and sweeps, as PNG files about 1000 pixels wide."""

from jaxcnn.plots.confusions import confusion_matrix
from jaxcnn.plots.curves import learning_curves, learning_curves_of_seeds
from jaxcnn.plots.filters import first_layer_filters
from jaxcnn.plots.galleries import gallery
from jaxcnn.plots.heat_maps import heat_map
from jaxcnn.plots.mistakes import confident_errors
from jaxcnn.plots.power import power_curves
from jaxcnn.plots.sweeps import Arm, learning_curves_of_arms, response_curves, strip_plot

__all__ = [
    "Arm",
    "confident_errors",
    "confusion_matrix",
    "first_layer_filters",
    "gallery",
    "heat_map",
    "learning_curves",
    "learning_curves_of_arms",
    "learning_curves_of_seeds",
    "power_curves",
    "response_curves",
    "strip_plot",
]
