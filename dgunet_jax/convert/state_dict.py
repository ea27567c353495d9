"""The weights in a checkpoint file, whatever is wrapped around them."""

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

from dgunet_jax.convert import table
from dgunet_jax.convert.storage import Opaque, UnreadTensor
from dgunet_jax.convert.torch_pickle import inline_array, kind
from dgunet_jax.system.errors import UserError, counted, listed, named

_DEEPEST = 32  # dicts within dicts, and parts of a prefix
_MOST_MODULES = 10_000  # of a pickled network; one that is shared counts each time
_PARTS = ("_parameters", "_buffers", "_modules")  # of a `torch.nn.Module`
_AVERAGES = {"ema", "swa", "avg", "averaged", "average", "averaging", "shadow"}


@dataclasses.dataclass(frozen=True)
class Weights:
    """One set of weights.

    Attributes:
      name: the keys that lead to it, joined by dots; "" where there is no other.
      tensors: official names to what was saved under them.
      beside: what else was saved in the same dict, outside of any set, by name.
    """

    name: str
    tensors: Mapping[str, Any]
    beside: Mapping[str, Any]

    @property
    def is_average(self) -> bool:
        """Whether it is an average of the weights over training, by its name or its counter."""
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", self.name)
        return "n_averaged" in self.beside or not _AVERAGES.isdisjoint(map(str.lower, words))


def choose(
    root: Any, name: str | None, equal: Callable[[Weights, Weights], bool]
) -> tuple[Weights, list[str]]:
    """Return the set of weights to read, and what there is to say of the choice.

    An average is preferred to the weights it is an average of.

    Args:
      root: what was saved.
      name: of the set; None: the only one, or the average.
      equal: whether two sets have the same values.

    Raises:
      UserError: there is none, none of that name, or several without a reason to prefer one.
    """
    found = list(_sets(root))
    if not found:
        raise UserError(_why_none(root))
    names = listed([each.name or "(the outermost)" for each in found])
    if name is not None:
        for each in found:
            if each.name == name:
                return each, []
        raise UserError(f"has no weights under {named(name)}; it has {names}")
    chosen = _preferred(found, equal)
    if chosen is None:
        raise UserError(f"has several sets of weights: {names}; choose one (--weights NAME)")
    if strays := [key for key, value in chosen.beside.items() if is_weight(key, value)]:
        raise UserError(
            f"has {counted(len(strays), 'tensor')} that no released model has:"
            f" {listed([named(key) for key in strays], 5)}"
            + (f"; to leave out: --weights {chosen.name}" if chosen.name else "")
        )
    if all(equal(each, chosen) for each in found):
        return dataclasses.replace(chosen, name=""), []
    return chosen, [f"has the weights {names}; {chosen.name} is read (another: --weights NAME)"]


def is_weight(key: str, value: Any) -> bool:
    """Return whether a tensor could be a weight: not a count, a number or a profiler's note."""
    if key.rpartition(".")[2] in ("total_ops", "total_params", "_extra_state"):
        return False
    if isinstance(value, UnreadTensor):
        return "int" not in value.kind
    return is_array(value) and len(value.shape) > 0 and _is_floating(value)


