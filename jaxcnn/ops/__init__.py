"""Operations in the formulation that is fastest on their platform."""

from jaxcnn.ops.choice import Choice, Platform, choose, target
from jaxcnn.ops.conv import conv
from jaxcnn.ops.pool import max_pool

__all__ = ["Choice", "Platform", "choose", "conv", "max_pool", "target"]
