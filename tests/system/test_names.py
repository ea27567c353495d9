import pytest

from dgunet_jax.system.errors import csv_cell, is_text, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat.png", "cat.png"),
        ("Übung σ 雨.png", "Übung σ 雨.png"),
        ("f\udcfcr.png", r"f\xfcr.png"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("a\x9b31mb\x7f", r"a\x9b31mb\x7f"),
        ("gpj\u202egnp.exe", r"gpj\u202egnp.exe"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_printable(text: str, shown: str):
    assert printable(text) == shown
    printable(text).encode("utf-8")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a.png", "a.png"),
        ("=1+1.png", "'=1+1.png"),
        ("+1.png", "'+1.png"),
        ("-1.png", "'-1.png"),
        ("@SUM(A1).png", "'@SUM(A1).png"),
        ("\t=1.png", r"\t=1.png"),
        ("a=1.png", "a=1.png"),
    ],
)
def test_csv_cell(text: str, cell: str):
    assert csv_cell(text) == cell


def test_is_text():
    assert is_text("Übung.png")
    assert not is_text("f\udcfcr.png")
