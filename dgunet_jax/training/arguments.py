"""The command line of a run, before absl and ml_collections see it.

They tell a mistake in it by a traceback or not at all, and cannot unset a value.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from dgunet_jax.system.errors import UserError
from dgunet_jax.system.files import local_path
from dgunet_jax.training.config import TrainConfig

_FILE = re.compile(r"--?config(?:=(?P<path>.*))?")
_SETTING = re.compile(r"--?(?:no)?config\.(?P<name>[^=]+)(?:=(?P<value>.*))?")


@dataclasses.dataclass
class Arguments:
    """A command line that was looked at.

    Attributes:
      words: what absl is to read: the file first, and nothing that unsets a value.
      unset: the settings that were given as None.
      path: the configuration file; None if none is given.
      variant: what stands behind its colon.
    """

    words: list[str]
    unset: list[str]
    path: str | None = None
    variant: str = ""


def look_at(words: Sequence[str]) -> Arguments:
    """Read `--config FILE[:VARIANT]` and the names in `--config.GROUP.NAME=VALUE`.

    Raises:
      UserError: there is no such file or setting, or None is given for one that must have a value.
    """
    found = Arguments([], [])
    settings: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            settings += [word, *rest]
            break
        if setting := _SETTING.fullmatch(word):
            name, value = setting["name"], setting["value"]
            optional = _check_name(name)
            apart = value is None and rest and rest[0].lower() == "none"
            if name in found.unset:
                found.unset.remove(name)  # the last one counts
            if not apart and (value or "").lower() != "none":
                settings.append(word)
            elif optional:
                found.unset.append(name)
                rest = rest[1:] if apart else rest
            elif optional is False:
                raise UserError(f"{name}: must have a value")
            else:
                settings.append(word)
        elif given := _FILE.fullmatch(word):
            value = given["path"] if "=" in word else "".join(rest[:1])
            rest = rest if "=" in word else rest[1:]
            found.path, colon, found.variant = value.partition(":")
            if not found.path:
                raise UserError("--config needs a file")
            file = local_path(found.path)
            if not file.is_file():
                raise UserError(f"--config {found.path}: no such file")
            found.words.append(f"--config={file}{colon}{found.variant}")
        else:
            settings.append(word)
    found.words += settings
    return found


def unset(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The settings with None for those that are named."""
    changed = dict(settings)
    for name in names:
        group, _, rest = name.partition(".")
        changed[group] = unset(changed[group], [rest]) if rest else None
    return changed


def _check_name(name: str) -> bool | None:
    """Whether a setting may be None; None of a word, such as a name, of which "None" is a value."""
    kind: Any = TrainConfig
    above: list[str] = []
    for part in name.split("."):
        fields = typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
        if part not in fields:
            group = ".".join(above) or "a config"
            if not fields:
                raise UserError(f"there is no setting {name}; {group} is a value")
            raise UserError(f"there is no setting {name}; {group} has {', '.join(fields)}")
        kind = fields[part]
        above.append(part)
    if types.NoneType in typing.get_args(kind):
        return True
    return None if kind is str else False
