"""Weight files against PyTorch itself; what needs no PyTorch is in tests/convert."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from dgunet_jax.convert.torch_files import read_torch, write_torch
from dgunet_jax.errors import UserError
from tests.torch import make_fixtures

FIXTURES = Path(__file__).parents[1] / "fixtures"
FORMATS = {"zip": True, "old": False}


def assert_same(arrays: dict[str, np.ndarray], tensors: dict[str, torch.Tensor]) -> None:
    """Same names in the same order, same shapes, types (bfloat16 as float32) and bits."""
    assert list(arrays) == list(tensors)
    for key, tensor in tensors.items():
        tensor = tensor.detach()
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        assert arrays[key].dtype == expected.dtype, key
        assert arrays[key].shape == expected.shape, key
        assert arrays[key].tobytes() == expected.tobytes(), key


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_every_type_and_layout_reads_bit_for_bit(tmp_path: Path, new: bool) -> None:
    tensors = make_fixtures.views()
    tensors["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    tensors["bfloat16 special"] = tensors["special"].to(torch.bfloat16)
    tensors["repeated"] = torch.arange(3.0).expand(4, 3)
    tensors["complex"] = torch.tensor([1 + 2j])
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert_same(read_torch(tmp_path / "x.pth"), tensors)


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_wrapped_state_dicts_and_every_pickle_protocol(tmp_path: Path, new: bool) -> None:
    network, beside = make_fixtures.checkpoint()
    beside |= {"device": torch.device("cpu"), "dtype": torch.float32, "size": torch.Size([1, 2])}
    state_dict = network.state_dict()
    for wrapper in ("state_dict", "model_state_dict", "params", "model", None):
        for protocol in (2, 3, 4, 5):
            saved = state_dict if wrapper is None else {**beside, wrapper: state_dict}
            torch.save(
                saved,
                tmp_path / "x.pth",
                pickle_protocol=protocol,
                _use_new_zipfile_serialization=new,
            )
            assert_same(read_torch(tmp_path / "x.pth"), state_dict)


def test_a_wrapper_of_another_name_is_told(tmp_path: Path) -> None:
    network, beside = make_fixtures.checkpoint()
    torch.save({"optimizer": beside["optimizer"], "net": network.state_dict()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth: holds a dict under 'optimizer'.*state_dict, "):
        read_torch(tmp_path / "x.pth")


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_parameters_with_attributes(tmp_path: Path, new: bool) -> None:
    parameter = torch.nn.Parameter(torch.arange(3.0))
    vars(parameter)["decay"] = False
    torch.save({"p": parameter}, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert_same(read_torch(tmp_path / "x.pth"), {"p": parameter})


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_many_tensors_and_long_names(tmp_path: Path, new: bool) -> None:
    # More than 256 of them, so that the pickle refers to its memo with long indices.
    tensors = {f"{'body.' * 60}{n}": torch.full((n % 3,), n) for n in range(700)}
    torch.save(tensors, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    assert_same(read_torch(tmp_path / "x.pth"), tensors)


@pytest.mark.parametrize("new", FORMATS.values(), ids=FORMATS)
def test_a_pickled_module_is_refused(tmp_path: Path, new: bool) -> None:
    module = torch.nn.PReLU()
    torch.save(module, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(UserError, match=r"x\.pth: refused, .*'torch.nn.modules.activation.PReLU'"):
        read_torch(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_is_refused_by_name(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.PReLU()).save(tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: is a TorchScript archive"):
        read_torch(tmp_path / "x.pt")


def test_torch_loads_what_write_torch_writes(tmp_path: Path) -> None:
    random = np.random.RandomState(2)
    values = random.standard_normal((2, 3, 5, 7))
    arrays = {
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
    arrays |= {f"many.{n}": np.full(1, n, np.int64) for n in range(300)}
    write_torch(tmp_path / "x.pth", arrays)

    for mmap in (False, True):
        loaded = torch.load(tmp_path / "x.pth", weights_only=True, mmap=mmap)
        assert list(loaded) == list(arrays)
        for key, array in arrays.items():
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
        fresh, committed = read_torch(tmp_path / name), read_torch(FIXTURES / name)
        assert list(fresh) == list(committed)
        for key, array in fresh.items():
            assert array.dtype == committed[key].dtype
            np.testing.assert_array_equal(array, committed[key], strict=True)
        # PyTorch reads what is saved beside the weights, once it is told to allow a NumPy scalar.
        allowed = [np.dtype, type(np.dtype("f8")), np.float64(0).__reduce__()[0]]
        with torch.serialization.safe_globals(allowed):
            both = [torch.load(folder / name, weights_only=True) for folder in (tmp_path, FIXTURES)]
        assert list(both[0]) == list(both[1])
