"""The corruptions by name."""

from jaxcnn.corruptions import blur, colour, digital, geometry, lines, noise, weather

_FAMILIES = {
    "noise": (noise.gaussian_noise, noise.shot_noise, noise.impulse_noise, noise.speckle_noise),
    "blur": (blur.gaussian_blur, blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur),
    "weather": (weather.fog, weather.snow, weather.spatter),
    "colour": (colour.brightness, colour.contrast, colour.saturate, colour.inverse, colour.quantize),
    "geometry": (
        geometry.elastic_transform,
        geometry.shear,
        geometry.scale,
        geometry.rotate,
        geometry.translate,
    ),
    "lines": (lines.stripe, lines.dotted_line, lines.zigzag),
    "digital": (digital.pixelate, digital.jpeg_compression, digital.canny_edges),
}

CORRUPTIONS = {each.__name__: each for family in _FAMILIES.values() for each in family}
"""Functions by name. On the device: of one image, its severity and its key; on the host: see `HOST`. Each docstring
names the constants of the severities and their source."""

FAMILIES = {family: tuple(each.__name__ for each in members) for family, members in _FAMILIES.items()}
"""Names of corruptions by kind."""

HOST = ("jpeg_compression", "canny_edges")
"""Names of those that run on the host, on NumPy arrays of images and severities; they cannot be traced."""
