"""Layers rewritten for images of any size."""

from jaxcnn.layers.record import Layer, Shape


def convolutional(
    layers: tuple[Layer, ...], shape: Shape, maps: Shape | None = None, following: tuple[Layer, ...] = ()
) -> tuple[Layer, ...]:
    """Rewrite the layers as convolutions that slide over larger inputs; see `Layer.convolutional`.

    Args:
        layers: layers in order.
        shape: input shape of the layers in the original network.
        maps: shape (height, width, channels) of the maps behind the input, if it is flat.
        following: layers after these.

    Raises:
        InputError: a layer cannot be rewritten.
    """
    made: list[Layer] = []
    for number, layer in enumerate(layers):
        made += layer.convolutional(shape, maps, (*layers[number + 1 :], *following))
        output = layer.info(shape).output_shape
        if len(output) < len(shape):
            maps = shape
        elif maps is not None and (output != shape or layer.acts_on == "map"):
            maps = (1, 1, *output)
        shape = output
    return tuple(made)
