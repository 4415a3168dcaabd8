"""JSON objects are read, and what is none is refused in one line."""

import pytest

from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.json_object import read_object


def test_an_object_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1, "b": [2]}')
    assert read_object(tmp_path / "a.json", "a", "b") == {"a": 1, "b": [2]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "a.json does not exist"),
        ("", "a.json is damaged .Expecting value"),
        ("[1]", "a.json is damaged .it holds no JSON object.; delete it to go on"),
        ("{}", "a.json is damaged .it lacks a, b.; delete it to go on"),
    ],
)
def test_what_is_no_such_object_is_refused_in_one_line(text, words, tmp_path):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_object(tmp_path / "a.json", "a", "b")
    assert "\n" not in str(caught.value)
