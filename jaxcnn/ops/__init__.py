"""Operations in the formulation that their platform runs fastest."""

from jaxcnn.ops.conv import conv

__all__ = ["conv"]
