"""Members of one program go to one shard."""

import pytest

from jaxcnn import InputError, sweep
from jaxcnn.sweep.groups import groups, share_of
from jaxcnn.sweep.points import points_of
from tests.sweep.folders import BASE

AXES = {"model.norm": ["none", "batch", "layer"], "optimizer.learning_rate": [0.1, 0.2], "seed": [0, 1]}


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    return points_of(sweep.grid(BASE, AXES), tmp_path_factory.mktemp("sweep"))


@pytest.mark.parametrize("count", [1, 2, 4, 9])
@pytest.mark.parametrize(("vectorize", "size"), [("seed", 2), (["seed", "learning_rate"], 4), (None, 1)])
def test_shards_deal_whole_groups_and_every_point_once(points, vectorize, size, count):
    parts = [share_of(points, f"{i}/{count}", vectorize) for i in range(count)]
    assert sorted(point.name for part in parts for point in part) == sorted(point.name for point in points)
    for part in parts:
        assert part == [point for point in points if point in part]
        assert all(len(group) == size for group in groups(part, vectorize))
    assert max(map(len, parts)) - min(map(len, parts)) <= size


def test_the_groups_of_shards_do_not_depend_on_what_has_begun(points):
    before = share_of(points, "1/3", "seed")
    points[0].workdir.mkdir()
    (points[0].workdir / "provenance.json").write_text('{"members": ["a", "b"]}')
    assert share_of(points, "1/3", "seed") == before
    assert len(groups(points, "seed")[0]) == 1


@pytest.mark.parametrize(
    ("vectorize", "message"),
    [
        (["auto", "seed"], "auto means all numbers, so give it alone"),
        (3, "vectorize is 3; it must be auto, a name, or a list of names"),
        ([3], r"vectorize is \[3\]; it must be auto"),
    ],
)
def test_names_that_are_refused(vectorize, message):
    with pytest.raises(InputError, match=message):
        groups((), vectorize)
