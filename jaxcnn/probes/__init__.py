"""Instruments that read a network while it learns: gradients, saturation, covariate shift, curvature, time lags.

Each is a pure function of a loss and parameters, needs no change of the network, and can be jitted:

    readings = jaxcnn.probes.probe(model, variables, batch)
    readings["conv1"]["gradients"]["std"]

    loss = jaxcnn.probes.network_loss(model, variables, batch)
    jaxcnn.probes.internal_covariate_shift(loss, variables["params"], updates)
"""

from jaxcnn.probes.covariate_shift import input_drift, internal_covariate_shift
from jaxcnn.probes.distribution import EDGES
from jaxcnn.probes.history import History, read_history, write_history
from jaxcnn.probes.instruments import Instruments
from jaxcnn.probes.landscape import gradient_step, hessian_eigenvalue, loss_along_step
from jaxcnn.probes.layer_readings import Readings, dead, first_to_last, probe
from jaxcnn.probes.losses import network_loss
from jaxcnn.probes.penultimate import with_features
from jaxcnn.probes.recurrence import through_time

__all__ = [
    "EDGES",
    "History",
    "Instruments",
    "Readings",
    "dead",
    "first_to_last",
    "gradient_step",
    "hessian_eigenvalue",
    "input_drift",
    "internal_covariate_shift",
    "loss_along_step",
    "network_loss",
    "probe",
    "read_history",
    "through_time",
    "with_features",
    "write_history",
]
