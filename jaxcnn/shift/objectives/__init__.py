"""Objectives for covariate shift: each is a frozen record for `Experiment.objective`."""

from jaxcnn.shift.objectives.augmix import AugMix, jensen_shannon
from jaxcnn.shift.objectives.coral import DeepCoral, coral_distance
from jaxcnn.shift.objectives.corruption_augmentation import CorruptionAugmentation
from jaxcnn.shift.objectives.dann import DANN, reverse_gradient
from jaxcnn.shift.objectives.linear_probe import LinearProbe
from jaxcnn.shift.objectives.self_training import RobustPseudoLabels, SelfTraining, generalized_cross_entropy

__all__ = [
    "DANN",
    "AugMix",
    "CorruptionAugmentation",
    "DeepCoral",
    "LinearProbe",
    "RobustPseudoLabels",
    "SelfTraining",
    "coral_distance",
    "generalized_cross_entropy",
    "jensen_shannon",
    "reverse_gradient",
]
