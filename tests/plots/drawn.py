"""A record of the elements drawn on a picture."""

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

# Class names.
SHORT = [str(i) for i in range(100)]
LONG = [f"great-crested woodpecker{i:02d}"[-25:] for i in range(100)]
WIDE = ["M" * 25] * 100


class Drawn:
    """The last figure drawn, and all its texts with their boxes in pixels."""

    def __init__(self):
        self.figure, self.texts = None, []

    @property
    def words(self):
        return [text for text, _ in self.texts]

    @property
    def panels(self):
        return self.figure.axes[1:]

    def check_layout(self, path):
        """Check that the file shows the figure, and that texts are on the page and overlap no text or image."""
        shown = pixels(path)
        height, width = shown.shape[:2]
        assert 150 <= width <= 1000 and 100 <= height <= 1650
        assert (width, height) == self.figure.canvas.get_width_height()
        assert shown.min() < 100 and (shown[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
        assert self.texts
        for text, box in self.texts:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
        for (a, one), (b, two) in itertools.combinations(self.texts, 2):
            across = min(one.x1, two.x1) - max(one.x0, two.x0)
            along = min(one.y1, two.y1) - max(one.y0, two.y0)
            assert across <= 0.5 or along <= 0.5, (a, b)
        for image in self.figure.axes[0].images:
            frame = image.get_window_extent()
            assert not any(frame.overlaps(box) for _, box in self.texts)

    def box(self, word):
        (box,) = [box for text, box in self.texts if text == word]
        return box


def watch(monkeypatch):
    record = Drawn()
    print_png, draw = FigureCanvasAgg.print_png, Text.draw

    def keep(canvas, *args, **kwargs):
        record.figure, record.texts = canvas.figure, []
        return print_png(canvas, *args, **kwargs)

    def measure(text, renderer):
        if text.get_visible() and text.get_text():
            record.texts.append((text.get_text(), text.get_window_extent(renderer)))
        return draw(text, renderer)

    monkeypatch.setattr(FigureCanvasAgg, "print_png", keep)
    monkeypatch.setattr(Text, "draw", measure)
    return record


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def lightness(rgb):
    return np.asarray(rgb) @ (0.299, 0.587, 0.114)
