import functools
import itertools
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from flax import linen as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from PIL import Image, ImageFont

from jaxcnn import layers as ly
from jaxcnn.describe.diagram import draw
from jaxcnn.describe.diagram.palette import DAY, NIGHT
from jaxcnn.layers import trace
from jaxcnn.models import VGG, ZOO, AlexNet, ConvNet, LeNet5, PlainNet
from jaxcnn.runtime.errors import InputError

LENET_1998 = LeNet5(variant="1998")
BIG, SMALL = (224, 224, 3), (32, 32, 3)
TIMES = "\N{MULTIPLICATION SIGN}"
CASES = {
    **{name: (entry.model, entry.shape) for name, entry in ZOO.items()},
    "lenet5 oblong": (LeNet5(pooling="max", norm="local_response", num_classes=100), (32, 48, 3)),
    "vgg_d cifar": (VGG("D", norm="batch", head="cifar", num_classes=10), SMALL),
    "vgg_e cifar, wide": (VGG("E", head="imagenet", width=4.0), SMALL),
    "vgg_a gap, narrow": (VGG("A", norm="batch", norm_place="post_pool", head="gap", width=0.25), SMALL),
    "vgg_b torchvision, narrow": (VGG("B", norm="group", head="torchvision", width=0.125), (224, 300, 3)),
    "alexnet cifar": (AlexNet(stem="cifar_32", head="cifar", num_classes=10), SMALL),
    "alexnet ungrouped": (AlexNet(groups=1), BIG),
    "alexnet 4 groups": (AlexNet(groups=4, norm="batch"), BIG),
    "alexnet 32 groups": (AlexNet(groups=32, pooling="plain"), BIG),
}


class Stack(ConvNet):
    """A network of any layers."""

    parts: tuple[ly.Layer, ...] = ()

    @nn.nowrap
    def layers(self):
        return self.parts


@dataclass(frozen=True)
class Words:
    text: str
    size: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawing:
    """An SVG that was read back."""

    height: float
    words: tuple[Words, ...]
    shapes: tuple[tuple[str, np.ndarray], ...]

    def of(self, style):
        return [points for name, points in self.shapes if name == style]

    @property
    def texts(self):
        return [words.text for words in self.words]


@functools.cache
def font(bold):
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), 200)


