import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxcnn.models import LeNet5
from jaxcnn.runtime import fields
from jaxcnn.runtime.errors import InputError
from jaxcnn.runtime.fields import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt, accept, describe

ANYTHING = st.one_of(
    st.floats(), st.integers(-3, 3), st.integers(), st.booleans(), st.none(), st.text(max_size=2), st.just(())
)


def is_number(value):
    return type(value) in (int, float) and math.isfinite(value)


def is_whole(value):
    return type(value) is int


@pytest.mark.parametrize(
    ("hint", "allowed"),
    [
        (float, is_number),
        (Positive, lambda v: is_number(v) and v > 0),
        (NonNegative, lambda v: is_number(v) and v >= 0),
        (Fraction, lambda v: is_number(v) and 0 <= v < 1),
        (Positive | None, lambda v: v is None or (is_number(v) and v > 0)),
        (int, is_whole),
        (PositiveInt, lambda v: is_whole(v) and v > 0),
        (NonNegativeInt, lambda v: is_whole(v) and v >= 0),
        (bool, lambda v: type(v) is bool),
        (str, lambda v: type(v) is str),
        (Literal["a", "b", 1], lambda v: v in ("a", "b") or (v == 1 and type(v) is int)),
        (Any, lambda v: True),
    ],
)
@given(value=ANYTHING)
@example(value=True)
@example(value=1.0)
@example(value=2**53 + 1)  # No float represents it.
@settings(max_examples=60, deadline=None)
def test_a_value_is_accepted_exactly_if_its_annotation_allows_it(hint, allowed, value):
    if not allowed(value):
        with pytest.raises(ValueError):
            accept(value, hint)
    else:
        accepted = accept(value, hint)
        if hint in (float, Positive, NonNegative, Fraction, Positive | None) and value is not None:
            assert (type(accepted), accepted) == (float, float(value))
        else:
            assert accepted is value or accepted == value


@pytest.mark.parametrize(
    ("value", "hint", "python"),
    [
        (np.int64(3), PositiveInt, 3),
        (np.uint8(0), NonNegativeInt, 0),
        (np.float32(0.5), Fraction, 0.5),
        (np.float64(2), Positive, 2.0),
        (np.int32(2), float, 2.0),
    ],
)
def test_numpy_numbers_become_python_numbers(value, hint, python):
    accepted = accept(value, hint)
    assert accepted == python
    assert type(accepted) is type(python)


def test_sequences_become_tuples_of_accepted_values():
    assert accept([1, 2.5], tuple[float, ...]) == (1.0, 2.5)
    assert all(type(v) is float for v in accept([1, 2], tuple[float, ...]))
    assert accept([], tuple[float, ...]) == ()
    assert accept([[1], [2, 3]], tuple[tuple[int, ...], ...]) == ((1,), (2, 3))
    assert accept([4, "a"], tuple[int, str]) == (4, "a")
    for wrong in ([1, 2, 3], [1], 1, "ab", None, [1, "a", "b"]):
        with pytest.raises(ValueError):
            accept(wrong, tuple[int, str])
    with pytest.raises(ValueError):
        accept([1.0, math.nan], tuple[float, ...])


def test_other_annotations_are_checked_as_classes():
    assert accept(math.sin, Callable[[float], float]) is math.sin
    assert accept({"a": 1}, dict[str, int]) == {"a": 1}
    with pytest.raises(ValueError):
        accept(3, Callable)
    with pytest.raises(ValueError):
        accept(np.zeros(2), Literal["a", "b"])


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an integer"),
        (Positive, "a finite number > 0"),
        (Fraction, "a finite number >= 0 and < 1"),
        (PositiveInt | None, "an integer > 0 or None"),
        (Literal["sgd", "adam"], "one of sgd, adam"),
        (bool, "True or False"),
        (str, "a string"),
        (tuple[Positive, ...], "a tuple, each element a finite number > 0"),
        (tuple[PositiveInt, PositiveInt], "a tuple of 2 elements, each an integer > 0"),
        (InputError, "InputError"),
    ],
)
def test_annotations_are_described_in_words(hint, words):
    assert describe(hint) == words


@dataclass(frozen=True)
class Thing:
    rate: Positive = 1.0
    kind: Literal["fast", "slow"] = "fast"
    sizes: tuple[PositiveInt, ...] = (1,)
    pace: Literal["fast", "slow"] | None = None
    other: int = 0

    def __post_init__(self):
        fields.check(self, ["rate", "kind", "sizes", "pace"])


def test_check_converts_what_it_accepts():
    thing = Thing(rate=2, sizes=[3, 4])
    assert thing == Thing(rate=2.0, sizes=(3, 4))
    assert type(thing.rate) is float
    assert hash(thing) == hash(Thing(rate=2.0, sizes=(3, 4)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": math.nan}, "Thing.rate is nan; it must be a finite number > 0."),
        ({"rate": "1"}, "Thing.rate is '1'; it must be a finite number > 0."),
        ({"kind": "fats"}, "Thing.kind is 'fats'; it must be one of fast, slow. Did you mean 'fast'?"),
        ({"kind": "xyz"}, "Thing.kind is 'xyz'; it must be one of fast, slow."),
        ({"pace": "slwo"}, "Thing.pace is 'slwo'; it must be one of fast, slow or None. Did you mean 'slow'?"),
        ({"sizes": (1, 0)}, "Thing.sizes is (1, 0); it must be a tuple, each element an integer > 0."),
    ],
)
def test_check_names_the_class_the_field_the_value_and_what_is_allowed(values, message):
    with pytest.raises(InputError) as error:
        Thing(**values)
    assert str(error.value) == message


def test_check_ignores_fields_that_are_not_named():
    assert Thing(other="anything").other == "anything"


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("learning_rat", "learning_rate"),
        ("lr", "learning_rate"),
        ("wd", "weight_decay"),
        ("bs", "batch_size"),
        ("momentun", "momentum"),
        ("epoch", "epochs"),
        ("zzz", None),
        ("beta1", None),
        ("parent", None),
        ("b", None),
        (3, None),
    ],
)
def test_did_you_mean_suggests_the_closest_known_word(word, meant):
    known = ["learning_rate", "momentum", "b1", "b2", "weight_decay", "batch_size", "epochs", "variant"]
    assert fields.did_you_mean(word, known) == (f" Did you mean {meant!r}?" if meant else "")
    assert fields.did_you_mean(word, []) == ""


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.dtype(jnp.bfloat16), jnp.dtype("bfloat16"), ml_dtypes.bfloat16])
def test_a_dtype_becomes_its_name(dtype):
    model = LeNet5(dtype=dtype)
    assert model == LeNet5(dtype="bfloat16") and model.dtype == "bfloat16"
    assert accept(dtype, Literal["float32", "bfloat16"] | None) == "bfloat16"


@pytest.mark.parametrize("dtype", [jnp.float32, np.float32, np.dtype("float32")])
def test_a_numpy_dtype_becomes_its_name(dtype):
    assert LeNet5(dtype=dtype) == LeNet5(dtype="float32")


@pytest.mark.parametrize("dtype", [jnp.float16, float, np.dtype("int32"), LeNet5])
def test_a_dtype_that_is_not_a_choice_is_refused(dtype):
    with pytest.raises(InputError, match=r"LeNet5.dtype is .*; it must be one of float32, bfloat16\."):
        LeNet5(dtype=dtype)
