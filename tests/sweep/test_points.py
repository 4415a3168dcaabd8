import json
import re
from pathlib import Path

import pytest

from jaxcnn import Data, Experiment, Fake, InputError, load_config, override, sweep
from jaxcnn.config import run_id, to_json
from jaxcnn.layers import BatchNorm
from jaxcnn.models import LeNet5
from jaxcnn.runs.failure import Failure, read_failure, write_failure
from jaxcnn.sweep.points import check_folder, points_of, status_of

BASE = Experiment(model=LeNet5(), data=Data(source="fake", fake=Fake(train=16, test=8), batch_size=8), epochs=1)


def names(experiments, folder=Path("sweep")):
    return [point.workdir.name.rpartition("-")[0] for point in points_of(experiments, folder)]


def begin(folder, experiments):
    """Write the configuration of every point, as a run that has begun does."""
    for point in points_of(experiments, folder):
        point.workdir.mkdir(parents=True, exist_ok=True)
        (point.workdir / "config.json").write_text(json.dumps(to_json(point.experiment, folder=point.workdir)))


def test_a_point_is_named_by_what_varies_and_its_run_id():
    experiments = sweep.grid(BASE, {"model.norm": ["none", BatchNorm(momentum=0.5)], "optimizer.learning_rate": [1e-3]})
    assert names(experiments) == ["norm=none", "norm=BatchNorm(momentum=0.5)"]
    folders = [point.workdir.name for point in points_of(experiments, Path("sweep"))]
    assert [name.rpartition("-")[2] for name in folders] == [*map(run_id, experiments)]


def test_a_sweep_of_one_point_is_named_by_its_network():
    assert names([BASE]) == ["LeNet5"]


def test_names_are_safe_and_short():
    changes = [{"data.train_split": f"train/{'x' * 200}{i}", "seed": i} for i in range(2)]
    found = names([override(BASE, each) for each in changes])
    assert all(re.fullmatch(r"[\w.()=,+-]{1,120}", name) for name in found) and len(found) == 2


def test_a_point_keeps_its_folder_when_the_grid_grows_an_axis(tmp_path):
    begin(tmp_path, sweep.grid(BASE, {"model.norm": ["none", "batch"]}))
    grown = sweep.grid(BASE, {"model.norm": ["none", "batch"], "seed": [0, 1]})
    check_folder(tmp_path, grown)
    assert names(grown, tmp_path) == ["norm=none", "norm=none,seed=1", "norm=batch", "norm=batch,seed=1"]


@pytest.mark.parametrize(
    ("axes", "changes"),
    [
        ({"seed": [3, 4]}, {}),
        ({"optimizer.momentum": [0.1, 0.2]}, {"seed": 1}),
        ({"model.norm": ["none", "batch"]}, {"seed": 2}),
    ],
)
def test_a_sweep_may_be_extended(tmp_path, axes, changes):
    begin(tmp_path, sweep.grid(BASE, {"seed": [0, 1, 2]}))
    check_folder(tmp_path, sweep.grid(override(BASE, changes), axes))


def test_the_folder_of_another_sweep_is_refused(tmp_path):
    begin(tmp_path, sweep.grid(BASE, {"seed": [0, 1, 2]}))
    with pytest.raises(InputError, match=r"holds another sweep: its optimizer.momentum is 0.9, not 0.5"):
        check_folder(tmp_path, sweep.grid(override(BASE, {"optimizer.momentum": 0.5}), {"seed": [0, 1]}))


NETWORK = """
from flax import linen as nn

from jaxcnn import Experiment


class Net(nn.Module):
    note: str = ""

    def __call__(self, x, *, train):
        return x


def get_config():
    return Experiment(model=Net())
"""


def test_points_of_code_that_has_changed_are_refused_also_when_the_files_have_moved(tmp_path):
    """Otherwise they would be trained again in other folders, beside results of the same settings."""
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "nets.py"
    file.write_text(NETWORK)
    begin(tmp_path / "sweep", sweep.grid(load_config(file), {"seed": [0, 1]}))
    moved = tmp_path / "b.py"
    moved.write_text(NETWORK)
    again = sweep.grid(load_config(moved), {"seed": [0, 1, 2]})
    check_folder(tmp_path / "sweep", again)
    assert [point.workdir.exists() for point in points_of(again, tmp_path / "sweep")] == [True, True, False]
    moved.write_text(NETWORK.replace("return x\n", "return 2 * x\n"))
    changed = sweep.grid(load_config(moved), {"seed": [1, 2]})
    with pytest.raises(InputError, match=r"seed=1-\w+ has the settings of one of .* its code or data have changed"):
        check_folder(tmp_path / "sweep", changed)


def test_names_in_any_language_fit_a_file_system(tmp_path):
    file = tmp_path / "nets.py"
    file.write_text(NETWORK)
    for point in points_of(sweep.grid(load_config(file), {"model.note": ["語" * 200, "é/ü" * 200]}), tmp_path):
        assert len(point.workdir.name.encode()) < 143  # The limit of an encrypted home folder.
        point.workdir.mkdir()


def test_names_keep_letters_of_any_language_where_the_file_system_has_them(tmp_path, monkeypatch):
    file = tmp_path / "nets.py"
    file.write_text(NETWORK)
    experiments = sweep.grid(load_config(file), {"model.note": ["é/ü", "a,b"]})
    folders = [point.workdir.name.rpartition("-")[0] for point in points_of(experiments, tmp_path)]
    assert folders == ["note=é_ü", "note=a,b"]
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert points_of(experiments, tmp_path)[0].workdir.name.startswith("note=___-")


def test_the_folder_of_a_single_run_and_a_file_are_refused(tmp_path):
    (tmp_path / "config.json").touch()
    with pytest.raises(InputError, match="holds a single run"):
        check_folder(tmp_path, [BASE])
    with pytest.raises(InputError, match="is a file"):
        check_folder(tmp_path / "config.json", [BASE])


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        ([], "experiments is empty"),
        ([BASE, "x"], r"experiments\[1\] is str"),
        (
            [BASE, override(BASE, {"seed": 1}), BASE],
            r"points 1 and 3 of 3 are the same run \(seed=0\)",
        ),
    ],
)
def test_lists_of_experiments_that_are_refused(experiments, message):
    with pytest.raises(InputError, match=message):
        points_of(experiments, Path("sweep"))


def test_the_status_follows_from_the_files(tmp_path):
    run = tmp_path / "run"
    assert status_of(run) == "new"
    failure = Failure("diverged", "the loss of step 3 is nan")
    write_failure(run, failure)
    assert (status_of(run), read_failure(run)) == ("diverged", failure)
    (run / "failure.json").unlink()
    (run / "config.json").touch()
    assert status_of(run) == "unfinished"
    (run / "results.json").touch()
    assert status_of(run) == "finished"
