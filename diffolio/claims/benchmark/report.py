"""A benchmark as Markdown, JSON and a contact sheet."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from diffolio.claims.benchmark.editing import METRICS, THOUSANDTHS, Benchmark
from diffolio.claims.evidence import PICTURE, save_picture
from diffolio.errors import BadInput
from diffolio.results import plain, versions

if TYPE_CHECKING:
    from PIL import Image

COLUMNS = 8  # pictures of the contact sheet
SHORT = {
    "structure_distance": "structure ↓", "background_psnr": "PSNR ↑", "background_ssim": "SSIM ↑",
    "background_perceptual": "perceptual ↓", "success": "success ↑", "all_right": "all right ↑",
    "truth_psnr": "PSNR to truth ↑", "model_calls": "calls", "seconds": "seconds",
}  # fmt: skip


def write(done: Benchmark, folder: Path, name: str = "editing") -> list[Path]:
    """``name``.json, .md and .webp in the folder. BadInput if it cannot be written."""
    record = {**done.as_dict(), "recorded": time.strftime("%Y-%m-%d"), "versions": versions()}
    paths = [folder / f"{name}{ending}" for ending in (".json", ".md", PICTURE)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(json.dumps(plain(record), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        paths[1].write_text(markdown(record), encoding="utf-8")
        save_picture(picture(done), paths[2])
    except OSError as error:
        raise BadInput(f"cannot write to {folder} ({error.strerror}): name another folder with --out") from error
    return paths


def table(record: dict[str, Any], intervals: bool = True) -> tuple[list[str], list[list[str]]]:
    """Headings and rows as text; columns without any figure are left out."""
    shown = [name for name in METRICS if any(row["metrics"][name] for row in record["rows"])]
    head = ["editor", *(SHORT[name] for name in shown), "n"]
    rows = []
    for row in record["rows"]:
        own = "" if row["model"] == record["model"] else f" on {row['model']}"
        mask = " (given the mask)" if row["given_mask"] else ""
        rows.append(
            [row["editor"] + own + mask, *(figure(name, row["metrics"][name], intervals) for name in shown), str(row["n"])]
        )
    return head, rows


def figure(name: str, found: dict[str, float] | None, interval: bool = True) -> str:
    """ "12.3 [11.9, 12.8]"; costs without an interval."""
    if found is None:
        return "–"
    scale = 1000 if name in THOUSANDTHS else 1
    value, low, high = (scale * found[key] for key in ("value", "low", "high"))
    if name in ("model_calls", "seconds") or not interval:
        return f"{value:.3g}"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def markdown(record: dict[str, Any]) -> str:
    """The table, the successes by kind of edit, and what was left out."""
    head, rows = table(record)
    kinds = list(dict.fromkeys(kind for row in record["rows"] for kind in row["by_kind"]))
    lines = [
        f"{record['rows'][0]['n']} edits on {record['model']}, {record['steps']} steps, seed {record['seed']}; means with 95% "
        "intervals over edits (shares: Wilson's; the rest: bootstrap). Structure and perceptual distance are in thousandths; "
        "background scores are outside of the mask. Costs are per picture.",
        "", *_grid(head, rows),
    ]  # fmt: skip
    if any(row["metrics"]["success"] for row in record["rows"]):
        by_kind = [
            [row["editor"], *(figure("success", (row["by_kind"].get(kind) or {}).get("success")) for kind in kinds)]
            for row in record["rows"]
        ]
        lines += ["", "Success by kind of edit:", "", *_grid(["editor", *kinds], by_kind)]
    if record["left_out"]:
        lines += ["", "Left out:", "", *(f"- {name}: {reason}" for name, reason in record["left_out"].items())]
    if record["skipped"]:
        lines += ["", f"{len(record['skipped'])} entries could not be read:", "", *(f"- {line}" for line in record["skipped"])]
    return "\n".join(lines) + "\n"


def picture(done: Benchmark) -> Image.Image:
    """Sources, every editor's edits and the true twins, of cases spread over the kinds."""
    from diffolio.models.images import sheet

    cases = max((entry.cases for entry in done.entries), key=len)
    size = cases[0].image.shape
    by_kind: dict[str, list[str]] = {}
    for case in cases:
        if case.image.shape == size:
            by_kind.setdefault(case.kind, []).append(case.name)
    turns = [names[i] for i in range(COLUMNS) for names in by_kind.values() if i < len(names)][:COLUMNS]
    chosen = {case.name: case for case in cases if case.name in turns}
    rows: dict[str, list[torch.Tensor]] = {"source": [case.image for case in chosen.values()]}
    for entry in done.entries:
        made = dict(zip([case.name for case in entry.cases], entry.edited, strict=False))
        rows[entry.editor] = [made.get(name, torch.full(size, 0.9)) for name in chosen]
    if all(case.truth is not None for case in chosen.values()):
        rows["true twin"] = [case.truth for case in chosen.values() if case.truth is not None]
    return sheet(rows, [f"{case.kind}: {case.target}" for case in chosen.values()])


def _grid(head: list[str], rows: list[list[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
