import itertools
import re
import xml.etree.ElementTree as ET

import jax
import numpy as np
import pytest
from flax import linen as nn
from matplotlib.lines import Line2D
from matplotlib.text import Text
from PIL import Image
from scipy.signal import correlate

from jaxcnn.__main__ import main
from jaxcnn.describe.explanation import draw_topic, explain_network, explain_topic
from jaxcnn.describe.gradient_example import VANISHING, vanishing_example
from jaxcnn.describe.norm_examples import batch_norm_example, local_response_example
from jaxcnn.layers import Layer, MaxPool
from jaxcnn.models import VGG, AlexNet, Chain, ConvNet, LeNet5
from jaxcnn.runtime.errors import InputError

TOPICS = ("batch_norm", "local_response_norm", "vanishing_gradients")


@pytest.fixture(scope="module")
def batch():
    example = batch_norm_example()
    return example._replace(scale=np.asarray(example.scale), shift=np.asarray(example.shift))._asdict()


@pytest.fixture(scope="module")
def response():
    return local_response_example()


# --- networks


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (AlexNet(), (224, 224, 3), ["section 3.2", "section 5", "0.0005", "8 weight layers and 60,965,224 parameters"]),
        (VGG("E"), (224, 224, 3), ["section 2.3", "dropout", "2-2-4-4-4", "19 weight layers and 143,667,240"]),
        (LeNet5(variant="1998"), (32, 32, 1), ["section II.B", "layers, 60,000 parameters and 340,908 connections"]),
        (VGG("A", head="cifar", num_classes=10), (32, 32, 3), ["9 weight layers and 9,225,610 parameters."]),
    ],
    ids=["alexnet", "vgg_e", "lenet5_1998", "cifar"],
)
def test_words_come_from_the_docstring_and_figures_from_the_instance(model, shape, words):
    text, figures, stages = explain_network(model, shape)
    said = f"{text} {figures}".replace("\n", " ")
    assert all(word in said for word in words), said
    doc = " ".join(type(model).__doc__.split())
    assert " ".join(text.split()) == doc[: doc.index(" Attributes: ")]
    assert max(map(len, f"{text}\n{figures}".splitlines())) <= 100
    assert (" connections" in figures) == isinstance(model, LeNet5)
    assert " by stage" in stages.title


class Silent(ConvNet):
    @nn.nowrap
    def layers(self) -> tuple[Layer, ...]:
        return (MaxPool(name="a"),)


def test_a_class_without_a_docstring_is_refused():
    with pytest.raises(InputError, match=r"^Silent has no docstring for --explain to print; write one\.$"):
        explain_network(Silent(), (8, 8, 1))


# --- batch normalization


@pytest.mark.parametrize("example", [batch_norm_example, local_response_example, vanishing_example])
def test_an_example_is_one_program(example):
    """Every operation outside it would be a program of its own; compiling dozens of these would dominate the time."""
    compiled = []

    def listen(event, seconds, **_):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        example.__wrapped__()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    # The others create the constants and the key that it is called with.
    assert compiled.count("/jax/core/compile/backend_compile_duration") <= 8


def statistics(x):
    values = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    return values.mean(0), values.var(0)


def test_the_batch_is_the_output_of_c1_on_digits(batch):
    pixels = (batch["images"][..., 0] / 255 - 0.08) / 0.78
    kernel = np.asarray(batch["kernel"], np.float64)
    for image, c in ((0, 0), (31, 5)):
        expected = correlate(pixels[image], kernel[:, :, 0, c], "valid")
        np.testing.assert_allclose(batch["x"][image, ..., c], expected, atol=1e-5)


