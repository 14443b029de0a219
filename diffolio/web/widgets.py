"""A knob as the widget that suits it: from its type, range and choices, as the dataclass says them."""

from __future__ import annotations

from typing import Any

from diffolio.cards import Card, KnobCard
from diffolio.web import hints


def kind_of(knob: KnobCard) -> str:
    """checkbox, choices, slider, number or text."""
    types = {part.strip() for part in knob.type.split("|")}
    limits = knob.range
    if types == {"bool"}:
        return "checkbox"
    if limits.choices is not None:
        return "choices"
    if types <= {"int", "float"}:
        low, high = limits.at_least, limits.at_most
        return "slider" if low is not None and high is not None and high - low <= 1000 else "number"
    return "text"


def told(knob: KnobCard) -> str:
    """Its meaning, its range and its default."""
    limits = "" if knob.range.choices is not None else str(knob.range)
    default = hints.text_of(knob.default) or "empty"
    return "; ".join(part for part in (knob.range.means, limits, f"default {default}") if part)


def make(knob: KnobCard, key: str = "") -> Any:
    """The widget of a knob at its default."""
    import gradio as gr

    said: dict[str, Any] = {
        "label": knob.name.replace("_", " "),
        "info": told(knob),
        "interactive": True,
        "elem_classes": "knob",
        "key": key or None,
    }
    kind = kind_of(knob)
    if kind == "checkbox":
        return gr.Checkbox(value=knob.default, **said)
    if kind == "choices":
        assert knob.range.choices is not None
        choices = list(knob.range.choices)
        made = gr.Radio if len(choices) <= 4 else gr.Dropdown
        return made(choices, value=knob.default, **said)
    if kind == "slider":
        low, high = knob.range.at_least, knob.range.at_most
        assert low is not None and high is not None
        whole = "float" not in knob.type
        return gr.Slider(low, high, value=knob.default, step=1 if whole else _step(high - low), **said)
    if kind == "number":
        return gr.Number(value=knob.default, **said)
    return gr.Textbox(
        value="" if knob.default is None else hints.text_of(knob.default), max_lines=4, placeholder=_empty(knob), **said
    )


def _empty(knob: KnobCard) -> str:
    return "none" if knob.default is None else ""


def _step(span: float) -> float:
    return 0.01 if span <= 2 else 0.05 if span <= 10 else span / 200


def value_of(card: Card, knob: KnobCard, given: Any) -> Any:
    """What a widget gave, as the knob means it: an emptied text of an optional knob is none, 2.0 of a whole number is 2."""
    if knob.default is None and isinstance(given, str) and not given.strip():
        return None
    if isinstance(given, float) and given.is_integer() and "float" not in knob.type:
        return int(given)
    return given


class Knobs:
    """The widgets of one method with a message beside each; made inside a render."""

    def __init__(self, card: Card) -> None:
        import gradio as gr

        self.card = card
        self.fields: list[Any] = []
        self.wrong: dict[str, Any] = {}
        for knob in card.knobs:
            self.fields.append(make(knob, f"{card.name}.{knob.name}"))
            self.wrong[f"knob:{card.name}.{knob.name}"] = gr.HTML(elem_classes="beside")

    def read(self, values: Any) -> dict[str, Any]:
        return {knob.name: value_of(self.card, knob, given) for knob, given in zip(self.card.knobs, values, strict=True)}
