"""One sheet of every bundled miniature: what it draws, under what its claim measured."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from diffolio import miniatures
from diffolio.claims.evidence import MINIATURES, PICTURE, evidence_folder, load_evidence, save_picture, subjects
from diffolio.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image

WIDTH, BAND, GAP = 1340, 470, 10  # two rows of ten pictures under captions of six lines fit
NAME = f"contact_sheet{PICTURE}"
STEPS = {"mini-lcm": 2, "mini-rg-lcm": 2}  # of the students, which have no claim of their own
PIPELINES = ("model_index.json", "student.json", "base.json")
COPIES = ("-a", "-b")


def contact_sheet() -> Image.Image:
    """Every miniature with its recorded picture and figure, one below the other; one without a record draws ten prompts anew."""
    from PIL import Image, ImageDraw, ImageFont

    bands = [band for name in _names() if (band := _band(name))]
    if not bands:
        raise BadInput("no miniature is bundled here: `diffolio train NAME` makes one")
    heads = [textwrap.wrap(text, 150) for text, _ in bands]
    heights = [20 * len(lines) + picture.height + 3 * GAP for lines, (_, picture) in zip(heads, bands, strict=True)]
    canvas = Image.new("RGB", (WIDTH, sum(heights)), "white")
    draw, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(15), 0
    for lines, (_, picture), height in zip(heads, bands, heights, strict=True):
        draw.multiline_text((GAP, top + GAP), "\n".join(lines), "black", font, spacing=4)
        canvas.paste(picture, (0, top + 20 * len(lines) + GAP))
        top += height
    return canvas


def record(folder: Path | None = None) -> Path:
    """Make the sheet and write it to ``folder``, by default to the miniatures' evidence."""
    place = (folder or evidence_folder() / MINIATURES) / NAME
    picture = contact_sheet()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        save_picture(picture, place)
    except OSError as error:
        raise BadInput(f"cannot write {place} ({error.strerror}): give another folder with --out") from error
    return place


def _names() -> list[str]:
    """The miniatures, two copies of one net as one."""
    return list(dict.fromkeys(_whole(name) for name in miniatures.available()))


def _whole(name: str) -> str:
    return name[:-2] if name.endswith(COPIES) else name


def _band(name: str) -> tuple[str, Image.Image] | None:
    """A heading, and a picture at most WIDTH wide and BAND high: the top of the recorded one. None for a part that draws nothing."""
    from PIL import Image

    key = name.replace("-", "_")
    found = load_evidence(key) if key in subjects() else None
    if found is None or not found["picture"]:
        return _drawn(name) if any((miniatures.folder(name) / index).exists() for index in PIPELINES) else None
    row = found["rows"][0]
    low, high = row["interval"]
    interval = "" if low is None else f" [{low:.3g}, {high:.3g}]"
    met = "met" if row["holds"] else "not met"
    head = f"{name}: {row['metric']} {row['ratio']:.3g}{interval}, bar {row['bar']}: {met}{', stale' if found['stale'] else ''}"
    with Image.open(evidence_folder() / MINIATURES / found["picture"]) as whole:
        picture = whole.convert("RGB")
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
    return head, _top(picture)


def _top(picture: Image.Image) -> Image.Image:
    """The rows of a sheet that end above BAND."""
    import numpy as np

    if picture.height <= BAND:
        return picture
    blank = (np.asarray(picture)[:BAND] >= 250).all((1, 2)).nonzero()[0]
    return picture.crop((0, 0, picture.width, int(blank[-1]) if len(blank) else BAND))


def _drawn(name: str) -> tuple[str, Image.Image]:
    from diffolio.metrics.contact import contact_sheet as drawn_sheet
    from diffolio.metrics.contact import draw
    from diffolio.models import load

    steps = STEPS.get(name, 25)
    drawn = draw(load(name), 10, 1, seed=1000, steps=steps, guidance_scale=miniatures.GUIDANCE_SCALE)
    return f"{name}: ten prompts in {steps} steps", drawn_sheet([drawn])
