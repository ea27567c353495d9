"""Nothing in a pickle is run, whatever it asks for, and what it claims costs nothing."""

import collections
import contextlib
import datetime
import io
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dgunet_jax.convert import torch_pickle
from dgunet_jax.convert.storage import BadCheckpoint, InlineArray, Opaque
from tests.convert.torch_bytes import (
    FLOATS,
    VECTOR,
    Make,
    arrays,
    each_format,
    old_file,
    refusal,
    text,
    zip_file,
)


class Call:
    """Unpickling it calls the function."""

    def __init__(self, function: Callable[..., object], *arguments: object):
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def payloads(marker: Path) -> dict[str, bytes]:
    """Pickles that make the marker when Python unpickles them."""
    command, code = f"touch '{marker}'", f"open({str(marker)!r}, 'w').close()"
    calls = Call(os.system, command)
    ordered_dict = b"\x80\2ccollections\nOrderedDict\n"
    return {
        "REDUCE": pickle.dumps(calls, protocol=2),
        "STACK_GLOBAL": pickle.dumps(calls, protocol=4),
        "eval": pickle.dumps(Call(eval, code), protocol=2),
        "exec": pickle.dumps({"params": {"a": Call(exec, code)}}, protocol=5),
        "dotted": b"\x80\4" + text("shutil") + text("os.system") + b"\x93" + text(command)
        + b"\x85R.",
        "argument of OrderedDict": ordered_dict + b"(]" + text("a") + b"cos\nsystem\n("
        + text(command) + b"tR\x86atR.",
        "item of OrderedDict": ordered_dict + b")R" + text("a") + b"cos\nsystem\n("
        + text(command) + b"tRs.",
        "__setstate__ of OrderedDict": ordered_dict + b")R}" + text("__setstate__")
        + b"cos\nsystem\nsb" + text(command) + b"b.",
        "__setstate__": b"\x80\2cfunctools\npartial\n(cos\nsystem\ntR(cos\nsystem\n("
        + text(command) + b"t}}tb)R.",
        "NEWOBJ": b"\x80\2c__builtin__\nlist\n(c__builtin__\nmap\n(cos\nsystem\n]("
        + text(command) + b"et\x81tR.",
        "INST": b"\x80\2(" + text(command) + b"ios\nsystem\n.",
        "OBJ": b"\x80\2cos\nsystem\n(" + text(command) + b"tR0(cos\nsystem\n" + text(command)
        + b"o.",
    }  # fmt: skip


@pytest.mark.parametrize("name", payloads(Path()))
def test_nothing_in_a_file_is_run(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    payload = payloads(marker)[name]
    with contextlib.suppress(TypeError):
        pickle.loads(payload)
    assert marker.exists(), "the payload does nothing"
    marker.unlink()

    beside = b"\x80\2}(" + text("state_dict") + torch_pickle.dump({"a": VECTOR})[2:-1]
    beside += text("optimizer") + payload[2:-1] + b"u."
    storages = {"0": FLOATS.tobytes()}
    good = torch_pickle.dump({"a": VECTOR})
    end = old_file(good, {}).removesuffix(pickle.dumps([], protocol=2))
    path = tmp_path / "x.pth"
    refusal(path, payload)  # a plain pickle
    refusal(path, end + payload)  # where the names of the storages should be
    for make in (zip_file, old_file):
        assert refusal(path, make(payload, {})).startswith("holds ")
    facts = pickle.dumps({"little_endian": True}, 2)
    for content in (
        zip_file(beside, storages),
        old_file(beside, storages),
        old_file(good, storages).replace(facts, payload),
    ):
        path.write_bytes(content)
        np.testing.assert_array_equal(arrays(path)["a"], FLOATS)
    assert not marker.exists()


HARMLESS_LOOKING = {
    "call of a dict": b"ccollections\nOrderedDict\n)R)R.",
    "call without arguments": b"ccollections\nOrderedDict\nNR.",
    "item of a tuple": b")K\1K\1s.",
    "append to a dict": b"}K\1a.",
    "id that is no tuple": text("0") + b"Q.",
    "name that is no text": b"K\1K\2\x93.",
    "persistent id in protocol 0": b"P0\n.",
}


@each_format
@pytest.mark.parametrize("content", HARMLESS_LOOKING.values(), ids=HARMLESS_LOOKING)
def test_known_names_are_good_for_nothing_else(tmp_path: Path, make: Make, content: bytes) -> None:
    message = refusal(tmp_path / "x.pth", make(b"\x80\2" + content, {}))
    assert message.startswith("refused, its pickle ")


def test_names_and_states_leave_no_trace(tmp_path: Path) -> None:
    # Python's unpickler would call the first state with the second.
    state = b"}" + text("__setstate__") + b"ctorch\nSize\nsb" + b"}b"
    content = torch_pickle.dump({"a": VECTOR}).removesuffix(b".") + state + b"."
    (tmp_path / "x.pth").write_bytes(zip_file(content, {"0": FLOATS.tobytes()}))
    np.testing.assert_array_equal(arrays(tmp_path / "x.pth")["a"], FLOATS)


class Unknown:
    """What no state dict has."""

    def __init__(self) -> None:
        self.attribute = 5


def test_objects_are_not_built_and_protocols_do_not_matter() -> None:
    value = {
        "object": Unknown(),
        "path": Path("x"),
        "date": datetime.date(2024, 1, 2),
        "set": {1},
        "frozen": frozenset({1}),
        "deque": collections.deque([1], 3),
        "default": collections.defaultdict(list, a=[1]),
        "class": Unknown,
        "complex": 1j,
        "bytearray": bytearray(b"a"),
        "number": 2**80,
        "plain": [None, True, -1, 1.5, "a", "ü" * 300, (1,), (1, 2, 3, 4), {"a": {}}],
        (1, 2): "tuples cannot be keys here",
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        read = torch_pickle.load(io.BytesIO(pickle.dumps(value, protocol)))
        assert read["plain"] == value["plain"]
        assert read["number"] == value["number"]
        assert {*read} == {*value} - {(1, 2)}
        assert isinstance(read["object"], Opaque)
        assert read["object"].state == {"attribute": 5}
        assert read["default"].items == {"a": [1]}
        for name in ("path", "date", "deque"):
            assert isinstance(read[name], Opaque)
        assert "a name" in torch_pickle.kind(read["class"]).replace("the name", "a name")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "f2", "i8", "?"])
