"""One page per bundled model: what it is made of, how large it is, how it was measured and how to make it again."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from diffolio import miniatures
from diffolio.cli.listing import number
from docs.builder.content import entries, evidence_of_model
from docs.builder.methods import measured
from docs.builder.text import cell, fence, prose, table, verdict


def names() -> list[str]:
    return miniatures.available()


def parameters(file: Path) -> int:
    """How many numbers a safetensors file holds, from its header."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    count = 0
    for name, about in header.items():
        if name != "__metadata__":
            product = 1
            for side in about["shape"]:
                product *= side
            count += product
    return count


def parts(folder: Path) -> list[tuple[str, str, int, int]]:
    """(part, class, parameters, bytes) of every file of weights in the folder."""
    found = []
    for file in sorted(folder.rglob("*.safetensors")):
        beside = file.parent / "config.json"
        about = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
        cls = about.get("_class_name") or next(iter(about.get("architectures") or []), "adapter" if not about else "networks")
        part = file.parent.relative_to(folder).as_posix()
        found.append((file.stem if part == "." else part, cls, parameters(file), file.stat().st_size))
    return found


def what(folder: Path) -> str:
    """The class that reads the folder, or what it is an adapter of."""
    for index in ("model_index.json", "config.json"):
        if (folder / index).exists():
            about = json.loads((folder / index).read_text(encoding="utf-8"))
            return about.get("_class_name") or next(iter(about.get("architectures") or []), "networks")
    for index in ("base.json", "student.json"):
        if (folder / index).exists():
            about = json.loads((folder / index).read_text(encoding="utf-8"))
            return f"an adapter of {about.get('base') or about.get('teacher') or 'another model'}"
    return "weights"


def used_by(name: str) -> str:
    """The methods whose claim reads these weights."""
    from diffolio.claims.evidence import claim_of

    using = []
    for entry in entries():
        claim = claim_of(entry.name)
        if claim and name in (claim.model, *claim.weights):
            using.append(f"[{entry.title}](../{entry.page})")
    return ", ".join(using)


def how_made(name: str) -> str:
    from diffolio.training.miniatures import PLANS

    if name not in PLANS:
        return "It comes out of a recipe or a claim: see the methods that use it."
    plan = PLANS[name]
    budget = f"{plan.budget.steps} steps" if plan.budget.steps else f"{plan.budget.seconds:.0f} s"
    made = miniatures.training(name)
    told = (
        f"What is bundled was made by `{made['command']}` in {made['seconds'] / 60:.0f} minutes on {made['versions']['device']}; its log "
        f"lies beside the weights, in `{miniatures.LOG}`. "
        if made
        else ""
    )
    return told + (
        f"`diffolio train {name}` makes it again ({budget}; stop it at any time and go on with `--resume`). "
        f"Optimiser: rate {plan.settings.rate:g}, warm-up {plan.settings.warmup} steps, weight average {plan.settings.decay:g}."
    )


def page(name: str) -> str:
    folder = miniatures.folder(name)
    inside = parts(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    lines = [
        f"# {name}",
        f"{what(folder)}, {sum(row[2] for row in inside) / 1e6:.2f} million parameters, {size / 1e6:.1f} MB on disk.",
    ]
    found = evidence_of_model(name)
    if found and found.get("picture"):
        lines.append(f"![{name}: the picture of its claim](../pictures/miniatures/{found['picture']})")
    body = [(f"`{part}`", f"`{cls}`", f"{count:,}", f"{size / 1e6:.2f} MB") for part, cls, count, size in inside]
    lines += ["## What is in it", table(("part", "class", "parameters", "size"), body)]
    if (folder / "model_index.json").exists():
        lines += [
            "It is an ordinary folder of diffusers: `DiffusionPipeline.from_pretrained` reads it too.",
            fence("python", f'from diffolio import load\n\nmodel = load("{name}")\nprint(model)'),
        ]
    lines += ["## How good it is", quality(found), "## How it was made", how_made(name)]
    using = used_by(name)
    if using:
        lines += ["## Claims that use it", using]
    return "\n\n".join(lines) + "\n"


def quality(found: dict[str, Any] | None) -> str:
    if found is None:
        return "It has no claim of its own."
    stale = " (stale: code or weights changed since)" if found["stale"] else ""
    told = f"`diffolio claim {found['method']}` {verdict(found['holds'])}{stale}, measured on {found['recorded']}:"
    return "\n\n".join(part for part in (told, measured(found["rows"]), prose(found["notes"])) if part)


def index() -> str:
    rows = []
    for name in names():
        folder = miniatures.folder(name)
        found = evidence_of_model(name)
        state = "no claim of its own"
        if found:
            head = found["rows"][0]
            state = f"{verdict(found['holds'], found['stale'])} {cell(head['metric'])}: {number(head['ratio'])}"
        count = sum(row[2] for row in parts(folder)) / 1e6
        rows.append((f"[{name}]({name}.md)", what(folder), f"{count:.2f} M", state))
    intro = (
        "Small models that come with the package, in the ordinary formats of diffusers and transformers. They were trained on worlds "
        "whose truth is known exactly, so that claims can be judged by analysis. They are for trying and measuring methods, not for "
        "making pictures."
    )
    return f"# Bundled models\n\n{intro}\n\n{table(('model', 'class', 'parameters', 'measured'), rows)}\n"
