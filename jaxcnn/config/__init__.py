"""Experiments and their parts: fields, JSON, config files."""

from jaxcnn.config.code import code_of
from jaxcnn.config.loading import load_config, override
from jaxcnn.config.schema import Augment, Data, Experiment, Fake, Instrument, Optimizer, Probes, Schedule
from jaxcnn.config.serialization import differences, flatten, from_json, run_id, to_json

__all__ = [
    "Augment",
    "Data",
    "Experiment",
    "Fake",
    "Instrument",
    "Optimizer",
    "Probes",
    "Schedule",
    "code_of",
    "differences",
    "flatten",
    "from_json",
    "load_config",
    "override",
    "run_id",
    "to_json",
]
