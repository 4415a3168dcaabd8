"""The picture of every corruption at every severity, and its command."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.__main__ import main
from jaxcnn.data.digits import digits
from jaxcnn.runtime.errors import InputError
from jaxcnn.shift import CORRUPTIONS, corrupt, draw_gallery, gallery
from tests.plots.drawn import watch

FINISHED = Path(__file__).parents[1] / "fixtures" / "finished_run"
FEW = ("contrast", "stripe", "canny_edges")


@pytest.fixture
def drawn(monkeypatch):
    return watch(monkeypatch)


@pytest.fixture
def few(monkeypatch):
    """Draw only corruptions that compile quickly."""
    monkeypatch.setattr(gallery, "CORRUPTIONS", {name: CORRUPTIONS[name] for name in FEW})


def test_a_row_has_the_severities_of_one_image(few, drawn, tmp_path):
    image = digits()[1].images[3]
    drawn.check_layout(draw_gallery(image, tmp_path / "a.png", key=jax.random.key(0)))
    words = {"original", "contrast", "stripe", "canny_edges (on the host)", "3 corruptions of one image"}
    assert words <= {*drawn.words}
    tiles = [tile.get_array() for tile in drawn.figure.axes[0].images]
    factor = len(tiles[0]) // 32
    unit = (image / 255)[None].astype(np.float32)
    expected = [unit, *(corrupt(name, unit, s, key=jax.random.key(0)) for name in FEW for s in range(1, 6))]
    for tile, each in zip(tiles, expected, strict=True):
        np.testing.assert_allclose(tile[::factor, ::factor], np.asarray(each)[0, ..., 0], atol=1e-6)


def test_the_constants_are_named(few, drawn, tmp_path):
    for channels, name in ((1, "MNIST-C"), (3, "CIFAR-10-C")):
        draw_gallery(np.full((8, 8, channels), 0.5, np.float32), tmp_path / "a.png", key=jax.random.key(0))
        assert any(text.endswith(f"with the constants of {name}") for text in drawn.words)


def test_an_image_that_is_not_in_0_to_1_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"values from 2 to 2"):
        draw_gallery(np.full((8, 8, 1), 2, np.float32), tmp_path / "a.png", key=jax.random.key(0))
    assert not [*tmp_path.iterdir()]


def test_the_command_draws_digits_and_the_images_of_a_run(few, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["shift", "gallery"]) == 0
    run = shutil.copytree(FINISHED, tmp_path / "run")
    assert main(["shift", "gallery", f"--data={run}"]) == 0
    assert main(["shift", "gallery", "--data=digits", "--out=b.png"]) == 0
    assert capsys.readouterr().out.splitlines() == ["corruptions_digits.png", f"{run}/corruptions.png", "b.png"]
    for path in ("corruptions_digits.png", run / "corruptions.png", "b.png"):
        assert Path(path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["galery"],
            "'galery' is not a command of shift. Did you mean 'gallery'? Commands are gallery, calibrate, report.",
        ),
        (["gallery", "--data=mnits"], "data is 'mnits'; it must be digits, mnist, cifar10 or the folder of a run."),
        (["gallery", "--data={}"], "is not a run folder: it has no config.json"),
        (["gallery", "--out=a.jpg"], "out is 'a.jpg'; it must be a .png file in a folder that exists"),
        (["gallery", "--out={}/absent/a.png"], "it must be a .png file in a folder that exists"),
        (["gallery", "--data=mnist", "--out={}/a.png"], "data set 'mnist' is not prepared"),
    ],
)
def test_bad_input_is_one_message(few, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert main(["shift", *(each.format(tmp_path) for each in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert message in err
    assert not [*tmp_path.glob("*.png")]


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["shift", "--help"])
    assert stop.value.code == 0 and "gallery" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_the_whole_picture_fits_its_page(drawn, tmp_path, shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    drawn.check_layout(draw_gallery(image, tmp_path / "a.png", key=jax.random.key(0)))
    assert len(drawn.words) == 3 + len(CORRUPTIONS)
