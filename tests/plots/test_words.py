import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.plots.words import SMALL, TITLE, one_line, shortened, text_width


def test_line_breaks_in_names_become_blanks():
    assert one_line(["great  crested\nwood\tpecker ", 7]) == ["great crested wood pecker", "7"]


@settings(max_examples=30, deadline=None)
@given(st.text("iWm .", min_size=2, max_size=20).map(lambda word: f"x{word}x"), st.integers(30, 400))
def test_a_shortened_name_keeps_as_many_letters_as_fit(name, room):
    found = shortened(name, room, SMALL)
    if text_width(name, SMALL) <= room:
        assert found == name
        return
    fitting = [name[:n].rstrip() + "…" for n in range(1, len(name))]
    longest = max(length for length, text in enumerate(fitting) if text_width(text, SMALL) <= room)
    assert found == fitting[longest]


def test_a_name_without_room_keeps_its_first_letter():
    assert shortened("woodpecker", 1, SMALL) == "w…"


@pytest.mark.parametrize("text", ["$a_b$", "woodpecker"])
def test_width_increases_with_length_and_font_size(text):
    assert 0 < text_width(text, SMALL) < text_width(text, TITLE) < text_width(text, TITLE, "bold")
    assert text_width(text, SMALL) < text_width(text + text, SMALL)
