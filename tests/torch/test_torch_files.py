"""Weight files against PyTorch itself; what needs no PyTorch is in tests/convert."""

import argparse
import collections
import datetime
import decimal
import http
import operator
import random
import uuid
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from dgunet_jax.checkpoints import load
from dgunet_jax.convert import state_dict
from dgunet_jax.convert.pytorch import to_pytorch
from dgunet_jax.convert.torch_file import read_torch, write_torch
from dgunet_jax.system.errors import UserError
from tests.convert.torch_bytes import arrays
from tests.small import network
from tests.torch import make_fixtures

FIXTURES = Path(__file__).parents[1] / "fixtures"
FORMATS = {"zip": True, "old": False}


def assert_same(found: dict[str, np.ndarray], tensors: dict[str, torch.Tensor]) -> None:
    """Same names in the same order, same shapes, types (bfloat16 as float32) and bits."""
    assert list(found) == list(tensors)
    for key, tensor in tensors.items():
        tensor = tensor.detach()
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        assert found[key].dtype == expected.dtype, key
        assert found[key].shape == expected.shape, key
        assert found[key].tobytes() == expected.tobytes(), key


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_every_type_and_layout_reads_bit_for_bit(tmp_path: Path, new: bool) -> None:
    tensors = make_fixtures.views()
    tensors["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    tensors["bfloat16 special"] = tensors["special"].to(torch.bfloat16)
    tensors["repeated"] = torch.arange(3.0).expand(4, 3)
    tensors["complex"] = torch.tensor([1 + 2j])
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert_same(arrays(tmp_path / "x.pth"), tensors)


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_every_pickle_protocol(tmp_path: Path, new: bool) -> None:
    module, beside = make_fixtures.checkpoint()
    beside |= {"device": torch.device("cpu"), "dtype": torch.float32, "size": torch.Size([1, 2])}
    for protocol in (2, 3, 4, 5):
        torch.save(
            {**beside, "state_dict": module.state_dict()},
            tmp_path / "x.pth",
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=new,
        )
        assert_same(arrays(tmp_path / "x.pth"), module.state_dict())


class Kept(OrderedDict):
    """A class that only the training script has."""


def with_attribute(tensor: torch.Tensor) -> torch.Tensor:
    vars(tensor)["decay"] = False
    return tensor


def optimizing() -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    optimizer = torch.optim.AdamW([parameter])
    optimizer.step()
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)


