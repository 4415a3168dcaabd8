"""Shift between the images a network was trained on and those it meets.

images = shift.corrupt("gaussian_noise", images, severity=5, key=jax.random.key(0))
target = shift.read_target("CIFAR-10-C/fog.npy:3")
"""

from jaxcnn.shift.corruptions import CORRUPTIONS, FAMILIES, HOST, corrupt
from jaxcnn.shift.gallery import draw_gallery
from jaxcnn.shift.targets import Target, read_target

__all__ = ["CORRUPTIONS", "FAMILIES", "HOST", "Target", "corrupt", "draw_gallery", "read_target"]
