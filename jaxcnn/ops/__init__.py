"""Operations in the formulation that their platform runs fastest."""

from jaxcnn.ops.choice import Choice, choose
from jaxcnn.ops.conv import conv
from jaxcnn.ops.pool import max_pool

__all__ = ["Choice", "choose", "conv", "max_pool"]
