"""Knobs: the fields of a method, with range and meaning said once, and their values from text."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from diffolio.errors import BadKnob


@dataclass(frozen=True)
class Range:
    """What a knob may be, and what it means."""

    means: str = ""
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] | None = None

    def admits(self, value: Any) -> bool:
        if value is None:
            return True
        if self.choices is not None:
            return value in self.choices
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.choices is not None:
            return "one of " + ", ".join(map(str, self.choices))
        words = {"at least": self.at_least, "at most": self.at_most, "above": self.above, "below": self.below}
        return " and ".join(f"{word} {value:g}" for word, value in words.items() if value is not None)


def knob(
    default: Any,
    *,
    means: str,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    between: tuple[float, float] | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """A field of a method: its default (the paper's), its range and its meaning, said once. ``between`` is inclusive."""
    if between is not None:
        at_least, at_most = between
    return field(default=default, metadata={"range": Range(means, at_least, at_most, above, below, choices)})


def hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def accepts(value: Any, hint: Any) -> bool:
    for option in _options(hint):
        origin = typing.get_origin(option) or option
        if option is Any or (option is type(None) and value is None):
            return True
        if inspect.isclass(origin) and isinstance(value, origin) and not (origin in (int, float) and isinstance(value, bool)):
            return True
        if not inspect.isclass(origin) and callable(value):
            return True
    return False


def check(owner: str, knob_field: dataclasses.Field[Any], value: Any, hint: Any) -> None:
    limits: Range = knob_field.metadata.get("range", Range())
    if not accepts(value, hint):
        wanted = " or ".join(getattr(o, "__name__", str(o)) for o in _options(hint))
        raise BadKnob(f"{owner}: {knob_field.name}={value!r} is of type {type(value).__name__}; give {wanted}")
    if isinstance(value, float) and not math.isfinite(value) and not (value == math.inf and limits.at_most is None):
        raise BadKnob(f"{owner}: {knob_field.name}={value!r} is not a finite number")
    if not limits.admits(value):
        raise BadKnob(f"{owner}: {knob_field.name}={value!r} is out of range; it must be {limits} ({limits.means})")


def parse_value(owner: str, name: str, text: str, hint: Any) -> Any:
    """A knob's value from text: the first of its types that can read it."""
    for option in (o for o in _options(hint) if o is not type(None)):
        origin = typing.get_origin(option) or option
        if origin is bool and text.lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return text.lower() in ("true", "yes", "on", "1")
        if origin in (int, float):
            try:
                return origin(text)
            except ValueError:
                continue
        if origin is tuple:
            inner = next((a for a in typing.get_args(option) if a is not Ellipsis), str)
            return tuple(parse_value(owner, name, part.strip(), inner) for part in text.split(",") if part.strip())
        if origin is str:
            return text
    if type(None) in _options(hint) and text.lower() in ("none", ""):
        return None
    wanted = " or ".join(getattr(o, "__name__", str(o)) for o in _options(hint))
    raise BadKnob(f"{owner}: {name}={text!r} cannot be read as {wanted}")
