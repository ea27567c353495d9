"""Nothing in a pickle is run, whatever it asks for, and what it claims costs nothing."""

import contextlib
import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dgunet_jax.convert import torch_pickle
from dgunet_jax.convert.torch_files import read_torch
from tests.convert.torch_bytes import (
    FLOATS,
    VECTOR,
    Make,
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


def payloads(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that make the marker when Python unpickles them, and the name each must ask for."""
    command, code = f"touch '{marker}'", f"open({str(marker)!r}, 'w').close()"
    system = f"{os.system.__module__}.system"
    calls = Call(os.system, command)
    ordered_dict = b"\x80\2ccollections\nOrderedDict\n"
    return {
        "REDUCE": (pickle.dumps(calls, protocol=2), system),
        "STACK_GLOBAL": (pickle.dumps(calls, protocol=4), system),
        "eval": (pickle.dumps(Call(eval, code), protocol=2), "__builtin__.eval"),
        "exec": (pickle.dumps({"params": {"a": Call(exec, code)}}, protocol=5), "builtins.exec"),
        "dotted": (
            b"\x80\4" + text("shutil") + text("os.system") + b"\x93" + text(command) + b"\x85R.",
            "shutil.os.system",
        ),
        "argument of OrderedDict": (
            ordered_dict + b"(]" + text("a") + b"cos\nsystem\n(" + text(command) + b"tR\x86atR.",
            "os.system",
        ),
        "item of OrderedDict": (
            ordered_dict + b")R" + text("a") + b"cos\nsystem\n(" + text(command) + b"tRs.",
            "os.system",
        ),
        "__setstate__ of OrderedDict": (
            ordered_dict + b")R}" + text("__setstate__") + b"cos\nsystem\nsb"
            + text(command) + b"b.",
            "os.system",
        ),
        "__setstate__": (
            b"\x80\2cfunctools\npartial\n(cos\nsystem\ntR(cos\nsystem\n(" + text(command)
            + b"t}}tb)R.",
            "functools.partial",
        ),
        "NEWOBJ": (
            b"\x80\2c__builtin__\nlist\n(c__builtin__\nmap\n(cos\nsystem\n](" + text(command)
            + b"et\x81tR.",
            "__builtin__.list",
        ),
        "INST": (b"\x80\2(" + text(command) + b"ios\nsystem\n.", "os system"),
        "OBJ": (
            b"\x80\2cos\nsystem\n(" + text(command) + b"tR0(cos\nsystem\n" + text(command) + b"o.",
            "os.system",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", payloads(Path()))
def test_nothing_in_a_file_is_run(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    payload, asks_for = payloads(marker)[name]
    with contextlib.suppress(TypeError):
        pickle.loads(payload)
    assert marker.exists(), "the payload does nothing"
    marker.unlink()

    beside = b"\x80\2}(" + text("state_dict") + torch_pickle.dump({"a": VECTOR})[2:-1]
    beside += text("optimizer") + payload[2:-1] + b"u."
    storages = {"0": FLOATS.tobytes()}
    good = torch_pickle.dump({"a": VECTOR})
    end = old_file(good, {}).removesuffix(pickle.dumps([], protocol=2))
    for content in (
        payload,  # a plain pickle
        zip_file(payload, {}),
        zip_file(beside, storages),
        old_file(payload, {}),
        old_file(beside, storages),
        end + payload,  # where the names of the storages should be
        old_file(good, storages).replace(pickle.dumps({"little_endian": True}, 2), payload),
    ):
        message = refusal(tmp_path / "x.pth", content)
        assert message.startswith("refused, its pickle ")
        assert asks_for in message
        assert not marker.exists()


HARMLESS_LOOKING = {
    "state of a name": b"ctorch\nSize\n}" + text("a") + b"K\1sb.",
    "state with slots": b"ccollections\nOrderedDict\nN}" + text("a") + b"K\1s\x86b.",
    "arguments of OrderedDict": b"ccollections\nOrderedDict\n]\x85R.",
    "call of a tensor type": b"ctorch\nFloatStorage\nK\4\x85R.",
    "call of a call": b"ccollections\nOrderedDict\n)R)R.",
    "item of a tuple": b")K\1K\1s.",
    "append to a dict": b"}K\1a.",
    "module": b"(" + text("module") + b"ctorch\nSize\nNNtQ.",
    "id that is no tuple": text("0") + b"Q.",
    "extension": b"\x82\1.",
    "tuple as a key": b"})K\1s.",
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
    np.testing.assert_array_equal(read_torch(tmp_path / "x.pth")["a"], FLOATS)


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


def test_a_pickle_larger_than_any_state_dict_s_is_refused(tmp_path: Path) -> None:
    content = b"\x80\4" + text("a" * (torch_pickle.LARGEST_PICKLE + 1)) + b"]."
    assert "a pickle larger than 16 MiB" in refusal(tmp_path / "x.pth", zip_file(content, {}))
