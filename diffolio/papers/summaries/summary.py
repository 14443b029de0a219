"""What a summary is: bullets, each with the place of the source that it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from diffolio.errors import BadInput

SCHEMA_VERSION = 1
PARTS = ("what", "how", "result", "tldr", "problem", "method", "results", "limits", "keywords", "code")


@dataclass(frozen=True)
class Bullet:
    """``part`` one of PARTS; ``quote`` a verbatim stretch of the source's ``field``, at ``span`` there (characters)."""

    part: str
    text: str
    quote: str | None = None
    field: str = "abstract"
    span: tuple[int, int] | None = None


@dataclass(frozen=True)
class Summary:
    """``kind`` extractive or endpoint; ``code``: one of the record's own links. ``model`` and ``prompt`` (a hash) say who wrote it."""

    id: str
    kind: str
    language: str
    bullets: tuple[Bullet, ...]
    version: int | None = None
    code: str | None = None
    model: str | None = None
    prompt: str | None = None
    schema: int = SCHEMA_VERSION

    @property
    def text(self) -> str:
        """Its sentences, one a line."""
        return "\n".join(bullet.text for bullet in self.bullets)

    def of(self, part: str) -> list[Bullet]:
        return [bullet for bullet in self.bullets if bullet.part == part]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"bullets": [{k: v for k, v in asdict(b).items() if v is not None} for b in self.bullets]}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Summary:
        """The inverse of :meth:`to_json`; BadInput for a newer schema or a body that is none."""
        if body.get("schema", 0) > SCHEMA_VERSION:
            raise BadInput(f"this summary has schema {body['schema']}, this Diffolio knows up to {SCHEMA_VERSION}: update it")
        try:
            bullets = tuple(Bullet(**{**b, "span": tuple(b["span"]) if b.get("span") else None}) for b in body["bullets"])
            return cls(**{**body, "bullets": bullets})
        except (TypeError, KeyError) as error:
            raise BadInput(f"this is not the body of a summary: {error}") from error
