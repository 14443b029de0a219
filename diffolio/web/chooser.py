"""Which models can be chosen, and what they are, without loading any."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
from pathlib import Path

from diffolio import miniatures
from diffolio.cards import Card
from diffolio.errors import BadInput, unknown
from diffolio.web.settings import Settings

MODELS = Path(__file__).parents[1] / "models"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
NEXT = {"base.json": "base", "student.json": "teacher"}  # adapters name the model that they change


def bundled() -> list[str]:
    """The bundled pipelines, mini-sd first; parts like a VAE or a judge cannot be sampled."""
    found = [name for name in miniatures.available() if kinds_of(miniatures.folder(name))]
    return sorted(found, key=lambda name: (name != "mini-sd", name))


@functools.cache
def _architectures() -> dict[str, frozenset[str]]:
    """Pipeline class -> kinds, read from the source of the architectures as cards are, since these need torch."""
    found = {}
    for path in sorted(MODELS.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not (isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") == "Architecture" for base in node.bases)):
                continue
            said = {}
            for item in node.body:
                if not isinstance(item, ast.Assign):
                    continue
                targets, value = item.targets[0], item.value
                pairs = (
                    zip(targets.elts, value.elts, strict=True)
                    if isinstance(targets, ast.Tuple) and isinstance(value, ast.Tuple)
                    else [(targets, value)]
                )
                for target, part in pairs:
                    if getattr(target, "id", "") in ("name", "family", "pipelines"):
                        said[target.id] = ast.literal_eval(part)  # type: ignore[attr-defined]
            for pipeline in said.get("pipelines", ()):
                found[pipeline] = frozenset({said["name"], said["family"]})
    return found


def kinds_of(folder: Path, depth: int = 0) -> frozenset[str]:
    """The kinds of model in a folder; empty for what is no pipeline known here."""
    for index, key in NEXT.items():
        if (folder / index).is_file() and depth < 3:
            base = str(_json(folder / index).get(key, ""))
            if base in miniatures.available():
                return kinds_of(miniatures.folder(base), depth + 1)
            return kinds_of(Path(base).expanduser(), depth + 1) if base else frozenset()
    return _architectures().get(str(_json(folder / "model_index.json").get("_class_name")), frozenset())


def _json(path: Path) -> dict[str, object]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def kinds(model: str) -> frozenset[str] | None:
    """The kinds of a model by its name or folder; None where that is only known once it is loaded."""
    if model in miniatures.available():
        return kinds_of(miniatures.folder(model)) or None
    path = Path(model).expanduser()
    return (kinds_of(path) or None) if path.is_dir() else None


def fits(card: Card, model: str) -> str:
    """Why a method does not work on a model; "" if it does, or that is not known yet."""
    known = kinds(model)
    if not card.works_on or known is None or known & set(card.works_on):
        return ""
    return f"{card.name} works on {', '.join(card.works_on)}; {model} is {', '.join(sorted(known))}"


def model_problem(model: str, settings: Settings) -> str:
    """What is wrong with the name of a model; "" if nothing is."""
    if not model:
        return "choose a model"
    if model in bundled() or model in settings.models:
        return ""
    if not settings.private:
        return str(BadInput(f"visitors from elsewhere may choose {', '.join((*bundled(), *settings.models))}"))
    path = Path(model).expanduser()
    if path.is_dir():
        indices = ("model_index.json", *NEXT)
        return (
            ""
            if any((path / index).is_file() for index in indices)
            else f"{model} has no model_index.json: give a diffusers folder"
        )
    if HUB_ID.fullmatch(model):
        offline = any(
            os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in ("DIFFOLIO_OFFLINE", "HF_HUB_OFFLINE")
        )
        return f"{model} would have to be fetched, and the network is switched off: give a local folder" if offline else ""
    if "/" in model or "\\" in model:
        return f"there is no folder {model}"
    return str(unknown("model", model, bundled(), hint="Give a bundled name, a diffusers folder, or a hub id like owner/name."))


def default_model(card: Card) -> str:
    """The first bundled model that a method works on."""
    return next((name for name in bundled() if not fits(card, name)), bundled()[0] if bundled() else "")
