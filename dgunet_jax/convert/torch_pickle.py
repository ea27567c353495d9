"""PyTorch's pickles read as data, by an interpreter that can run nothing, and written.

The interpreter knows the few opcodes that `torch.save` writes for a checkpoint and the names in
`_NAMES`. A name is never looked up in a module and no object of the file is ever called: tensors
become `StoredTensor` records, everything else becomes plain values or is dropped.

`pickle.Unpickler` with a restricted `find_class` is not strict enough. Its BUILD sets attributes of
any object, a flipped bit in a memo index or in a length makes it allocate gigabytes, and a key that
is a deeply nested tuple overflows the C stack when hashed.
"""

import dataclasses
import pickle
import pickletools
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO, NoReturn

from dgunet_jax.convert.stored import STORAGES, BadCheckpoint, Storage, StoredTensor, shown

LARGEST_PICKLE = 2**24
"""Bytes; a tensor takes about 150 of them. Opcodes of one byte make objects of up to 64."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Name:
    """A global the pickle asked for: no more than its name."""

    name: str


class _Dropped:
    """A value that weights do not need: a NumPy scalar, a torch.device, a torch.dtype."""


_DROPPED = _Dropped()
_STORAGE_NAMES = {f"torch.{name}": dtype for name, dtype in STORAGES.items()}
_DROPPED_CALLS = (
    "_codecs.encode",  # the bytes of a NumPy scalar
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "torch.device",
)
_NAMES = {
    "collections.OrderedDict",
    "collections.Counter",  # milestones of a learning rate schedule
    "torch.Size",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    *_DROPPED_CALLS,
    *_STORAGE_NAMES,
}
_DTYPES = {f"torch.{dtype}" for dtype in STORAGES.values()}


def load(stream: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
    """The value of one pickle; `stream` is left at the byte behind it.

    Args:
      stream: an in-memory file, whose `read` cannot be made to return more than there is.
      storages: receives every storage the pickle names. None: it may not name any.

    Returns:
      None, bool, int, float, str, bytes, tuple, list, dict, `StoredTensor` for a tensor, and an
      opaque object for what weights do not need.

    Raises:
      BadCheckpoint: the pickle is damaged, too large, or asks for anything else.
    """
    machine = _Machine(storages)
    start = position = stream.tell()
    try:
        for opcode, argument, at in pickletools.genops(stream):
            position = start if at is None else at
            if position - start > LARGEST_PICKLE:
                raise BadCheckpoint(f"has a pickle larger than {LARGEST_PICKLE >> 20} MiB")
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except (ValueError, LookupError, Warning) as error:  # pickletools warns of a bad backslash
        raise BadCheckpoint(
            f"has a pickle that is damaged or cut off near byte {position}"
        ) from error


def dump(state_dict: Mapping[str, StoredTensor]) -> bytes:
    """The pickle of an OrderedDict of tensors, as `torch.save` would write it but for the memo."""
    ordered_dict = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    names = {dtype: name for name, dtype in STORAGES.items()}
    parts = [pickle.PROTO, b"\2", ordered_dict, pickle.MARK]
    for key, tensor in state_dict.items():
        storage = tensor.storage
        parts += [
            _plain(key),
            _global("torch._utils", "_rebuild_tensor_v2"),
            pickle.MARK,
            pickle.MARK,
            _plain("storage"),
            _global("torch", names[storage.dtype]),
            _plain(storage.key),
            _plain("cpu"),
            _plain(storage.count),
            pickle.TUPLE + pickle.BINPERSID,
            _plain(tensor.offset),
            _plain(tensor.shape),
            _plain(tensor.strides),
            pickle.NEWFALSE,  # requires_grad
            ordered_dict,  # backward hooks
            pickle.TUPLE + pickle.REDUCE,
        ]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])


class _Machine:
    """The stack, its marks and the memo."""

    def __init__(self, storages: dict[str, Storage] | None):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages = storages

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINBYTES" | "SHORT_BINBYTES":
                stack.append(argument)
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                items = self.pop_to_mark()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(opcode[-1]))]
                stack.append(tuple(reversed(items)))
            case "BINPERSID":
                stack.append(self.storage(stack.pop()))
            case "GLOBAL":
                stack.append(_look_up(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                match stack.pop(), stack.pop():
                    case str(name), str(module):
                        stack.append(_look_up(f"{module}.{name}"))
                    case name, module:
                        _refuse(f"asks for {kind(name)} of {kind(module)}")
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_rebuild(function, arguments))
            case "BUILD":
                state = stack.pop()
                # The state of an OrderedDict is PyTorch's `_metadata`; weights do not need it.
                if not isinstance(stack[-1], dict | _Dropped):
                    _refuse(f"sets the state of {kind(stack[-1])} to {kind(state)}")
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                items = [stack.pop(), stack.pop()]
                self.set_items(items[::-1])
            case "SETITEMS":
                self.set_items(self.pop_to_mark())
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND":
                self.extend([stack.pop()])
            case "APPENDS":
                self.extend(self.pop_to_mark())
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _:
                _refuse(f"contains {opcode} {shown(argument)}")

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            _refuse(f"appends to {kind(self.stack[-1])}")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            _refuse(f"sets items of {kind(self.stack[-1])}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int | float | None):
                _refuse(f"has {kind(key)} as a key")
            self.stack[-1][key] = value

    def storage(self, identity: Any) -> Storage:
        """The storage of ("storage", type, key, device, count), which may have a None behind it."""
        if self.storages is None:
            _refuse("names a storage where there is none")
        match identity:
            case ("storage", _Name(name), str(key), _, int(count), *view) if (
                name in _STORAGE_NAMES and 0 <= count <= sys.maxsize and view in ([], [None])
            ):
                storage = Storage(key, _STORAGE_NAMES[name], count)
            case _:
                _refuse("has a persistent id that is not a storage's")
        if self.storages.setdefault(key, storage) != storage:
            raise BadCheckpoint(f"gives storage {shown(key)} two types or sizes")
        return storage


def _refuse(reason: str) -> NoReturn:
    raise BadCheckpoint(f"refused, its pickle {reason}; a state dict has no need of that")


def kind(value: object) -> str:
    """What `value` is, without showing it."""
    match value:
        case None:
            return "None"
        case StoredTensor() | Storage():
            return "a tensor"
        case _Name(name):
            return name
        case _Dropped():
            return "a value that is no weight"
    name = type(value).__name__
    return f"an {name}" if name == "int" else f"a {name}"


def _look_up(name: str) -> _Name | _Dropped:
    if name in _DTYPES:
        return _DROPPED
    if name not in _NAMES:
        _refuse(f"asks for {shown(name)}")
    return _Name(name)


def _rebuild(function: Any, arguments: Any) -> Any:
    """What calling `function` would give. What is made must not be larger than what made it."""
    if not isinstance(function, _Name) or not isinstance(arguments, tuple):
        _refuse(f"calls {kind(function)}")
    match function.name, arguments:
        case "collections.OrderedDict", ():
            return {}
        case "collections.Counter", (dict(counts),):
            return counts
        case "torch.Size", (tuple(sizes),):
            return sizes
        case (
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
            (Storage() as storage, offset, shape, strides, *_),
        ):
            (offset,) = _sizes((offset,))
            return StoredTensor(storage, offset, _sizes(shape), _sizes(strides))
        case (
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
            (StoredTensor() as tensor, *_),
        ):
            return tensor
        case name, _ if name in _DROPPED_CALLS:
            return _DROPPED
    _refuse(f"calls {function.name} with {', '.join(map(kind, arguments[:4])) or 'nothing'}")


def _sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > 32:
        raise BadCheckpoint(f"has a tensor with {kind(values)} as its shape or strides")
    for value in values:
        if type(value) is not int or not 0 <= value <= sys.maxsize:
            number = shown(value) if type(value) is int else kind(value)
            raise BadCheckpoint(f"has a tensor with {number} as a size, stride or offset")
    return values


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _plain(value: str | int | tuple[int, ...]) -> bytes:
    """A value without the opcodes around it: PROTO with its version in front, STOP behind.

    What it puts into the memo is never fetched.
    """
    return pickle.dumps(value, protocol=2)[2:-1]
