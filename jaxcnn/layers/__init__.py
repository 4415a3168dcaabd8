"""Layer records: what a network is made of, and what each layer says of itself."""

from jaxcnn.layers.activation import Activation, ActivationName
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
    normalization,
)
from jaxcnn.layers.pooling import AdaptiveAveragePool, AveragePool, MaxPool, TrainableSubsampling
from jaxcnn.layers.record import Facts, Layer, Shape
from jaxcnn.layers.trace import Row, apply, least_size, trace, trace_image

__all__ = [
    "Activation",
    "ActivationName",
    "AdaptiveAveragePool",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Facts",
    "Flatten",
    "GroupNorm",
    "InitName",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LocalResponseNorm",
    "MaxPool",
    "Norm",
    "NormName",
    "RadialBasis",
    "Row",
    "Shape",
    "TrainableSubsampling",
    "apply",
    "least_size",
    "normalization",
    "trace",
    "trace_image",
]
