"""Shift between the images a network was trained on and those it meets.

images = shift.corrupt("gaussian_noise", images, severity=5, key=jax.random.key(0))
"""

from jaxcnn.shift.corruptions import CORRUPTIONS, FAMILIES, HOST, corrupt

__all__ = ["CORRUPTIONS", "FAMILIES", "HOST", "corrupt"]