def test_arrays_of_numpy_are_read_from_the_pickle(protocol: int, order: Any, dtype: str) -> None:
    array = np.asarray(np.arange(6).reshape(2, 3), dtype, order=order)
    found = torch_pickle.load(io.BytesIO(pickle.dumps(array, protocol)))
    found = torch_pickle.inline_array(found)
    assert isinstance(found, InlineArray)
    assert found.array().dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(found.array(), array)


def test_arrays_of_other_elements_stay_objects() -> None:
    for array in (np.array([object()]), np.array(["a"]), np.array([1j])):
        found = torch_pickle.load(io.BytesIO(pickle.dumps(array, 2)))
        assert isinstance(torch_pickle.inline_array(found), Opaque)
    short = pickle.dumps(np.arange(3.0), 4).replace(b"\x43\x18", b"\x43\x10")
    short = short.replace(np.arange(3.0).tobytes(), np.arange(2.0).tobytes())
    found = torch_pickle.inline_array(torch_pickle.load(io.BytesIO(short)))
    assert isinstance(found, InlineArray)
    with pytest.raises(BadCheckpoint, match="has 16 bytes, not 24"):
        found.array()


HUGE_CLAIMS = {
    "memo index": b"}r\xff\xff\xff\x7f",
    "text": b"X\xff\xff\xff\xff",
    "long text": b"\x8d\0\0\0\0\0\x01\0\0",
    "bytes": b"\x8e\0\0\0\0\0\x01\0\0",
    "bytearray": b"\x96\0\0\0\0\0\x01\0\0",
    "number": b"\x8b\xff\xff\xff\x7f",
    "frame": b"\x95\0\0\0\0\0\x01\0\0.",
    "key that is deeply nested": b"}" + b")" + b"\x85" * 20_000 + b"Ns.",
    "name that is deeply nested": b")" + b"\x85" * 20_000 + b"N\x93.",
    "deeply nested": b"]" * 20_000 + b"a" * 19_999 + b".",
    "long name": b"c" + b"a" * 100_000 + b"\nb\n.",
    "long line": b"I" + b"1" * 100_000 + b"\n.",
    "objects in objects": b"cos\nsystem\n" + b")R" * 20_000 + b".",
    "states of states": b"ca\nb\n)\x81" + b"ca\nb\n)\x81" * 20_000 + b"b" * 20_000 + b".",
    "types of types": b"ctorch._tensor\n_rebuild_from_type_v2\n" * 5_000
    + b"N)\x87R" * 5_000
    + b".",
}


@each_format
@pytest.mark.parametrize("content", HUGE_CLAIMS.values(), ids=HUGE_CLAIMS)
def test_claims_cannot_exhaust_memory_or_stack(tmp_path: Path, make: Make, content: bytes) -> None:
    file = make(b"\x80\4" + content, {})
    tracemalloc.start()
    try:
        refusal(tmp_path / "x.pth", file)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@each_format
def test_names_with_a_bad_escape(tmp_path: Path, make: Make) -> None:
    refusal(tmp_path / "x.pth", make(b"\x80\2c\\qos\nsystem\n.", {}))


def test_a_pickle_larger_than_any_state_dict_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_pickle, "LARGEST_PICKLE", 2**20)
    path = tmp_path / "x.pth"
    many = b"\x80\4" + b"]0" * 2**19 + b"]."
    assert "a pickle larger than 1 MiB" in refusal(path, zip_file(many, {}))
    # A long text takes no more memory than it does in the file.
    assert "holds a list" in refusal(path, zip_file(b"\x80\4" + text("a" * 2**21) + b"].", {}))
