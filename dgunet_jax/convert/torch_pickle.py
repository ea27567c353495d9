"""PyTorch's pickles read as data, by an interpreter that can run nothing, and written.

A name is never looked up in a module and no object of the file is ever built or called. Tensors
become `StoredTensor` records, containers and plain values become themselves, and all else, which
training scripts save beside the weights, becomes `Opaque` records.

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

import numpy as np

from dgunet_jax.convert.storage import (
    STORAGES,
    UNREAD_STORAGES,
    BadCheckpoint,
    InlineArray,
    Opaque,
    Storage,
    StoredTensor,
    UnreadTensor,
    shown,
)

LARGEST_PICKLE = 2**24
"""Bytes without long texts and byte strings, which take no more memory than they do in the file. A
tensor takes about 150 of them. Opcodes of one byte make objects of up to 64."""

_LONG = 100  # characters or bytes


@dataclasses.dataclass(frozen=True, slots=True)
class _Name:
    """A global the pickle asked for: no more than its name."""

    name: str


_STORAGE_NAMES = {f"torch.{name}": dtype for name, dtype in (STORAGES | UNREAD_STORAGES).items()}
_STORAGE_NAMES["torch.storage.UntypedStorage"] = UNREAD_STORAGES["UntypedStorage"]
_UNREAD = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_meta_tensor_no_storage": "meta",
    "torch._utils._rebuild_wrapper_subclass": "wrapped",
}
_ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_ARRAYS_OF_BUFFERS = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_ARRAY_TYPES = {
    np.dtype(name).str[1:]: name
    for name in ("float16", "float32", "float64", "int64", "int32", "uint8", "bool")
}


def load(stream: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
    """Return the value of one pickle; `stream` is left at the byte behind it.

    Args:
      stream: an in-memory file, whose `read` cannot be made to return more than there is.
      storages: receives every storage the pickle names. None: it may not name any.

    Returns:
      None, bool, int, float, str, bytes, tuple, list, dict, `StoredTensor` or `UnreadTensor` for a
      tensor, and `Opaque` for any other object. Items of a dict whose key is none of None, bool,
      int, float and str are left out.

    Raises:
      BadCheckpoint: the pickle is damaged or too large.
    """
    machine = _Machine(storages)
    start = position = stream.tell()
    argument: Any = None
    left = LARGEST_PICKLE
    try:
        for opcode, following, at in pickletools.genops(stream):
            behind = start if at is None else at
            if not (isinstance(argument, str | bytes | bytearray) and len(argument) > _LONG):
                left -= behind - position
            position, argument = behind, following
            if left < 0:
                raise BadCheckpoint(f"has a pickle larger than {LARGEST_PICKLE >> 20} MiB")
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except BadCheckpoint:
        raise
    except (ValueError, LookupError, Warning) as error:  # pickletools warns of a bad backslash
        raise BadCheckpoint(
            f"has a pickle that is damaged or cut off near byte {position}"
        ) from error


def dump(state_dict: Mapping[str, StoredTensor], beside: Mapping[str, int] | None = None) -> bytes:
    """Return the pickle of an OrderedDict of tensors, as `torch.save` writes it but for the memo.

    Args:
      beside: given, the OrderedDict is under `state_dict` in a dict with these.
    """
    content = _dumped(state_dict)
    if beside is not None:
        items = [_plain("state_dict"), content]
        items += [part for key, value in beside.items() for part in (_plain(key), _plain(value))]
        content = pickle.EMPTY_DICT + pickle.MARK + b"".join(items) + pickle.SETITEMS
    return pickle.PROTO + b"\2" + content + pickle.STOP


def _dumped(state_dict: Mapping[str, StoredTensor]) -> bytes:
    ordered_dict = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    names = {dtype: name for name, dtype in STORAGES.items()}
    parts = [ordered_dict, pickle.MARK]
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
    return b"".join([*parts, pickle.SETITEMS])


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
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self.memo[argument])
            case _ if opcode in _PLAIN:
                stack.append(argument)
            case "MARK":
                self.marks.append(len(stack))
            case "POP":
                if self.marks and self.marks[-1] == len(stack):
                    self.marks.pop()
                else:
                    stack.pop()
            case "POP_MARK":
                self.pop_to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE":
                items = self.pop_to_mark()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = [stack.pop() for _ in range(int(opcode[-1]))]
                stack.append(tuple(reversed(items)))
            case "LIST":
                stack.append(self.pop_to_mark())
            case "DICT":
                items = self.pop_to_mark()
                stack.append({})
                self.set_items(items)
            case "BINPERSID":
                stack.append(self.referred(stack.pop()))
            case "GLOBAL":
                stack.append(_Name(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                match stack.pop(), stack.pop():
                    case str(name), str(module):
                        stack.append(_Name(f"{module}.{name}"))
                    case name, module:
                        _refuse(f"asks for {kind(name)} of {kind(module)}")
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_called(function, arguments))
            case "NEWOBJ_EX":
                named, arguments, function = stack.pop(), stack.pop(), stack.pop()
                stack.append(Opaque(_name(function), (arguments, named)))
            case "INST":
                items = self.pop_to_mark()
                stack.append(Opaque(argument.replace(" ", ".", 1), items))
            case "OBJ":
                function, *items = self.pop_to_mark()
                stack.append(Opaque(_name(function), items))
            case "BUILD":
                state = stack.pop()
                # Of an OrderedDict it is PyTorch's `_metadata`; weights do not need it.
                if isinstance(stack[-1], Opaque):
                    stack[-1].state = state
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
            case "EMPTY_SET":
                stack.append(Opaque("set"))
            case "ADDITEMS":
                self.pop_to_mark()
            case "FROZENSET":
                self.pop_to_mark()
                stack.append(Opaque("frozenset"))
            case "EXT1" | "EXT2" | "EXT4":
                stack.append(Opaque(f"extension {argument}"))
            case "EMPTY_TUPLE":
                stack.append(())
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "PROTO" | "FRAME" | "STOP" | "READONLY_BUFFER":
                pass
            case _:
                _refuse(f"contains {opcode} {shown(argument)}")

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def extend(self, items: list[Any]) -> None:
        match self.stack[-1]:
            case list() as values:
                values.extend(items)
            case Opaque():
                pass
            case other:
                _refuse(f"appends to {kind(other)}")

    def set_items(self, items: list[Any]) -> None:
        match self.stack[-1]:
            case dict() as values:
                pass
            case Opaque() as object_:
                if object_.items is None:
                    object_.items = {}
                values = object_.items
            case other:
                _refuse(f"sets items of {kind(other)}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str | int | float | None):
                values[key] = value

    def referred(self, identity: Any) -> Any:
        """Return what a persistent id stands for.

        That is the storage of ("storage", type, key, device, count), which may have a None behind
        it, or the class of ("module", class, file, source).
        """
        match identity:
            case ("module", _Name() as name, *_):
                return name
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


_PLAIN = {
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),  # texts of Python 2
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "INT", "LONG", "FLOAT"),
}


def _refuse(reason: str) -> NoReturn:
    raise BadCheckpoint(f"refused, its pickle {reason}; a state dict has no need of that")


def kind(value: object) -> str:
    """Return what `value` is, without showing it."""
    match value:
        case None:
            return "None"
        case UnreadTensor(kind):
            return f"a {kind} tensor"
        case StoredTensor() | Storage():
            return "a tensor"
        case InlineArray():
            return "an array"
        case _Name(name):
            return f"the name {shown(name)}"
        case Opaque():
            return f"an object of {shown(value.name)}"
    name = type(value).__name__
    return f"an {name}" if name == "int" else f"a {name}"


def inline_array(value: Opaque) -> InlineArray | Opaque:
    """Return the NumPy array that an object is; any other object as it is."""
    content: Any
    match value:
        case Opaque(name=name, state=(_, shape, dtype, columns, content)) if name in _ARRAYS:
            in_columns = bool(columns) if isinstance(columns, int) else False
        case Opaque(name=name, arguments=(content, dtype, shape, order)) if (
            name in _ARRAYS_OF_BUFFERS
        ):
            in_columns = order == "F" if isinstance(order, str) else False
        case _:
            return value
    match dtype:
        case Opaque(name="numpy.dtype", arguments=(str(code), *_), state=state):
            pass
        case _:
            return value
    byteorder = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
    match content:
        case Opaque(name="_codecs.encode", arguments=(str(text), *_)):  # bytes in protocol 2
            content = text
    if isinstance(content, str):  # where each character stands for a byte
        try:
            content = content.encode("latin-1")
        except UnicodeEncodeError:
            return value
    if code not in _ARRAY_TYPES or not isinstance(content, bytes | bytearray):
        return value
    order = byteorder if byteorder in ("<", ">") else "<"
    return InlineArray(_ARRAY_TYPES[code], order, _sizes(shape), in_columns, bytes(content))


def _name(function: Any) -> str:
    match function:
        case _Name(name) | Opaque(name=name):
            return name
    _refuse(f"calls {kind(function)}")


def _called(function: Any, arguments: Any) -> Any:
    """Return what stands for the result of calling a function, in constant time and memory."""
    name = _name(function)
    if not isinstance(arguments, tuple):
        _refuse(f"calls {shown(name)} with {kind(arguments)}")
    if name in ("torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type"):
        match arguments:  # a tensor of another class, or with attributes
            case (_Name(inner), _, tuple(inner_arguments), *_):
                name, arguments = inner, inner_arguments
    match name, arguments:
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
            (StoredTensor() | UnreadTensor() as tensor, *_),
        ):
            return tensor
        case "torch._utils._rebuild_tensor_v3", (_, _, _, _, _, _, _Name(dtype), *_):
            return UnreadTensor(dtype.removeprefix("torch."))
    return UnreadTensor(_UNREAD[name]) if name in _UNREAD else Opaque(name, arguments)


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
