"""Lists in messages."""

import pytest

from dgunet_jax.system.errors import counted, either, listed


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2 and 1 more")]
)
def test_the_first_items_are_listed_and_the_others_counted(count: int, text: str):
    assert listed([str(i) for i in range(count)], 3) == text


@pytest.mark.parametrize(
    ("items", "text"), [([8], "8"), ([8, 16], "8 or 16"), (("a", "b", "c"), "a, b or c")]
)
def test_choices(items, text: str):
    assert either(items) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 pairs"), (1, "1 pair"), (12, "12 pairs")])
def test_one_is_singular(number: int, text: str):
    assert counted(number, "pair") == text
