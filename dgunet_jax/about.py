"""What a checkpoint says of the training that made it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self, get_type_hints

from dgunet_jax.system.errors import UserError, printable

_Score = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class About:
    """What a network is for, and how it was trained; nothing is known of what is empty.

    Attributes:
      task: what it restores, in a few words.
      limits: what it is not for.
      degradation: of the inputs it was trained on, as `data.degradation` of its recipe; "pairs"
        where pictures came with what had degraded them.
      data: names of the training sets.
      patch: side of the training patches, in pixels.
      steps: of training.
      scores: PSNR in dB of the inputs and of what is restored, by the name of what was scored.
    """

    task: str = ""
    limits: str = ""
    degradation: str = ""
    data: str = ""
    patch: int | None = None
    steps: int | None = None
    scores: Mapping[str, _Score] = dataclasses.field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` writes; what another version has added is left out.

        Raises:
          UserError: it is something else.
        """
        try:
            told = dict(json.loads(text))
            fields = {name: told[name] for name in get_type_hints(cls) if name in told}
            fields["scores"] = {
                str(name): (float(given), float(restored))
                for name, (given, restored) in fields.get("scores", {}).items()
            }
            for name in ("task", "limits", "degradation", "data"):
                fields[name] = printable(str(fields.get(name, "")))
            for name in ("patch", "steps"):
                value: Any = fields.get(name)
                fields[name] = None if value is None else int(value)
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"what it says of its training cannot be read: {error}") from error
        return cls(**fields)

    def lines(self) -> list[str]:
        """Return what is known, one line each."""
        known = [
            f"{name}: {value}"
            for name, value in (
                ("task", self.task),
                ("not for", self.limits),
                ("trained on", self.data),
                ("degradation", self.degradation),
                ("patch", self.patch and f"{self.patch}×{self.patch}"),
                ("steps", self.steps and f"{self.steps:,}"),
            )
            if value
        ]
        scores = [
            f"{name}: {restored:.2f} dB, input {given:.2f} dB"
            for name, (given, restored) in self.scores.items()
        ]
        return known + scores
