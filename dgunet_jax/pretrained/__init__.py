"""Networks that come with the package."""

from pathlib import Path

ANY_OPERATOR = "any_operator"
"""Restores what known operators measure, see `configs/any_operator.py`."""


def bundled(name: str) -> Path:
    """Return the checkpoint of a network that comes with the package."""
    return Path(__file__).with_name(f"{name}.safetensors")
