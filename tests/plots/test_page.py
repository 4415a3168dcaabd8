import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxcnn import plots
from tests.plots.drawn import pixels

ROWS = [
    {"step": i, "epoch": i / 4, "split": split, "loss": loss, "accuracy": 1 - loss / 3, "learning_rate": 0.1 / i}
    for split in ("train", "test")
    for i, loss in enumerate([2.0, 0.3, 0.1, 0.0], 1)
]
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1)).astype(np.uint8)
ARMS = [plots.Arm(str(x), [x, 2 * x, 4 * x], 7 * x / 3, (x, 3 * x), "1 diverged", True, x) for x in (1.0, 2.0, 30.0)]
WORDS = {"title": "Title", "subtitle": "subtitle", "axis": "axis"}
NAMES = {"rows": ["a", "b"], "columns": ["c", "d"], "row_name": "row", "column_name": "column", "title": "Title"}
PICTURES = {
    "strips": lambda path: plots.strip_plot(ARMS, path, baseline="2.0", **WORDS),
    "arms": lambda path: plots.learning_curves_of_arms(
        {"a": [ROWS, ROWS], "b": [ROWS]}, path, title="Title", split="test", quantity="error"
    ),
    "responses": lambda path: plots.response_curves({"x": {"a": ARMS, "b": ARMS}}, path, title="Title", axis="axis"),
    "heat map": lambda path: plots.heat_map([[1, 2], [30, np.nan]], [["", ""], ["", "failed"]], path, **NAMES),
    "curves": lambda path: plots.learning_curves(ROWS, path),
    "few classes": lambda path: plots.confusion_matrix([0, 1, 1], [0, 1, 0], ["cat", "dog"], path),
    "many classes": lambda path: plots.confusion_matrix([0, 1, 1], [0, 1, 0], list("abcdefghijklmnopqrstu"), path),
    "mistakes": lambda path: plots.confident_errors(PIXELS, [0, 1], [[0.2, 0.8], [0.1, 0.9]], ["a", "b"], path),
    "filters": lambda path: plots.first_layer_filters(PIXELS.transpose(1, 2, 3, 0), path),
}


def test_a_failed_write_keeps_the_old_picture_and_leaves_no_other_file(monkeypatch, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(canvas, file, **kwargs):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(FigureCanvasAgg, "print_png", fail)
    with pytest.raises(OSError, match="disk full"):
        PICTURES["filters"](path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_picture_replaces_the_old_one(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    PICTURES["filters"](str(path))
    assert pixels(path).size and list(tmp_path.iterdir()) == [path]


SETTINGS = {
    "axes.edgecolor": "white",
    "axes.facecolor": "black",
    "axes.grid": True,
    "axes.linewidth": 5,
    "axes.spines.left": False,
    "axes.xmargin": 0.4,
    "figure.constrained_layout.use": True,
    "figure.dpi": 50,
    "figure.facecolor": "black",
    "font.family": "serif",
    "font.size": 20,
    "grid.linestyle": ":",
    "image.cmap": "jet",
    "image.interpolation": "bicubic",
    "image.origin": "lower",
    "lines.linestyle": ":",
    "lines.linewidth": 5,
    "savefig.dpi": 300,
    "text.color": "white",
    "xtick.direction": "in",
    "xtick.labelsize": 20,
    "xtick.top": True,
    "ytick.color": "white",
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_neither_use_nor_change_the_settings_of_matplotlib(name, tmp_path):
    plain = PICTURES[name](tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context(SETTINGS):
        before = dict(matplotlib.rcParams)
        styled = PICTURES[name](tmp_path / "styled.png").read_bytes()
        assert dict(matplotlib.rcParams) == before
    assert styled == plain


def test_threads_draw_the_same_pictures(tmp_path):
    alone = [PICTURES[name](tmp_path / f"alone {name}").read_bytes() for name in PICTURES]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda name: PICTURES[name](tmp_path / name).read_bytes(), PICTURES))
    assert together == alone


def test_matplotlib_is_imported_on_first_use_and_pyplot_never(tmp_path):
    script = """
import json, sys
from jaxcnn import plots
before = "matplotlib" in sys.modules
plots.first_layer_filters([[[[1.0]]]], sys.argv[1])
plots.confusion_matrix([0, 1], [0, 1], ["a", "b"], sys.argv[1])
print(json.dumps([before, "matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules]))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, True, False]