def test_every_step_of_batch_normalization(batch):
    mean, var = statistics(batch["x"])
    np.testing.assert_allclose(batch["batch"].mean, mean, atol=1e-6)
    np.testing.assert_allclose(batch["batch"].var, var, rtol=1e-5)
    normalised = (np.asarray(batch["x"]) - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(batch["normalised"], normalised, atol=1e-5)
    np.testing.assert_allclose(batch["y"], normalised * batch["scale"] + batch["shift"], atol=1e-5)
    # Every map has its own scale and shift, or the step would not be visible.
    assert len(set(np.asarray(batch["scale"]).tolist())) == len(set(np.asarray(batch["shift"]).tolist())) == 6


def test_the_population_by_algorithm_2_and_by_moving_average(batch):
    means, variances = (np.asarray(v, np.float64) for v in batch["batches"])
    m = 32 * 28 * 28
    assert means.shape == (1437 // 32, 6)
    np.testing.assert_allclose(batch["population"].mean, means.mean(0), atol=1e-6)
    np.testing.assert_allclose(batch["population"].var, m / (m - 1) * variances.mean(0), rtol=1e-5)
    running = np.zeros(6), np.ones(6)
    for mean, var in zip(means, m / (m - 1) * variances, strict=True):
        running = 0.9 * running[0] + 0.1 * mean, 0.9 * running[1] + 0.1 * var
    np.testing.assert_allclose(batch["running"], running, rtol=1e-4)
    expected = (np.asarray(batch["x"]) - means.mean(0)) / np.sqrt(m / (m - 1) * variances.mean(0) + 1e-5)
    np.testing.assert_allclose(batch["inferred"], expected * batch["scale"] + batch["shift"], atol=1e-4)


def test_the_explanation_of_batch_normalization_has_its_numbers(batch):
    text, grid = explain_topic("batch_norm")
    mean, var = statistics(batch["x"])
    said = " ".join(text.split())
    assert f"Map 1: mu = {mean[0]:.4f}, sigma = {var[0] ** 0.5:.4f}." in said and "= 25,088 values" in said
    assert f"root mean square) and by at most {np.max(np.abs(batch['inferred'] - batch['y'])):.3f}." in said
    for word in ("algorithm 1", "algorithm 2", "section 3.1", "section 3.4", "arXiv:1502.03167"):
        assert word in said
    assert "\n\n    x_hat = (x - mu) / sqrt(sigma^2 + epsilon)\n\n" in text
    assert [row[:3] for row in grid.rows] == [(str(c + 1), f"{mean[c]:.4f}", f"{var[c] ** 0.5:.4f}") for c in range(6)]
    assert grid.rows[3][6] == f"{np.sqrt(batch['running'].var[3]):.4f}"


# --- local response normalization


def normalised(a, n=5, k=2.0, alpha=1e-4, beta=0.75):
    """Compute the formula of section 3.3 map by map."""
    out = []
    for i in range(len(a)):
        squares = sum(float(a[j]) ** 2 for j in range(max(0, i - n // 2), min(len(a) - 1, i + n // 2) + 1))
        out.append(float(a[i]) / (k + alpha * squares) ** beta)
    return np.array(out)


def test_responses_before_and_after(response):
    np.testing.assert_allclose(response.raw_normalised, normalised(response.raw), rtol=1e-5)
    np.testing.assert_allclose(response.unit_normalised, normalised(response.unit), rtol=1e-5)
    assert response.channel == response.raw.argmax() and np.sum(response.raw > 0) > 8
    left = response.raw_normalised[response.raw > 0] / response.raw[response.raw > 0]
    assert left.min() < 0.2 < 0.5 < left.max() < 2**-0.75


def test_windows_end_at_the_first_and_the_last_map(response):
    assert [list(response.window(i)) for i in (0, 1, 7, 15)] == [
        [0, 1, 2],
        [0, 1, 2, 3],
        [5, 6, 7, 8, 9],
        [13, 14, 15],
    ]


def test_the_responses_are_those_of_the_position(response):
    net = Chain(LeNet5(activation="relu").layers()[:5])
    image = response.image[None].astype(np.float32)
    options = {"xla_backend_optimization_level": 1}
    draw = jax.jit(lambda key: net.init(key, image, train=False), compiler_options=options)
    maps = jax.jit(lambda variables: net.apply(variables, image, train=False))(draw(jax.random.key(0)))
    row, column = (place // 2 for place in response.corner)
    np.testing.assert_allclose(maps[0, row, column], response.raw, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(255 * response.unit, response.raw, rtol=1e-6)


def test_the_receptive_field_of_the_position_is_the_square_that_is_drawn(response):
    layers = LeNet5().layers()[:4]
    assert layers[-1].name == "c3"
    noise = np.random.default_rng(0)
    params = {
        name: {"kernel": noise.normal(size=shape, scale=0.1), "bias": np.zeros(shape[-1])}
        for name, shape in (("c1", (5, 5, 1, 6)), ("c3", (5, 5, 6, 16)))
    }
    images = np.repeat(noise.normal(size=(1, 32, 32, 1)), 4, axis=0)
    (top, left), last = response.corner, response.side - 1
    inside = np.zeros((32, 32, 1), bool)
    inside[top : top + last + 1, left : left + last + 1] = True
    images[1] = np.where(inside, images[0], noise.normal(size=(32, 32, 1)))
    images[2, top, left] += 1
    images[3, top + last, left + last] += 1
    outputs = jax.jit(lambda images: Chain(layers).apply({"params": params}, images, train=False))
    seen = np.asarray(outputs(images.astype(np.float32)))
    here = seen[:, top // 2, left // 2]
    np.testing.assert_allclose(here[1], here[0], atol=1e-5)
    assert (np.abs(here[2:] - here[:1]).max(1) > 1e-3).all()


def test_the_explanation_of_local_response_normalization_has_its_numbers(response):
    text, grid = explain_topic("local_response_norm")
    said, i = " ".join(text.split()), response.channel
    window = response.raw[max(0, i - 2) : i + 3].astype(np.float64)
    assert f"S = {np.sum(window**2):,.0f} over maps {max(0, i - 2) + 1} to {i + 3}." in said
    assert f"= {normalised(response.raw)[i]:.1f}. Over the maps" in said
    assert "k^-beta = 0.5946 everywhere" in said
    # The number in the text, put into the formula, lowers the output by a tenth.
    tenth = float(re.search(r"would take S = ([\d,]+)", said)[1].replace(",", ""))
    assert (2 + 1e-4 * tenth) ** -0.75 == pytest.approx(0.9 * 2**-0.75, rel=1e-4)
    assert len(grid.rows) == 16 and grid.rows[i][2] == f"{normalised(response.raw)[i]:.1f}"
    silent = int(np.flatnonzero(response.raw == 0)[0])
    assert grid.rows[silent][1:] == ("0.0", "0.0", "", "")


# --- pictures


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Return the path, the texts with their boxes, and the boxes of single marks of each picture."""
    folder, pictures = tmp_path_factory.mktemp("pictures"), {}
    with pytest.MonkeyPatch.context() as patch:
        draw, draw_line, texts, marks = Text.draw, Line2D.draw, [], []

        def measure(text, renderer):
            if text.get_visible() and text.get_text():
                texts.append((text.get_text(), text.get_window_extent(renderer)))
            return draw(text, renderer)

        def measure_mark(line, renderer):
            if len(line.get_xdata()) == 1 and line.get_marker() not in ("None", None, ""):
                marks.append(line.get_window_extent(renderer))
            return draw_line(line, renderer)

        patch.setattr(Text, "draw", measure)
        patch.setattr(Line2D, "draw", measure_mark)
        for name in TOPICS:
            texts.clear(), marks.clear()
            path = draw_topic(name, folder / f"{name}.png")
            pictures[name] = path, list(texts), list(marks)
    return pictures


def apart(a, b):
    return a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0


@pytest.mark.parametrize("name", TOPICS)
def test_no_two_texts_overlap_and_all_are_on_the_page(name, drawn):
    path, texts, marks = drawn[name]
    with Image.open(path) as image:
        width, height = image.size
    assert width == 1000 and len(texts) > 20
    for (first, a), (second, b) in itertools.combinations(texts, 2):
        assert apart(a, b), (first, second)
    assert len(marks) > 3 and all(apart(mark, box) for mark in marks for _, box in texts)
    for text, box in texts:
        assert box.x0 >= 10 and box.x1 <= width - 10 and box.y0 >= 4 and box.y1 <= height - 4, text


def test_the_pictures_show_the_numbers(drawn, batch, response):
    said = [text for text, _ in drawn["batch_norm"][1]]
    mean, var = statistics(batch["x"])
    for c in range(6):
        assert f"μ {mean[c]:.2f}   σ {var[c] ** 0.5:.2f}".replace("-", "−") in said
    said = [text for text, _ in drawn["local_response_norm"][1]]
    i = response.channel
    assert any(f"= {normalised(response.raw)[i]:.1f}" in text for text in said)
    assert f"window of map {i + 1}: {i - 1} to {i + 3}" in said
    said = [text for text, _ in drawn["vanishing_gradients"][1]]
    b = vanishing_example().networks[VANISHING]
    mantissa, exponent = re.search(rf"{VANISHING}: (\d\.\d)·10⁻(\S+)\n", "\n".join(said)).groups()
    power = float(mantissa) * 10.0 ** -int(exponent.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")))
    assert power == pytest.approx(b.rms[0] / b.rms[-1], rel=0.02)
    assert {f"{value:.2f}" for value in b.typical} <= set(said)


@pytest.mark.parametrize("name", TOPICS)
def test_the_parts_of_a_picture_differ_in_grey(name, drawn):
    with Image.open(drawn[name][0]) as image:
        grey = np.asarray(image.convert("L"))
    shares = [np.mean((grey >= low) & (grey < high)) for low, high in ((0, 100), (170, 230), (250, 256))]
    assert all(share > 0.005 for share in shares)


@pytest.mark.parametrize("name", TOPICS)
def test_a_picture_that_cannot_be_written_is_one_error_line_and_leaves_nothing(name, tmp_path, capsys):
    (tmp_path / "folder.svg").mkdir()
    assert main(["describe", name, f"--diagram={tmp_path}/folder.svg"]) == 2
    error = f"error: --diagram is '{tmp_path}/folder.svg', which cannot be written: Is a directory. Choose another.\n"
    assert capsys.readouterr() == ("", error)
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder.svg"]


def test_the_command_explains_and_draws_the_same_svg_every_time(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["describe", "local_response_norm", "--diagram=a.svg", "--format=markdown"]) == 0
    out, errors = capsys.readouterr()
    assert (
        out.startswith("Local response normalization (Krizhevsky")
        and "\n\n**The maps at this position**\n\n| map |" in out
    )
    assert errors == "drew a.svg\n"
    first, second = (
        (tmp_path / "a.svg").read_bytes(),
        draw_topic("local_response_norm", tmp_path / "b.svg").read_bytes(),
    )
    assert first == second and ET.fromstring(first).tag.endswith("svg")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["a.svg", "b.svg"]
