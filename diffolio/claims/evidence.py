"""Evidence: recorded outcomes of claims, one JSON and one picture each, and whether they are still true of the code."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from diffolio import miniatures, registry
from diffolio.claims.base import Claim, Outcome
from diffolio.errors import BadInput, Unsupported, unknown
from diffolio.results import plain, versions

if TYPE_CHECKING:
    from PIL import Image

PACKAGE = Path(__file__).parents[1]
MINIATURES = "miniatures"
PICTURE = ".webp"
"""A third of a PNG's size: the package carries a picture a claim."""
EARLIER = "Of the record of"


def evidence_folder() -> Path:
    """``evidence/`` beside the package in a checkout, the bundled copy in an installed package."""
    checkout = PACKAGE.parent / "evidence"
    return checkout if (PACKAGE.parent / "pyproject.toml").exists() else PACKAGE / "_evidence"


@dataclass(frozen=True)
class Subject:
    """What a claim is about: a method, or a bundled model (family "miniatures", no paper); ``code`` is what it is made of."""

    name: str
    family: str
    paper: str | None = None
    code: tuple[Path, ...] = ()

    @property
    def claim(self) -> Path:
        return PACKAGE / "claims" / self.family / f"{self.name}.py"


def subjects() -> dict[str, Subject]:
    """Everything that may have a claim: the methods, then the bundled models that have one."""
    found = {card.name: _of(card) for card in registry.cards().values()}
    models = sorted(path.stem for path in (PACKAGE / "claims" / MINIATURES).glob("*.py") if path.stem != "__init__")
    return found | {name: Subject(name, MINIATURES) for name in models}


def subject(name: str) -> Subject:
    """A method or a bundled model with a claim, by name; names may be written with - or _."""
    known = subjects()
    key = name.replace("-", "_")
    if key not in known:
        raise unknown("claim", name, known, hint="`diffolio claims` shows what is recorded.")
    return known[key]


def _of(card: registry.Card) -> Subject:
    return Subject(card.name, card.family, card.paper, (card.path,))


def claim_module(name: str) -> ModuleType:
    """The claim module of a method or of a bundled model."""
    about = subject(name)
    try:
        return importlib.import_module(f"diffolio.claims.{about.family}.{about.name}")
    except ModuleNotFoundError as error:
        raise Unsupported(f"{about.name} has no claim yet: add diffolio/claims/{about.family}/{about.name}.py") from error


def measure(name: str, *, retrain: bool = False) -> dict[str, Any]:
    """Run a method's claim and return its record (nothing is written; see ``record``). The picture is under "picture"."""
    module = claim_module(name)
    claim: Claim = module.CLAIM
    if not retrain:
        _all_here(claim)
    started = time.perf_counter()
    outcome: Outcome = module.measure(retrain=retrain)
    seconds = time.perf_counter() - started
    if str(outcome.headline.bar) != str(claim.bar):
        raise BadInput(f"{name}: the headline's bar {outcome.headline.bar} is not the claim's {claim.bar}")
    measured = [outcome.headline.as_dict(), *(row.as_dict() for row in outcome.more)]
    # The headline figure decides together with every other row that was given a bar beforehand.
    holds = all(row["holds"] for row in measured if row["holds"] is not None)
    return {
        "method": claim.method, "paper": subject(name).paper, "world": claim.world, "model": claim.model,
        "paper_says": claim.paper_says, "holds": holds, "rows": measured, "seeds": outcome.seeds, "notes": outcome.notes,
        "details": outcome.details, "seconds": round(seconds, 1), "recorded": time.strftime("%Y-%m-%d"),
        "versions": versions(), "fingerprint": fingerprint(name), "picture": outcome.picture,
    }  # fmt: skip


def _all_here(claim: Claim) -> None:
    """The wheel leaves out what only claims compare with: say so before anything runs."""
    for weights in _weights(claim):
        absent = miniatures.missing_baselines(weights)
        if absent:
            raise Unsupported(
                f"the claim of {claim.method} compares with {', '.join(absent)}, which the installed package leaves out: run it in a "
                "clone of the repository, or train everything again with --retrain; `diffolio claims` shows the recorded outcome"
            )