def measured(element):
    """Return a text with its box, measured by another renderer of the same font."""
    x, y, size = (float(element.get(key)) for key in ("x", "y", "font-size"))
    box = font(element.get("font-weight") == "bold").getbbox(element.text, anchor="ls")
    left, top, right, bottom = (size * value / 200 for value in box)
    x -= {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor")] * right
    return Words(element.text, size, (x + left, y + top, x + right, y + bottom))


def read(path):
    root = ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    shapes = tuple(
        (element.get("class"), np.array([pair.split(",") for pair in element.get("points").split()], float))
        for element in root
        if element.tag in (space + "polygon", space + "polyline")
    )
    words = tuple(measured(element) for element in root.iter(space + "text"))
    assert root.get("viewBox") == f"0 0 1000 {root.get('height')}"
    return Drawing(float(root.get("height")), words, shapes)


def drawn(model, shape):
    with tempfile.TemporaryDirectory() as folder:
        return read(draw(model, shape, Path(folder, "a.svg")))


@functools.cache
def drawing(name):
    return drawn(*CASES[name])


def shown(name):
    """Return the name and shape of the input and of each layer that computes maps or units."""
    model, shape = CASES[name]
    makers = (ly.Conv, ly.MaxPool, ly.AveragePool, ly.TrainableSubsampling, ly.AdaptiveAveragePool)
    rows = [row for row in trace(model.layers(), shape) if isinstance(row.layer, (*makers, ly.Dense, ly.RadialBasis))]
    return [("input", shape), *((row.layer.name, row.info.output_shape) for row in rows)]


def fronts(name):
    """Return for each drawn block the height and the depth without strips of a tower, and the number of towers."""
    kinds = {f"{kind}-front" for kind in ("input", "conv", "pool", "dense", "basis")}
    towers = []
    for style, points in drawing(name).shapes:
        width, height = np.ptp(points, axis=0)
        if style in kinds:
            towers.append([points[:, 0].min(), height, width])
        elif style.endswith("-front"):
            towers[-1][2] -= width
    blocks = [list(block) for _, block in itertools.groupby(towers, key=lambda tower: tower[0])]
    names = [name for name, _ in shown(name)]
    return {name: (block[0][1], block[0][2], len(block)) for name, block in zip(names, blocks, strict=False)}


def assert_readable(drawing):
    for words in drawing.words:
        left, top, right, bottom = words.box
        assert left >= 4 and top >= 4 and right <= 996 and bottom <= drawing.height - 4, words
    for a, b in itertools.combinations(drawing.words, 2):
        apart = a.box[2] + 2 < b.box[0] or b.box[2] + 2 < a.box[0] or a.box[3] < b.box[1] or b.box[3] < a.box[1]
        assert apart, (a, b)
    for style, points in drawing.shapes:
        margin = 0 if style == "page" else 4
        assert points.min() >= margin and (points.max(axis=0) <= (1000 - margin, drawing.height - margin)).all(), style


def assert_follows(sizes, lengths):
    """Check that larger numbers are drawn longer, and equal ones equally long; the SVG has tenths of a unit."""
    for (a, x), (b, y) in itertools.combinations(zip(sizes, lengths, strict=True), 2):
        if a == b:
            assert abs(x - y) < 0.6
        else:
            assert (x - y) * (a - b) > 0


@pytest.mark.parametrize("name", CASES)
def test_words_do_not_overlap_and_nothing_leaves_the_page(name):
    assert_readable(drawing(name))


@pytest.mark.parametrize("name", CASES)
def test_words_are_8_pixels_in_a_column_of_830(name):
    assert min(words.size for words in drawing(name).words) * 830 / 1000 >= 8


@pytest.mark.parametrize("name", CASES)
def test_every_block_is_named_once_with_its_shape(name):
    texts = drawing(name).texts
    for layer, shape in shown(name):
        # The legend has an entry for the input as well.
        assert texts.count(layer) == 1 + (layer == "input")
        assert TIMES.join(map(str, shape)) in texts


@pytest.mark.parametrize("name", CASES)
def test_sizes_of_blocks_follow_their_shapes(name):
    blocks = fronts(name)
    maps = [(*shape, *blocks[layer]) for layer, shape in shown(name) if len(shape) == 3]
    bars = [(*shape, *blocks[layer]) for layer, shape in shown(name) if len(shape) == 1]
    assert_follows([m[0] for m in maps], [m[3] for m in maps])
    assert_follows([m[2] for m in maps], [m[4] * m[5] for m in maps])
    assert_follows([b[0] for b in bars], [b[1] for b in bars])


def test_width_recedes_as_height_does():
    (side,) = drawing("lenet5 oblong").of("input-side")[:1]
    near, far, _, low = side
    assert far[0] - near[0] == pytest.approx(near[1] - far[1])
    square = drawing("lenet5").of("input-side")[0]
    stretch = (far[0] - near[0]) / (low[1] - near[1])
    assert stretch == pytest.approx(np.sqrt(48 / 32) * np.ptp(square[:2, 0]) / (square[3, 1] - square[0, 1]), rel=0.01)


@pytest.mark.parametrize(("name", "towers", "beams"), [("alexnet", 2, 12), ("alexnet 4 groups", 4, 32)])
def test_groups_are_towers_that_meet_at_conv3_alone(name, towers, beams):
    split = {layer: count for layer, (_, _, count) in fronts(name).items() if count > 1}
    maps = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
    assert split == dict.fromkeys(maps, towers)
    # All towers read the input, conv2, conv4 and conv5 their own tower, conv3 every one.
    assert len(drawing(name).of("conv-beam")) == beams == 4 * towers + towers**2
    assert len(drawing(name).of("pool-beam")) == 3 * towers
    assert sum(f", {towers} groups" in text for text in drawing(name).texts) == 3


@pytest.mark.parametrize("name", ["alexnet ungrouped", "alexnet 32 groups", "vgg_d", "lenet5_1998"])
def test_other_networks_have_one_tower(name):
    assert {count for _, _, count in fronts(name).values()} == {1}
    convolutions = sum(isinstance(layer, ly.Conv) for layer in CASES[name][0].layers())
    assert len(drawing(name).of("conv-beam")) == convolutions


def test_beams_end_in_the_spot_they_compute():
    seen = drawing("alexnet")
    apexes = {tuple(ray[1]) for ray in seen.of("conv-ray")}
    for x, y in apexes:
        assert any(s[:, 0].min() == x and s[:, 1].min() < y < s[:, 1].max() for s in seen.of("conv-spot"))
    assert len(apexes) == len(seen.of("conv-spot")) == 10


def test_long_networks_are_continued_in_a_second_row():
    for name in ("vgg_a", "vgg_d", "vgg_e_bn"):
        seen = drawing(name)
        assert len(seen.of("path")) == 1 and len(seen.of("ghost")) == 3
        rows = {words.box[3] for words in seen.words if words.text.startswith(("conv", "pool")) and words.size == 12}
        assert max(rows) - min(rows) > 100
    assert not drawing("alexnet").of("path") and not drawing("lenet5").of("ghost")


def test_stages_share_one_bracket():
    assert len(drawing("vgg_d").of("rule")) == 5
    assert len(drawing("vgg_a").of("rule")) == 3
    assert drawing("vgg_d").texts.count(TIMES.join(["28", "28", "512"])) == 1
    assert not drawing("lenet5").of("rule")


def test_strips_are_in_the_order_of_the_layers():
    order = [style for style, _ in drawing("vgg_a_bn").shapes if style.endswith("-front")]
    assert order[1:4] == ["conv-front", "norm-front", "conv-activation-front"]
    order = [style for style, _ in drawing("vgg_a_lrn").shapes if style.endswith("-front")]
    assert order[1:4] == ["conv-front", "conv-activation-front", "norm-front"]
    assert {"ReLU", "batch norm", "dropout 0.5"} <= set(drawing("vgg_a_bn").texts)
    assert {"ReLU", "local response norm", "dropout 0.5"} <= set(drawing("alexnet").texts)


@pytest.mark.parametrize(
    ("skip", "words"),
    [("post_activation", ", after batch norm and before ReLU."), ("pre_activation", ", before batch norm and ReLU.")],
)
def test_the_caption_says_where_in_a_block_the_sum_is(skip, words):
    texts = drawn(PlainNet(8, skip=skip), SMALL).texts
    assert (
        f"A line above the blocks is the shortcut of a residual connection; at the + its input is added{words}" in texts
    )


def test_totals_are_in_the_caption():
    assert "60,965,224 parameters, 724,406,816 multiply-adds per image" in drawing("alexnet").texts
    assert any("square root" in text for text in drawing("alexnet").texts)


def test_c3_reads_the_maps_of_table_i():
    table = (
        "X...XXX..XXXX.XX",
        "XX...XXX..XXXX.X",
        "XXX...XXX..X.XXX",
        ".XXX..XXXX..X.XX",
        "..XXX..XXXX.XX.X",
        "...XXX..XXXX.XXX",
    )
    grid = drawing("lenet5_1998").of("grid")
    dots = [dot for dot in drawing("lenet5_1998").of("dot") if round(np.ptp(dot[:, 0])) == 12]
    origin = np.min(grid, axis=(0, 1))
    places = {tuple(((dot.mean(axis=0) - origin) // 18).astype(int)) for dot in dots}
    assert len(grid) == 7 + 17 and len(dots) == 60
    assert places == {(c, r) for r, row in enumerate(table) for c, mark in enumerate(row) if mark == "X"}


def test_output_shows_the_codes_of_the_digits():
    (basis,) = (layer for layer in LENET_1998.layers() if isinstance(layer, ly.RadialBasis))
    dots = [dot for dot in drawing("lenet5_1998").of("dot") if round(np.ptp(dot[:, 0])) == 5]
    frames = drawing("lenet5_1998").of("frame")
    assert len(frames) == 10
    for frame, code in zip(frames, basis.codes, strict=True):
        corner = frame.min(axis=0) + 1
        ink = np.zeros((12, 7), bool)
        for dot in dots:
            column, row = np.round((dot.min(axis=0) - corner) / 5).astype(int)
            if 0 <= column < 7 and 0 <= row < 12:
                ink[row, column] = True
        np.testing.assert_array_equal(ink.ravel(), np.array(code) > 0)


def test_a_large_table_of_connections_fits(tmp_path):
    table = tuple((i % 64, (i + 9) % 64) for i in range(200))
    parts = (ly.Conv(64, name="a"), ly.Conv(200, name="b", connections=table), *small_head())
    assert_readable(read(draw(Stack(parts=parts), SMALL, tmp_path / "a.svg")))


def small_head():
    return ly.Flatten(name="flatten"), ly.Dense(5, name="dense")


@st.composite
def stacks(draw):
    """Generate convolutions, pooling, norms and activations with any names, and a few dense layers."""
    longest = draw(st.sampled_from([0, 8, 24]))
    names = (f"{'m' * draw(st.integers(0, longest))}{i}" for i in itertools.count())
    side, parts = 64, []
    for _ in range(draw(st.integers(1, 18))):
        kind = draw(st.sampled_from(["conv", "conv", "conv", "pool"]))
        if kind == "pool" and side >= 4:
            parts.append(ly.MaxPool(draw(st.sampled_from([2, 3])), stride=2, name=next(names)))
            side = side // 2 - 1
            continue
        kernel, groups = draw(st.sampled_from([1, 3, 5])), 2 if parts and draw(st.booleans()) else 1
        features = draw(st.sampled_from([2, 6, 16, 512, 4096]))
        parts.append(ly.Conv(features, kernel=kernel, padding=kernel // 2, groups=groups, name=next(names)))
        if draw(st.booleans()):
            parts.append(ly.LocalResponseNorm(name=next(names)))
            parts.append(ly.Activation("tanh", name=next(names)))
    while parts and not isinstance(parts[0], ly.Conv):
        parts.pop(0)
    dense = [ly.Dense(draw(st.sampled_from([1, 10, 9999])), name=next(names)) for _ in range(draw(st.integers(1, 3)))]
    return (*parts, ly.Flatten(name="flatten"), *dense)


@settings(max_examples=15, deadline=None)
@given(parts=stacks(), channels=st.sampled_from([2, 4]))
def test_any_network_is_readable(parts, channels):
    assert_readable(drawn(Stack(parts=parts), (64, 64, channels)))


SETTINGS = {"font.family": "serif", "font.size": 20, "lines.linewidth": 5, "text.color": "red", "path.snap": False}


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_equal_arguments_give_equal_bytes(suffix, tmp_path):
    first, again = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    again.write_bytes(b"old")
    assert draw(LENET_1998, (32, 32, 1), first) == first
    with matplotlib.rc_context(SETTINGS):
        draw(LENET_1998, (32, 32, 1), str(again))
    assert first.read_bytes() == again.read_bytes()
    assert sorted(tmp_path.iterdir()) == [first, again]


@pytest.mark.parametrize("dark", [False, True])
def test_png_is_the_svg_at_twice_its_size(dark, tmp_path):
    model, shape = CASES["vgg_e_bn"]
    path, paints = draw(model, shape, tmp_path / "a.png", dark=dark), NIGHT if dark else DAY
    assert path.stat().st_size < 200_000
    seen = read(draw(model, shape, tmp_path / "a.svg", dark=dark))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape == (2 * seen.height, 2000, 3)
    page = 255 * np.array(to_rgb(paints["page"].fill))
    assert all(abs(edge - page).max() <= 3 for edge in (pixels[:6], pixels[-6:], pixels[:, :6], pixels[:, -6:]))
    for style in ("input-side", "pool-front", "dense-front", "conv-front"):
        x, y = 2 * (seen.of(style)[0] * [[0.1], [0.1], [0.2], [0.6]]).sum(axis=0)
        assert abs(pixels[int(y), int(x)] - 255 * np.array(to_rgb(paints[style].fill))).max() <= 6
    for words in seen.words:
        left, top, right, bottom = (round(2 * value) for value in words.box)
        ink = abs(pixels[top:bottom, left:right] - page).max(axis=2) > 100
        # There is ink along all four edges of the measured box, so the letters are complete and no larger.
        assert ink[:, :8].any() and ink[:, -8:].any() and ink[:6].any() and ink[-6:].any(), words


def test_svg_turns_dark_where_the_viewer_prefers_it(tmp_path):
    light = draw(LeNet5(), (32, 32, 1), tmp_path / "light.svg").read_text()
    dark = draw(LeNet5(), (32, 32, 1), tmp_path / "dark.svg", dark=True).read_text()
    rules, night = light.split("@media (prefers-color-scheme:dark)")
    assert f".page{{fill:{DAY['page'].fill}}}" in rules and f".page{{fill:{NIGHT['page'].fill}}}" in night
    assert "@media" not in dark and f".page{{fill:{NIGHT['page'].fill}}}" in dark


def luminance(colour):
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("paints", [DAY, NIGHT])
def test_words_contrast_with_the_page(paints):
    for style in ("ink", "muted"):
        low, high = sorted(luminance(paints[key].fill) for key in (style, "page"))
        assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.parametrize("paints", [DAY, NIGHT])
def test_kinds_differ_in_lightness(paints):
    kinds = ("input", "pool", "other", "conv", "basis", "dense")
    greys = [255 * np.dot(to_rgb(paints[f"{kind}-front"].fill), (0.299, 0.587, 0.114)) for kind in kinds]
    assert all(a - b > 12 for a, b in itertools.pairwise(greys))


def test_a_title_is_shown_escaped_and_whole(tmp_path):
    title = "Täst <&> $x$ " + "long " * 60
    seen = read(draw(LeNet5(), (32, 32, 1), tmp_path / "a.svg", title=title))
    assert seen.words[0].text == title.strip()
    assert seen.words[0].box[2] <= 996
    assert drawing("lenet5").words[0].text == "LeNet5"


@dataclass(frozen=True)
class Halve(ly.Layer):
    """A kind of layer that diagrams do not know."""

    def info(self, shape):
        return ly.LayerInfo((shape[0] // 2, *shape[1:]))


@dataclass(frozen=True)
class Negate(ly.Layer):
    pass


def test_unknown_layers_are_drawn_by_their_output_shape(tmp_path):
    parts = (ly.Conv(4, name="a"), Negate(name="b"), Halve(name="c"), *small_head())
    seen = read(draw(Stack(parts=parts), SMALL, tmp_path / "a.svg"))
    assert_readable(seen)
    assert {"negate", "halve", "c", TIMES.join(["15", "30", "4"])} <= set(seen.texts) and "b" not in seen.texts


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.svg.gz"])
def test_other_formats_are_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"path is .*\.svg or \.png"):
        draw(LeNet5(), (32, 32, 1), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_foreign_modules_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"model is a Dense; .*ConvNet.*network_table"):
        draw(nn.Dense(3), (32, 32, 1), tmp_path / "a.svg")


def test_images_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not fit"):
        draw(LeNet5(), (8, 8, 1), tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_matplotlib_is_imported_when_used_and_pyplot_never(tmp_path):
    script = """
import json, sys
from jaxcnn.describe import diagram
from jaxcnn.models import LeNet5
before = "matplotlib" in sys.modules
diagram.draw(LeNet5(), (32, 32, 1), sys.argv[1])
print(json.dumps([before, "matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules]))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, True, False]
