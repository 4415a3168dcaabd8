"""Paragraphs of an explanation."""

import functools
import inspect
import re
import textwrap

_COLUMNS = 100


def filled(text: str) -> str:
    """Wrap paragraphs at 100 columns; indented ones, the formulas, stay as they are."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    fill = functools.partial(textwrap.fill, width=_COLUMNS, break_on_hyphens=False)
    return "\n\n".join(p if p.startswith(" ") else fill(" ".join(p.split())) for p in paragraphs)