def record(name: str, found: dict[str, Any]) -> list[Path]:
    """Write a claim's record and picture under the evidence folder.

    A note that was written to the record before is kept, with the date of what it speaks of, for its author to look at again.
    """
    about = subject(name)
    folder = evidence_folder() / about.family
    picture = found.pop("picture", None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{about.name}.json"]
        found["notes"] = found.get("notes") or _earlier_note(paths[0])
        found["picture"] = None
        if picture is not None:
            paths.append(folder / f"{about.name}{PICTURE}")
            save_picture(picture, paths[-1])
            found["picture"] = paths[-1].name
        paths[0].write_text(json.dumps(plain(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write evidence to {folder} ({error.strerror})") from error
    return paths


def _earlier_note(path: Path) -> str:
    if not path.exists():
        return ""
    before = json.loads(path.read_text(encoding="utf-8"))
    note = str(before.get("notes") or "")
    return note if not note or note.startswith(EARLIER) else f"{EARLIER} {before['recorded']}: {note}"


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a record's picture, as small as it can be without showing it."""
    picture.convert("RGB").save(path, quality=90, method=6, use_sharp_yuv=True)


def load_evidence(name: str) -> dict[str, Any] | None:
    """The recorded evidence of a method or bundled model, or None; ``stale``: code or weights changed since; of its ``bars`` rows that
    have a bar ``bars_met`` meet it."""
    about = subject(name)
    path = evidence_folder() / about.family / f"{about.name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found["bars_met"], found["bars"] = bars(found["rows"])
    found["stale"] = found.get("fingerprint") != fingerprint(name)
    found["picture_path"] = str(path.parent / found["picture"]) if found.get("picture") else None
    return found


def rows() -> list[dict[str, Any]]:
    """One row a subject with evidence: the headline, flat, with the other rows under "more"."""
    table = []
    for name, about in subjects().items():
        found = load_evidence(name)
        if found is None:
            continue
        head = {key: value for key, value in found["rows"][0].items() if key != "holds"}
        wanted = ("method", "paper_says", "holds", "bars_met", "bars", "seconds", "model", "world", "stale", "recorded")
        kept = {key: found[key] for key in wanted}
        table.append({**head, **kept, "family": about.family, "more": found["rows"][1:]})
    return table


def bars(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """How many rows of a record meet their bar, and how many have one; a claim holds if these are the same."""
    decided = [row["holds"] for row in rows if row["holds"] is not None]
    return sum(decided), len(decided)


def fingerprint(name: str) -> str:
    """A hash of the method's and the claim's code (not of comments, docstrings or layout) and of the weights they use."""
    about = subject(name)
    digest = hashlib.sha256()
    for path in (*about.code, about.claim):
        if path.exists():
            digest.update(_code(path).encode())
    claim = _claim_of(about.claim)
    for weights in _weights(claim) if claim else ():
        here = (miniatures.WEIGHTS / weights).is_dir() or weights in miniatures.missing_baselines(weights)
        digest.update(json.dumps(miniatures.checksums(weights) if here else {}, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _weights(claim: Claim) -> list[str]:
    """What a claim reads, by name: its model, and what else it names."""
    return sorted({claim.model, *claim.weights})


def claim_of(name: str) -> Claim | None:
    """The CLAIM of a method or bundled model, read without importing it; None if it has none."""
    return _claim_of(subject(name).claim)


def _claim_of(path: Path) -> Claim | None:
    """The CLAIM literal of a claim module, read without importing it."""
    if not path.exists():
        return None
    known = {cls.__name__: cls for cls in (Claim, *_bars())}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "CLAIM":
            made: Claim = eval(compile(ast.Expression(node.value), str(path), "eval"), {"__builtins__": {}}, known)
            return made
    return None


def _bars() -> tuple[type, ...]:
    from diffolio.claims import base

    return (base.AtMost, base.AtLeast)


def _code(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and body
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)


def claim_record(claim: Claim) -> dict[str, Any]:
    return {**dataclasses.asdict(claim), "bar": str(claim.bar)}
