"""Whether operations are written as their platform runs them fastest, or as XLA's own everywhere."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal

Choice = Literal["auto", "lax"]

_choice: contextvars.ContextVar[Choice] = contextvars.ContextVar("ops", default="auto")


def chosen() -> Choice:
    """`auto`, or `lax` within `choose("lax")`."""
    return _choice.get()


@contextlib.contextmanager
def choose(choice: Choice) -> Iterator[None]:
    """What is traced within uses `lax` (XLA's own operations) or `auto` (the fastest formulation, the default)."""
    token = _choice.set(choice)
    try:
        yield
    finally:
        _choice.reset(token)