def is_array(value: Any) -> bool:
    """Return whether something has a shape and a type: a tensor or an array."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _preferred(found: list[Weights], equal: Callable[[Weights, Weights], bool]) -> Weights | None:
    """The only average or else the only set; equal ones count once."""
    for some in ([each for each in found if each.is_average], found):
        if some and all(equal(each, some[0]) for each in some[1:]):
            return some[0]
        if some:
            break
    return None


def _is_floating(value: Any) -> bool:
    return "float" in str(value.dtype) or "complex" in str(value.dtype)


def _sets(root: Any) -> Iterator[Weights]:
    """Every set of weights, the outermost first."""
    seen: dict[int, tuple[Any, list[Weights]]] = {}  # values as well, so that no id is used twice
    waiting: deque[tuple[tuple[str, ...], Any]] = deque([((), root)])
    while waiting:
        keys, value = waiting.popleft()
        if id(value) not in seen:
            entries = _entries(value)
            seen[id(value)] = value, _split(entries)
            if len(keys) < _DEEPEST:
                waiting += [((*keys, key), inner) for key, inner in entries if _may_hold(inner)]
        for found in seen[id(value)][1]:
            name = ".".join(filter(None, (*keys, found.name)))
            yield dataclasses.replace(found, name=name)


def _entries(value: Any) -> list[tuple[str, Any]]:
    """What a container holds, with the keys as text; "" where there is no key."""
    match value:
        case Mapping():
            return [(str(key), inner) for key, inner in value.items() if _is_key(key)]
        case Opaque(state={"_parameters": _, "_modules": _} as state):
            return _of_module(state)
        case Opaque():
            return [("", value.items), ("", value.state), ("", value.arguments)]
        case list() | tuple():
            pairs = [(item[0], item[1]) for item in value if _is_pair(item)]
            if pairs and len(pairs) == len(value):
                return pairs
            return [(str(number), inner) for number, inner in enumerate(value)]
    return []


def _of_module(state: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the state dict of a whole `torch.nn.Module` would hold, and its attributes."""
    found = [(str(key), value) for key, value in state.items() if key not in _PARTS]
    waiting = deque([("", state)])
    for _ in range(_MOST_MODULES):
        if not waiting:
            break
        prefix, state = waiting.popleft()
        for group in ("_parameters", "_buffers"):
            if isinstance(tensors := state.get(group), Mapping):
                found += [(f"{prefix}{key}", tensor) for key, tensor in tensors.items()]
        modules = state.get("_modules")
        for key, module in modules.items() if isinstance(modules, Mapping) else ():
            inner = module.state if isinstance(module, Opaque) else None
            if isinstance(inner, Mapping) and prefix.count(".") < _DEEPEST:
                waiting.append((f"{prefix}{key}.", inner))
    return found


def _is_key(key: Any) -> bool:
    return isinstance(key, str | int | float | None)


def _is_pair(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str)


def _may_hold(value: Any) -> bool:
    return isinstance(value, Mapping | Opaque | list | tuple)


def _split(entries: list[tuple[str, Any]]) -> list[Weights]:
    """The sets in one dict, by the prefixes of their names."""
    prefixes = dict.fromkeys(
        key.removesuffix(name)
        for key, value in entries
        for name in table.FIRST_NAMES
        if (key == name or key.endswith(f".{name}")) and not isinstance(value, Mapping)
    )
    if not prefixes:
        return []
    groups: dict[str, dict[str, Any]] = {prefix: {} for prefix in prefixes}
    beside: dict[str, Any] = {}
    for key, value in entries:
        prefix = _prefix(key, prefixes)
        value = inline_array(value) if isinstance(value, Opaque) else value
        if prefix is None:
            beside[key] = value
        else:
            groups[prefix][key.removeprefix(prefix)] = value
    for prefix, group in list(groups.items()):
        if table.family(group) is None:
            beside |= {prefix + key: value for key, value in groups.pop(prefix).items()}
    alone = len(groups) == 1
    return [
        Weights("" if alone else prefix.removesuffix("."), group, beside)
        for prefix, group in groups.items()
    ]


def _prefix(key: str, prefixes: Container[str]) -> str | None:
    """The longest prefix of a name."""
    found, end = "" if "" in prefixes else None, 0
    for _ in range(_DEEPEST):
        end = key.find(".", end) + 1
        if not end:
            break
        if key[:end] in prefixes:
            found = key[:end]
    return found


def _why_none(root: Any) -> str:
    """Why nothing that was saved is a network's weights."""
    largest: list[str] = []
    waiting, seen = deque([(0, root)]), {}
    while waiting:
        depth, value = waiting.popleft()
        if id(value) in seen or depth > _DEEPEST:
            continue
        seen[id(value)] = value
        entries = _entries(value)
        names = [
            key for key, inner in entries if is_array(inner) or isinstance(inner, UnreadTensor)
        ]
        largest = max(largest, names, key=len)
        waiting += [(depth + 1, inner) for _, inner in entries if _may_hold(inner)]
    if not largest:
        return f"not a DGUNet checkpoint: it holds {kind(root)}, but no weights"
    some = ", ".join(named(name) for name in largest[:3])
    return f"not a DGUNet checkpoint: no released model has such names ({some}, …)"
