"""What a visitor asks for: read from the fields with a message for each that cannot be used, and as a command and Python lines."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffolio import registry
from diffolio.cards import Card
from diffolio.errors import BadKnob, DiffolioError
from diffolio.web import hints
from diffolio.web.chooser import fits, model_problem
from diffolio.web.settings import Settings

SIZE = re.compile(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})")
LONGEST_PROMPT, MOST_PROMPTS, LARGEST_SIDE = 2000, 8, 4096


@dataclass(frozen=True)
class Asked:
    """A run as it was asked for. ``knobs`` holds, by method, the knobs that differ from their defaults, as text."""

    names: tuple[str, ...]
    model: str = "mini-sd"
    prompts: tuple[str, ...] = ()
    target: str = ""
    seed: int = 0
    steps: int = 25
    guidance: float | None = None
    size: str | None = None
    knobs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    image: Path | None = None
    mask: Path | None = None
    inputs: Mapping[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "+".join(self.names)

    @property
    def settings(self) -> list[str]:
        """What ``--set`` takes."""
        owner = (lambda name: f"{name}.") if len(self.names) > 1 else (lambda name: "")
        found = [f"{owner(name)}{key}={value}" for name in self.names for key, value in self.knobs.get(name, {}).items()]
        return found + ([f"target={self.target}"] if self.target else [])

    def request(self, out: Path) -> dict[str, Any]:
        """For the worker: the fields of ``cli.running.Request``."""
        return {
            "names": self.name, "model": self.model, "prompts": list(self.prompts), "image": str(self.image) if self.image else None,
            "seed": self.seed, "steps": self.steps, "guidance": self.guidance, "size": self.size, "settings": self.settings,
            "out": str(out), "mask": str(self.mask) if self.mask else None,
            "inputs": [f"{name}={path}" for name, path in self.inputs.items()],
        }  # fmt: skip

    def command(self) -> str:
        """The command line that gives the same pictures."""
        parts = ["diffolio", "run", self.name, "--model", self.model]
        for prompt in self.prompts:
            parts += ["--prompt", prompt]
        parts += ["--image", near(self.image)] if self.image else []
        parts += ["--mask", near(self.mask)] if self.mask else []
        for name, path in self.inputs.items():
            parts += ["--input", f"{name}={near(path)}"]
        parts += ["--seed", str(self.seed), "--steps", str(self.steps)]
        parts += ["--guidance", f"{self.guidance:g}"] if self.guidance is not None else []
        parts += ["--size", self.size] if self.size else []
        for setting in self.settings:
            parts += ["--set", setting]
        return shlex.join(parts)

    def python(self) -> str:
        """The Python lines that give the same pictures."""
        cards = [registry.card(name) for name in self.names]
        photos = [name for name, given in (("load_mask", self.mask), ("load_photo", self.image)) if given]
        lines = ["from diffolio import load"]
        lines += [f"from diffolio.methods.{card.family}.{card.name} import {card.class_name}" for card in cards]
        lines += [f"from diffolio.models.photos import {', '.join(photos)}"] if photos else []
        lines += ["from diffolio.registry import stack"] if len(cards) > 1 else []
        lines += ["from diffolio.results import Job", ""]
        made = [f"{card.class_name}({self._arguments(card)})" for card in cards]
        lines.append(f"method = stack({', '.join(made)})" if len(made) > 1 else f"method = {made[0]}")
        lines += [f"photo = load_photo({near(self.image)!r})"] if self.image else []
        lines.append(f"job = Job({', '.join(self._job())})")
        lines.append(f"method.run(job).save({'out/' + self.name!r})")
        return "\n".join(lines)

    def _arguments(self, card: Card) -> str:
        given = self.knobs.get(card.name, {})
        return ", ".join(f"{k.name}={hints.read(card, k, given[k.name])!r}" for k in card.knobs if k.name in given)

    def _job(self) -> list[str]:
        parts = [f"load({self.model!r})", repr(list(self.prompts))]
        parts += ["photo.image"] if self.image else []
        parts += [f"seed={self.seed}", f"steps={self.steps}"]
        parts += [f"guidance_scale={self.guidance!r}"] if self.guidance is not None else []
        if self.size and (match := SIZE.fullmatch(self.size)):
            parts += [f"height={match[2]}", f"width={match[1]}"]
        parts += [f"mask=load_mask({near(self.mask)!r})"] if self.mask else []
        parts += [f"inputs={ {name: near(path) for name, path in self.inputs.items()}!r}"] if self.inputs else []
        parts += [f"target={self.target!r}"] if self.target else []
        parts += ["alpha=photo.alpha"] if self.image else []
        return parts


def near(path: Path | None) -> str:
    """A path as one would type it: relative where it lies under the folder in which the page was started."""
    if path is None:
        return ""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def takes_picture(card: Card) -> bool:
    """Editors say that they take a picture; a tool that is none may take one unsaid, so only what is said is offered."""
    return "image" in card.takes


def further_inputs(card: Card) -> list[str]:
    return [name for name in card.takes if name not in ("image", "mask", "target", "alpha")]


def read(
    names: tuple[str, ...], fields: Mapping[str, Any], knobs: Mapping[str, Mapping[str, Any]], settings: Settings
) -> tuple[Asked, dict[str, str]]:
    """The run that the fields describe, and what is wrong by field: "prompt", "seed", ..., or "knob:METHOD.NAME".

    ``fields``: model, prompt (a line each), target, seed, steps, guidance, size. Pictures are looked at by ``uploads``.
    """
    wrong: dict[str, str] = {}
    cards = [registry.card(name) for name in names]
    given: dict[str, dict[str, str]] = {card.name: {} for card in cards}
    for card in cards:
        for knob in card.knobs:
            value = knobs.get(card.name, {}).get(knob.name, knob.default)
            text = hints.text_of(value).strip()
            if text == hints.text_of(knob.default):
                continue
            try:
                if hints.read(card, knob, text) != knob.default:
                    given[card.name][knob.name] = text
            except BadKnob as error:
                wrong[f"knob:{card.name}.{knob.name}"] = str(error)
    prompts = tuple(line.strip() for line in str(fields.get("prompt") or "").splitlines() if line.strip())
    needs_words = not any("mask" in card.needs for card in cards)
    if not prompts and needs_words:
        wrong["prompt"] = (
            "say what the picture should show" if not any(map(takes_picture, cards)) else "say what the picture shows"
        )
    elif len(prompts) > MOST_PROMPTS or any(len(prompt) > LONGEST_PROMPT for prompt in prompts):
        wrong["prompt"] = (
            f"give at most {MOST_PROMPTS} lines of at most {LONGEST_PROMPT} characters each: every line is a picture"
        )
    model = str(fields.get("model") or "").strip()
    if (problem := model_problem(model, settings)) or (
        problem := next((told for card in cards if (told := fits(card, model))), "")
    ):
        wrong["model"] = problem
    seed = _whole(fields.get("seed"), 0, 2**63 - 1, "seed", wrong)
    steps = _whole(fields.get("steps"), 1, 1000, "steps", wrong)
    guidance = _number(fields.get("guidance"), "guidance", wrong)
    size = _size(fields.get("size"), wrong)
    target = " ".join(str(fields.get("target") or "").split())
    asked = Asked(names, model, prompts, target, seed, steps, guidance, size, given)
    return asked, wrong


def _whole(value: Any, low: int, high: int, name: str, wrong: dict[str, str]) -> int:
    text = "" if value is None else str(value).strip()
    try:
        number = int(text) if re.fullmatch(r"[+-]?\d+", text) else int(float(text)) if float(text).is_integer() else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not low <= number <= high:
        bound = f"{low} to {high}" if high < 2**31 else f"{low} up"
        wrong[name] = f"{name}: {text or 'nothing'!s} cannot be used; give a whole number from {bound}"
        return low
    return number


def _number(value: Any, name: str, wrong: dict[str, str]) -> float | None:
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 100:
        wrong[name] = f"{name}: {text!r} cannot be used; give a number from 0 to 100, or leave it empty for the model's own"
        return None
    return number


def _size(value: Any, wrong: dict[str, str]) -> str | None:
    text = str(value or "").strip()
    if not text:
        return None
    match = SIZE.fullmatch(text)
    if not match or not all(8 <= int(side) <= LARGEST_SIDE for side in match.groups()):
        wrong["size"] = f"size {text!r}: give WIDTHxHEIGHT in pixels, each from 8 to {LARGEST_SIDE}, like 128x64"
        return None
    return f"{int(match[1])}x{int(match[2])}"


def place_of(error: str, kind: str, names: tuple[str, ...], fields: tuple[str, ...]) -> str:
    """The field that an error of a run is about, as ``read`` names them; "" where none is."""
    if kind == "BadKnob":
        for name in names:
            for knob in registry.card(name).knobs:
                if re.search(rf"\b{re.escape(knob.name)}\b", error):
                    return f"knob:{name}.{knob.name}"
    words = {"mask": "mask", "target": "target", "prompt": "prompt", "picture": "picture", "size": "size", "guidance": "guidance"}
    if kind in ("BadInput", "UnknownName", "Unsupported", "Offline"):
        if kind == "UnknownName" and "model" in error:
            return "model"
        return next((place for word, place in words.items() if re.search(rf"\b{word}", error) and place in fields), "")
    return ""


def from_record(record: Mapping[str, Any], folder: Path) -> Asked:
    """The run that a ``result.json`` in ``folder`` tells of. DiffolioError says why it cannot be asked for again."""
    names = tuple(str(record["method"]).split("+"))
    cards = {name: registry.card(name) for name in names}
    told = record.get("knobs") or {}
    by_name = told if len(names) > 1 else {names[0]: told}
    given: dict[str, dict[str, str]] = {}
    for name, card in cards.items():
        given[name] = {}
        for knob in card.knobs:
            default = list(knob.default) if isinstance(knob.default, tuple) else knob.default
            value = by_name.get(name, {}).get(knob.name, default)
            if value != default and hints.text_of(value) != hints.text_of(knob.default):
                given[name][knob.name] = hints.text_of(value)
                hints.read(card, knob, given[name][knob.name])
    files = {name: folder / Path(file).name for name, file in (record.get("inputs") or {}).items()}
    for name, path in files.items():
        if not path.is_file():
            raise DiffolioError(f"its {name} {path.name} was not kept with it")
    image, mask = files.pop("image", None), files.pop("mask", None)
    guidance = record.get("guidance_scale")
    return Asked(
        names, str(record["model"]), tuple(record.get("prompts") or ()), str(record.get("target") or ""), int(record.get("seed", 0)),
        int(record.get("steps", 25)), None if guidance is None else float(guidance), record.get("size"), given, image, mask, files,
    )  # fmt: skip