# Names by which a released network is recognised, without its other weights.
NAMES = ("r0", "basic.r1", "phi_0.body.0.weight")
SAVED: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "subclass": Kept,
    "half": lambda state: {key: value.half() for key, value in state.items()},
    "parameters": lambda state: {key: torch.nn.Parameter(value) for key, value in state.items()},
    "buffers": lambda state: {key: torch.nn.Buffer(value) for key, value in state.items()},
    "attributes": lambda state: {key: with_attribute(value) for key, value in state.items()},
    "arrays": lambda state: {key: value.numpy() for key, value in state.items()},
    "pairs": lambda state: list(state.items()),
    "in a list": lambda state: [{"lr": 1e-4}, state],
    "in a namespace": lambda state: argparse.Namespace(model=state),
    "in a default dict": lambda state: collections.defaultdict(dict, model=state),
    "optimizer objects": lambda state: {"net": state, "beside": optimizing()},
    "optimizer states": lambda state: {
        "net": state,
        "beside": [each.state_dict() for each in optimizing()],
    },
    "a module": lambda state: {"net": state, "criterion": torch.nn.PReLU()},
    "generators": lambda state: {
        "rng": [torch.get_rng_state(), random.getstate(), np.random.get_state()],
        "net": state,
    },
    "settings": lambda state: {
        "args": argparse.Namespace(path=Path("x"), when=datetime.datetime(2024, 1, 2)),
        "enum": http.HTTPStatus.OK,
        "version": torch.__version__,
        "number": decimal.Decimal(1),
        "id": uuid.UUID(int=5),
        "net": state,
    },
    "other tensors": lambda state: {
        "sparse": torch.eye(2).to_sparse(),
        "float8": torch.ones(2).to(torch.float8_e4m3fn),
        "uint16": torch.ones(2).to(torch.uint16),
        "storage": torch.arange(3.0).untyped_storage(),
        "net": state,
    },
}


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", SAVED)
def test_weights_are_found_in_whatever_is_saved(tmp_path: Path, name: str, new: bool) -> None:
    state = {key: torch.arange(3.0) + n for n, key in enumerate(NAMES)}
    torch.save(SAVED[name](state), tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    saved = read_torch(tmp_path / "x.pth")
    found, notes = state_dict.choose(saved.root, None, operator.is_)
    assert notes == []
    read = saved.arrays(found.tensors)
    assert set(read) == set(state)
    for key, value in state.items():
        np.testing.assert_array_equal(read[key], value.numpy())


OTHER_TENSORS = {
    "sparse": lambda tensor: tensor.to_sparse(),
    "float8_e4m3fn": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "meta": lambda tensor: tensor.to("meta"),
}


@pytest.mark.parametrize("kind", OTHER_TENSORS)
def test_weights_of_another_kind_are_named(tmp_path: Path, kind: str) -> None:
    state = {key: torch.from_numpy(value) for key, value in to_pytorch(*network()).items()}
    state["phi_0.body.0.bias"] = OTHER_TENSORS[kind](state["phi_0.body.0.bias"])
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(UserError, match=rf"x\.pth: .*phi_0\.body\.0\.bias is a {kind} tensor"):
        load(tmp_path / "x.pth")


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_parameters_with_attributes(tmp_path: Path, new: bool) -> None:
    parameter = torch.nn.Parameter(torch.arange(3.0))
    vars(parameter)["decay"] = False
    torch.save({"p": parameter}, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert_same(arrays(tmp_path / "x.pth"), {"p": parameter})


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_many_tensors_and_long_names(tmp_path: Path, new: bool) -> None:
    # More than 256 of them, so that the pickle refers to its memo with long indices.
    tensors = {f"{'body.' * 60}{n}": torch.full((n % 3,), n) for n in range(700)}
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert_same(arrays(tmp_path / "x.pth"), tensors)


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_a_whole_module_has_the_weights_of_its_state_dict(tmp_path: Path, new: bool) -> None:
    inner = torch.nn.Module()
    inner.r1 = torch.nn.Parameter(torch.ones(1))
    module = torch.nn.Module()
    module.basic, module.r0 = inner, torch.nn.Parameter(torch.zeros(1))
    module.register_buffer("phi", torch.ones(3))
    saved = {"model": torch.nn.DataParallel(module)}
    torch.save(saved, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    read = read_torch(tmp_path / "x.pth")
    found, _ = state_dict.choose(read.root, None, operator.is_)
    assert_same(read.arrays(found.tensors), module.state_dict())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.PReLU()).save(tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: is a TorchScript archive"):
        read_torch(tmp_path / "x.pt")


def test_torch_loads_what_write_torch_writes(tmp_path: Path) -> None:
    random = np.random.RandomState(2)
    values = random.standard_normal((2, 3, 5, 7))
    written = {
        "body.0.weight": values.astype(np.float32),
        "another": values.astype(np.float16),
        "double": values,
        "transposed": values.T,
        "bfloat16": values.astype(ml_dtypes.bfloat16),
        "big endian": values.astype(">f4"),
        "ints": random.randint(-100, 100, size=300).astype(np.int8),
        "flags": values[0, 0] > 0,
        "scalar": np.array(3, np.int64),
        "empty": np.zeros((3, 0, 2), np.float32),
    }
    written |= {f"many.{n}": np.full(1, n, np.int64) for n in range(300)}
    write_torch(tmp_path / "x.pth", written, {"num_stages": 3})

    for mmap in (False, True):
        loaded = torch.load(tmp_path / "x.pth", weights_only=True, mmap=mmap)["state_dict"]
        assert list(loaded) == list(written)
        for key, array in written.items():
            assert loaded[key].is_contiguous()
            assert str(loaded[key].dtype) == f"torch.{array.dtype.name}"
            values = loaded[key].float() if key == "bfloat16" else loaded[key]
            np.testing.assert_array_equal(values.numpy(), array.astype(values.numpy().dtype))
    module = torch.nn.Module()
    module.another = torch.nn.Parameter(torch.zeros(2, 3, 5, 7))
    module.load_state_dict(loaded, strict=False)


def test_committed_fixtures_hold_what_make_fixtures_writes(tmp_path: Path) -> None:
    make_fixtures.main(tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {path.name for path in FIXTURES.glob("*.pth")}
    for name in made:
        fresh, committed = arrays(tmp_path / name), arrays(FIXTURES / name)
        assert list(fresh) == list(committed)
        for key, array in fresh.items():
            assert array.dtype == committed[key].dtype
            np.testing.assert_array_equal(array, committed[key], strict=True)
        # PyTorch reads what is saved beside the weights, once it is told to allow a NumPy scalar.
        allowed = [np.dtype, type(np.dtype("f8")), np.float64(0).__reduce__()[0]]
        with torch.serialization.safe_globals(allowed):
            both = [torch.load(folder / name, weights_only=True) for folder in (tmp_path, FIXTURES)]
        assert list(both[0]) == list(both[1])
