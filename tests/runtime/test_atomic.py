"""A file is replaced completely or not at all."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxcnn.runtime.atomic import replacing, write_json


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    return path


def write(path, text):
    with replacing(path) as draft:
        draft.write_text(text)


def test_the_old_file_remains_until_the_block_ends(path):
    with replacing(path) as draft:
        draft.write_text("new")
        assert path.read_text() == "old" and draft.parent == path.parent
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_a_file_with_the_longest_possible_name_is_written(tmp_path):
    path = tmp_path / ("a" * 255)
    write(path, "new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("no space left"), TypeError("no JSON"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_unchanged(path, error):
    with pytest.raises(type(error)) as caught, replacing(path) as draft:
        draft.write_text("half")
        raise error
    assert caught.value is error
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_a_block_that_writes_nothing_leaves_the_old_file_unchanged(path):
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    with pytest.raises(KeyError), replacing(path):
        raise KeyError
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_a_path_that_cannot_be_replaced_is_an_error(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, error in (("folder", IsADirectoryError), ("no/a", FileNotFoundError), ("file/a", NotADirectoryError)):
        with pytest.raises(error):
            write(tmp_path / path, "new")
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "file"}


def test_every_reader_sees_a_complete_file_while_threads_replace_it(path):
    texts = [letter * 10_000 for letter in "abcd"]
    write(path, texts[0])
    stop, seen = threading.Event(), set()

    def read():
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [path] * 100, texts * 25))
    stop.set()
    reader.join()
    assert seen <= set(texts) and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_express_are_refused(value, tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert (tmp_path / "a.json").read_text() == '{\n  "x": 1\n}\n' and len(list(tmp_path.iterdir())) == 1
