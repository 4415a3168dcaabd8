"""Classic convolutional networks in JAX, to train, to measure and to import.

Orbax, TFDS and matplotlib are imported only when they are used.
"""

from jaxcnn.runtime import ctrl_c  # noqa: F401  First, because the other imports take seconds.

# isort: split
from jaxcnn import models
from jaxcnn.config import Augment, Data, Experiment, Fake, Optimizer, Probes, Schedule, load_config, override
from jaxcnn.evaluation.exact import evaluate_model
from jaxcnn.evaluation.test_time_augmentation import Protocol, make_protocol
from jaxcnn.runs.hooks import Hook
from jaxcnn.runs.launch import train
from jaxcnn.runs.run_evaluation import Evaluation, evaluate_run
from jaxcnn.runs.signals import Preempted
from jaxcnn.runs.workdir import Results, restore
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.xla_flags import set_xla_flags
from jaxcnn.training.non_finite import NonFinite
from jaxcnn.training.optim import make_optimizer
from jaxcnn.training.state import TrainState, create_state
from jaxcnn.training.steps import make_eval_step, make_train_step

__version__ = "0.1.0"

__all__ = [
    "Augment",
    "Data",
    "Evaluation",
    "Experiment",
    "Fake",
    "Hook",
    "InputError",
    "NonFinite",
    "Optimizer",
    "Preempted",
    "Probes",
    "Protocol",
    "Results",
    "Schedule",
    "TrainState",
    "create_state",
    "evaluate_model",
    "evaluate_run",
    "load_config",
    "make_eval_step",
    "make_optimizer",
    "make_protocol",
    "make_train_step",
    "models",
    "override",
    "restore",
    "set_xla_flags",
    "train",
]
