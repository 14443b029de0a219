"""Knobs as a visitor types them: checked against the method's source, so that nothing heavy is imported for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffolio.cards import Card, KnobCard
from diffolio.errors import BadKnob
from diffolio.knobs import parse_value


class _Anything(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return object


_NAMES = {"int": int, "float": float, "str": str, "bool": bool, "tuple": tuple, "list": list, "dict": dict, "None": None, "Any": Any,
          "Callable": Callable, "Sequence": Sequence, "Mapping": Mapping}  # fmt: skip


def hint_of(knob: KnobCard) -> Any:
    """The type that a knob's annotation names; classes of elsewhere count as object."""
    return eval(knob.type, {"__builtins__": {}}, _Anything(_NAMES))  # the annotation is the package's own source


def text_of(value: Any) -> str:
    """A knob's value as ``--set`` takes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ",".join(text_of(part) for part in value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return f"{value:.1f}"
    return str(value)


def read(card: Card, knob: KnobCard, text: str) -> Any:
    """The value of a knob; BadKnob says what it may be."""
    value = parse_value(card.name, knob.name, text.strip(), hint_of(knob))
    limits = knob.range
    if isinstance(value, float) and not math.isfinite(value) and not (value == math.inf and limits.at_most is None):
        raise BadKnob(f"{knob.name}={text} is not a finite number")
    try:
        fits = limits.admits(value)
    except TypeError:
        fits = True  # a tuple or a name with limits for its parts: the method itself looks at these
    if not fits:
        raise BadKnob(f"{knob.name}={text} is out of range: it must be {limits}")
    return value


def same(card: Card, knob: KnobCard, text: str) -> bool:
    """Whether a text says the knob's default."""
    try:
        return bool(read(card, knob, text) == knob.default)
    except BadKnob:
        return False
