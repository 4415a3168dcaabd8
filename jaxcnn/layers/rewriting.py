"""Layers rewritten for images of any size."""

from jaxcnn.layers.record import Layer, Shape


def convolutional(
    layers: tuple[Layer, ...], shape: Shape, maps: Shape | None = None, following: tuple[Layer, ...] = ()
) -> tuple[Layer, ...]:
    """The layers as convolutions, so that they slide over larger inputs; see `Layer.convolutional`.

    Args:
        layers: in order.
        shape: of their input in the original network.
        maps: what the input stands for, (height, width, channels), if it is flat.
        following: the layers that come later.

    Raises:
        InputError: a layer has no such form.
    """
    made: list[Layer] = []
    for number, layer in enumerate(layers):
        made += layer.convolutional(shape, maps, (*layers[number + 1 :], *following))
        output = layer.info(shape).output_shape
        if len(output) < len(shape):
            maps = shape
        elif maps is not None and output != shape:
            maps = (1, 1, *output)
        shape = output
    return tuple(made)
