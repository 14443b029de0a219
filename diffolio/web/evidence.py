"""Evidence: every recorded claim in one table, failures as visible as successes, and which methods were run together."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffolio.claims.evidence import evidence_folder
from diffolio.web import markup, recorded
from diffolio.web.markup import esc, figure

HEADS = ("picture", "claim", "holds", "the paper says", "measured", "baseline", "ours", "ratio", "95% interval", "bar", "n")
WORDS = {True: '<span class="holds">✓ holds</span>', False: '<span class="fails">✗ fails</span>'}


def picture(name: str) -> Path | None:
    """The picture of a claim; None for a name that has none, whatever it is."""
    found = recorded.evidence(name)
    return Path(found["picture_path"]) if found and found["picture_path"] else None


@functools.lru_cache(maxsize=256)
def small(path: Path, modified: float) -> bytes:
    """A picture at a size for lists, as WebP."""
    from PIL import Image, ImageChops

    with Image.open(path) as whole:
        shown = whole.convert("RGB")
    edge = ImageChops.difference(shown, Image.new("RGB", shown.size, shown.getpixel((0, 0)))).getbbox()
    shown = shown.crop(edge) if edge else shown
    shown = shown.crop((0, 0, shown.width, min(shown.height, shown.width)))
    shown.thumbnail((480, 480))
    out = io.BytesIO()
    shown.save(out, "WEBP", quality=80)
    return out.getvalue()


def page() -> str:
    """The whole tab."""
    found = sorted(filter(None, map(recorded.evidence, recorded.names())), key=lambda one: (one["family"], one["name"]))
    held = sum(row["holds"] for row in found)
    stale = sum(row["stale"] for row in found)
    told = f"{len(found)} claims: {held} hold, {len(found) - held} fail" + (
        f"; {stale} were recorded before the code or the weights changed last" if stale else ""
    )
    head = f'<p class="count" role="status">{esc(told)}.</p>' + markup.note(
        "A claim is one experiment with a baseline in the same run and a bar that was set beforehand. What fails stays here as it was"
        " measured."
    )
    columns = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" data-sort="{n}">{esc(name)}</button></th>'
        for n, name in enumerate(HEADS)
        if n
    )
    body = "".join(_row(row) for row in found)
    table = (
        '<div class="scroll" tabindex="0" role="region" aria-label="all claims"><table class="plain">'
        '<caption class="visually-hidden">every recorded'
        f' claim</caption><thead><tr><th scope="col">{HEADS[0]}</th>{columns}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return f'<div class="evidence">{head}{table}{matrix()}</div>'


def _row(found: Mapping[str, Any]) -> str:
    row, name = found["rows"][0], found["name"]
    several = "" if found["bars"] == 1 else f"<br><small>{found['bars_met']} of {found['bars']} bars</small>"
    holds = WORDS[bool(found["holds"])] + several + (' <span class="stale">stale</span>' if found["stale"] else "")
    low, high = row["interval"]
    cells = [
        ("", int(bool(found["holds"])), holds), ("says", found["paper_says"], esc(found["paper_says"])),
        ("metric", row["metric"], esc(row["metric"])), ("num", row["baseline"], figure(row["baseline"])),
        ("num", row["value"], figure(row["value"])), ("num", row["ratio"], figure(row["ratio"])),
        ("num", low, f"{figure(low)} to {figure(high)}"), ("num", row["bar"], markup.bar(row["bar"])),
        ("num", row["n"], figure(row["n"])),
    ]  # fmt: skip
    tds = "".join(
        f'<td class="{kind}" data-v="{esc(str("" if key is None else key))}">{shown}</td>' for kind, key, shown in cells
    )
    head = f'<th scope="row" data-v="{esc(name)}"><b>{esc(name)}</b><br><small>{esc(found["family"])}</small></th>'
    return f"<tr><td>{_picture(found)}</td>{head}{tds}</tr>"


def _picture(found: Mapping[str, Any]) -> str:
    name = found["name"]
    more = markup.table(
        ["measured", "baseline", "value", "ratio", "from", "to", "bar", "holds"],
        [
            [r["metric"], r["baseline"], r["value"], r["ratio"], *r["interval"], r["bar"] or "reported", r["holds"]]
            for r in found["rows"]
        ],
        f"all rows of {name}",
    )
    image = (
        f'<img src="evidence/{esc(name)}" alt="picture of the claim {esc(name)}" loading="lazy">'
        if found.get("picture_path")
        else ""
    )
    facts = f"{found['world']}, {found['model']}, recorded {found['recorded']}, {found['seconds']:.0f} s"
    facts += f"; `diffolio claim {name}` runs it again"
    inner = f"<h3>{esc(name)}</h3><p>{esc(found.get('notes') or '')}</p>{markup.note(facts)}{image}{more}"
    thumb = f'<img class="small" src="evidence/small/{esc(name)}" alt="" loading="lazy">' if image else "details"
    return (
        f'<button type="button" class="see" aria-label="picture and all rows of {esc(name)}">{thumb}</button>'
        f'<dialog class="large" aria-label="{esc(name)}">{inner}<form method="dialog"><button class="act">Close</button></form></dialog>'
    )


OUTCOMES = {"stacks": ("holds", "✓"), "conflict": ("stale", "–"), "apart": ("note", "·"), "broken": ("fails", "✗")}


def matrix(path: Path | None = None) -> str:
    """What came of every two techniques together, the row entered first, as ``claims/combinations`` recorded it; "" without a record."""
    place = path or evidence_folder() / "combinations.json"
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        pairs = {(str(p["first"]), str(p["second"])): (str(p["outcome"]), str(p.get("reason") or "")) for p in told["pairs"]}
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        return markup.problem("evidence/combinations.json cannot be read: record it again")
    names = sorted({name for pair in pairs for name in pair})

    def cell(first: str, second: str) -> str:
        outcome, why = pairs.get((first, second), ("", ""))
        kind, sign = OUTCOMES.get(outcome, ("note", outcome))
        said = f'<span class="visually-hidden">{esc(outcome)} {esc(why)}</span>'
        title = esc(f"{outcome}: {why}" if why else outcome)
        return f'<td title="{title}"><span class="{kind}" aria-hidden="true">{esc(sign)}</span>{said}</td>'

    head = "".join(f'<th scope="col">{esc(name)}</th>' for name in names)
    body = "".join(f'<tr><th scope="row">{esc(a)}</th>{"".join(cell(a, b) for b in names)}</tr>' for a in names)
    return (
        '<h3>Together</h3><p class="note">The row first, then the column: ✓ run together, – refused as a declared conflict, '
        "· no bundled model takes both, ✗ broken.</p>"
        '<div class="scroll" tabindex="0" role="region" aria-label="combinations"><table class="plain matrix">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


SORT = """
element.addEventListener('click', (event) => {
  const see = event.target.closest('.see');
  if (see) { see.parentElement.querySelector('dialog').showModal(); return; }
  if (event.target.matches('dialog')) { event.target.close(); return; }
  const button = event.target.closest('[data-sort]');
  if (!button) return;
  const head = button.closest('th'), table = head.closest('table'), n = Number(button.dataset.sort);
  const down = head.getAttribute('aria-sort') === 'ascending';
  for (const other of table.querySelectorAll('th[aria-sort]')) other.setAttribute('aria-sort', 'none');
  head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const value = (row) => row.children[n].dataset.v ?? '';
  const number = (text) => text === '' ? NaN : Number(text);
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)], [p, q] = [number(x), number(y)];
    if (x === '' || y === '') return (x === '') - (y === '');
    const order = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
    return down ? -order : order;
  });
  table.tBodies[0].append(...rows);
});
"""
