"""Normalization: batch, local response, layer, group and instance, each as a pure function and a linen module."""

from jaxcnn.norms.functions import (
    EPSILON,
    LRN_PRESETS,
    MOMENTUM,
    AlphaMode,
    Statistics,
    batch_norm,
    batch_statistics,
    blend_statistics,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    population_statistics,
    unbiased_variance,
    update_running,
)
from jaxcnn.norms.modules import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LocalResponseNorm

__all__ = [
    "EPSILON",
    "LRN_PRESETS",
    "MOMENTUM",
    "AlphaMode",
    "BatchNorm",
    "GroupNorm",
    "InstanceNorm",
    "LayerNorm",
    "LocalResponseNorm",
    "Statistics",
    "batch_norm",
    "batch_statistics",
    "blend_statistics",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "population_statistics",
    "unbiased_variance",
    "update_running",
]
