"""Layer records, of which networks consist, and tracing of networks."""

from jaxcnn.layers.activation import FUNCTIONS, Activation, ActivationName
from jaxcnn.layers.convolution import Conv
from jaxcnn.layers.dense import Dense, RadialBasis
from jaxcnn.layers.dropout import Dropout
from jaxcnn.layers.flatten import Flatten
from jaxcnn.layers.initializers import InitName
from jaxcnn.layers.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    Norm,
    NormName,
    template,
)
from jaxcnn.layers.padded_identity import PaddedIdentity
from jaxcnn.layers.pooling import AdaptiveAveragePool, AveragePool, MaxPool, TrainableSubsampling
from jaxcnn.layers.record import Layer, LayerInfo, Role, Shape, Window
from jaxcnn.layers.residual import Residual
from jaxcnn.layers.rewriting import convolutional
from jaxcnn.layers.scale import Scale
from jaxcnn.layers.trace import TracedLayer, apply, least_size, trace, trace_image

__all__ = [
    "FUNCTIONS",
    "Activation",
    "ActivationName",
    "AdaptiveAveragePool",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "InitName",
    "InstanceNorm",
    "Layer",
    "LayerInfo",
    "LayerNorm",
    "LocalResponseNorm",
    "MaxPool",
    "Norm",
    "NormName",
    "PaddedIdentity",
    "RadialBasis",
    "Residual",
    "Role",
    "Scale",
    "Shape",
    "TracedLayer",
    "TrainableSubsampling",
    "Window",
    "apply",
    "convolutional",
    "least_size",
    "template",
    "trace",
    "trace_image",
]
