"""One page per method, from its module, its knobs and its evidence; and an index of all."""

from __future__ import annotations

import ast
import re
from typing import Any

from diffolio.cli.listing import number
from docs.builder.content import Entry, entries, example_model, families, family_title, of_family, papers_of
from docs.builder.text import bar, blocks, cell, code, fence, figure, prose, sentences, table, verdict

COST = re.compile(
    r"\b(seconds?|times? as long|cost|model calls?|network (calls?|evaluations?)|evaluations?|multiplications?|memory)\b", re.I
)
KIND = {
    "technique": "changes how a running model samples, inside a `with` block, and comes off again without a trace",
    "tool": "takes data and gives a result",
    "recipe": "trains, and yields a checkpoint",
}
PROMPT, OTHER, TARGET = "a red house", "a blue tree", "a blue house"


def page(entry: Entry, with_reference: bool = True) -> str:
    """The whole page of a method."""
    parts = [
        f"# {entry.title}", prose(capital(entry.gives)), facts(entry), picture(entry), "## Run it", commands(entry),
        "## The idea", idea(entry), "## Knobs", knobs(entry), "## When to use it", when(entry), "## Cost", cost(entry),
        "## What the claim measured", claim(entry), "## What was not reproduced", missed(entry),
    ]  # fmt: skip
    parts += ["## Reference", reference(entry)] if with_reference else []
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(entry: Entry) -> str:
    card, paper = entry.card, entry.paper
    rows = [("paper", f"[{card.paper}](https://arxiv.org/abs/{card.paper})" + (f" {cell(paper.title)}" if paper else ""))]
    if paper and paper.authors:
        rows.append(("authors", cell(paper.authors)))
    if paper and paper.submitted:
        rows.append(("submitted", paper.submitted))
    rows.append(("kind", f"**{card.kind}**: {KIND[card.kind]}"))
    rows.append(("family", f"[{family_title(card.family)}](../index.md#{card.family})"))
    rows.append(("attaches to", ", ".join(f"`{kind}`" for kind in card.works_on) or "any model, or none"))
    state = verdict(entry.found["holds"], entry.found["stale"]) if entry.found else "not recorded"
    rows.append(("claim", f"{state} · [what was measured](#what-the-claim-measured)"))
    return f'<div class="facts" markdown>\n\n{table(("", ""), [(f"**{key}**", value) for key, value in rows])}\n\n</div>'


def picture(entry: Entry) -> str:
    if not entry.found or not entry.found.get("picture"):
        return ""
    return f"![What {entry.title} does: the picture of its claim](../../pictures/{entry.card.family}/{entry.found['picture']})"


def commands(entry: Entry) -> str:
    """The command line and the Python lines; of one template per kind."""
    model = example_model(entry)
    option = "" if model == "mini-sd" else f" --model {model}"
    asked = f'--prompt "{PROMPT}" --set target="{TARGET}"' if entry.edits else f'--prompt "{PROMPT}" --prompt "{OTHER}"'
    lines = [] if entry.card.needs else [f"diffolio run {entry.name}{option} {asked}"]
    shown = fence("bash", "\n".join([*lines, f"diffolio show {entry.name}"]))
    if entry.card.kind == "recipe":
        shown += "\n\n" + fence("bash takes-minutes", f"diffolio train {entry.name} --budget 20m --out runs/{entry.name}")
    if entry.edits:
        given = "".join(
            " --mask mask.png" if need == "mask" else f" --input {need}=file" for need in entry.card.needs if need != "image"
        )
        shown += "\n\nOn a picture of yours:\n\n" + fence(
            "bash needs-files",
            f'diffolio run {entry.name} --image photo.png --prompt "{PROMPT}" --set target="{TARGET}"{given}',
        )
    return shown + "\n\n" + fence("python", python(entry, model))


def python(entry: Entry, model: str) -> str:
    card = entry.card
    where = f"from diffolio.methods.{card.family}.{card.name} import {card.class_name}"
    if card.kind == "technique":
        return (
            f'from diffolio import load\n{where}\n\nmodel = load("{model}")\nwith {card.class_name}().on(model):\n'
            f'    images = model.sample(["{PROMPT}", "{OTHER}"]).images  # (2, 3, height, width) in [0, 1]'
        )
    if entry.edits and not card.needs:
        return (
            f'from diffolio import load\n{where}\n\nmodel = load("{model}")\n'
            f'image = model.sample(["{PROMPT}"]).images  # or a path: "photo.png"\n'
            f'edit = {card.class_name}()(model, image, "{PROMPT}", "{TARGET}")\nedit.save("out/{card.name}")'
        )
    return (
        f"from diffolio import load\nfrom diffolio.results import Job\n{where}\n\n"
        f'job = Job(load("{model}"), ["{PROMPT}", "{OTHER}"])\n{card.class_name}().run(job).save("out/{card.name}")'
    )


def idea(entry: Entry) -> str:
    """The module's docstring without its headline and without what differs from the paper."""
    told = blocks(entry.card.idea)[1:]
    return "\n\n".join(block.markdown() for block in told if not block.tells_differences)


def knobs(entry: Entry) -> str:
    if not entry.card.knobs:
        return "None."
    rows = [
        (
            f"`{knob.name}`<br><small>{cell(knob.type)}</small>",
            code(repr(knob.default)),
            cell(knob.range) or "any",
            cell(knob.range.means),
        )
        for knob in entry.card.knobs
    ]
    return table(("knob", "default", "range", "meaning"), rows) + (
        f"\n\nOn the command line `--set {entry.card.knobs[0].name}=...`, in Python `{entry.title}({entry.card.knobs[0].name}=...)`."
    )


def when(entry: Entry) -> str:
    lines = [prose(entry.card.summary)]
    if entry.card.edits:
        lines.append("It is meant for these edits: " + ", ".join(entry.card.edits) + ".")
    if entry.card.needs:
        lines.append("It cannot run without: " + ", ".join(entry.card.needs) + ".")
    if entry.found is None:
        lines.append("No claim is recorded yet: whether it does here what the paper says is not known.")
    elif entry.found["holds"]:
        lines.append(
            "On the bundled model it does what its claim asks; on your checkpoint, look at the pictures side by side first."
        )
    else:
        lines.append(
            "**Its claim fails on the bundled model.** Read [what was not reproduced](#what-was-not-reproduced) before you rely on it."
        )
    if entry.card.kind == "technique":
        lines.append("It can be joined with other techniques: [which ones](../../combining.md#which-techniques-go-together).")
    return "\n\n".join(lines)


def cost(entry: Entry) -> str:
    lines, found = [], entry.found
    rows = [row for row in found["rows"] if COST.search(row["metric"])] if found else []
    if rows:
        lines.append(measured(rows))
    told = [one for one in sentences(found["notes"]) if COST.search(one)] if found else []
    lines += [prose(one) for one in told]
    if not rows and not told:
        lines.append("The claim does not measure what it costs.")
    if entry.card.kind == "technique":
        lines.append("`diffolio run` prints `seconds_baseline` and `seconds_method` for your model on your machine.")
    if found:
        threads, device = found["versions"].get("threads", "?"), found["versions"].get("device", "?")
        lines.append(f"The claim below took {found['seconds']:.0f} s ({device}, {threads} thread{'s' * (threads != '1')}).")
    return "\n\n".join(lines)


def claim(entry: Entry) -> str:
    found = entry.found
    if found is None:
        return f"Nothing is recorded. `diffolio claim {entry.name}` runs the experiment if there is one."
    record = f"[the record](../../records/{entry.card.family}/{entry.name}.json)"
    lines = [f"The paper says: {prose(found['paper_says'])}", measured(found["rows"])]
    stale = " **Stale: code or weights changed since; it has to be measured again.**" if found["stale"] else ""
    lines.append(
        f"Measured on {found['recorded']} on {found['world']} with `{found['model']}`: the claim {verdict(found['holds'])}.{stale} "
        f"Seeds: {prose(found['seeds'] or 'in the record')}. Numbers, versions and seeds are in {record}; "
        f"`diffolio claim {entry.name}` measures again. [How to read this](../../evidence.md)."
    )
    return "\n\n".join(lines)


def measured(rows: list[dict[str, Any]]) -> str:
    body = table(
        ("measured", "baseline", "with the method", "figure [95%]", "bar", "", "n"),
        [
            (cell(row["metric"]) + (f" ({cell(row['note'])})" if row["note"] else ""),
             "" if row["baseline"] is None else number(row["baseline"]), number(row["value"]), figure(row), bar(row),
             verdict(row["holds"]), row["n"])
            for row in rows
        ],
    )  # fmt: skip
    return f'<div class="measured" markdown>\n\n{body}\n\n</div>'


def missed(entry: Entry) -> str:
    found, lines = entry.found, []
    if found:
        failing = [row for row in found["rows"] if row["holds"] is False]
        lines += [f"- {cell(row['metric'])}: {figure(row)}, the bar is {bar(row)}." for row in failing]
        lines = ["\n".join(lines)] if lines else ["Every row that had a bar reached it."]
        lines.append(prose(found["notes"]))
        lines.append(
            "The paper's own figures were measured on its own data and models. The claim repeats the comparison in small, on a world "
            "whose truth is known; it does not repeat those figures."
        )
    else:
        lines.append("Everything that the paper measures: no evidence is recorded.")
    lines += [block.markdown() for block in blocks(entry.card.idea) if block.tells_differences]
    return "\n\n".join(line for line in lines if line)


def reference(entry: Entry) -> str:
    """What the module offers; its own docstring is the page's idea already."""
    module = f"diffolio.methods.{entry.card.family}.{entry.name}"
    return "\n\n".join(
        f"::: {module}.{name}\n    options:\n      heading_level: 3\n      show_root_full_path: false" for name in offered(entry)
    )


def offered(entry: Entry) -> list[str]:
    """The public classes and functions of a method's module that have a docstring."""
    tree = ast.parse(entry.card.path.read_text(encoding="utf-8"))
    named = [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    return [node.name for node in named if not node.name.startswith("_") and ast.get_docstring(node)]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def index() -> str:
    """All methods, a table per family, and how many papers of it run."""
    parts = [
        "# Methods",
        f"{len(entries())} papers run. A page each: what it gives you, the idea, every knob, what was measured, what failed.",
    ]
    for family in families():
        own = of_family(family)
        parts.append(f"## {family_title(family)} {{#{family}}}")
        planned = [paper for paper in papers_of(family) if paper.name not in {entry.name for entry in own}]
        if own:
            parts.append(table(("method", "kind", "what it gives you", "claim"), [
                (f"[{entry.title}]({entry.page.removeprefix('methods/')})", entry.card.kind, prose(capital(entry.gives)),
                 verdict(entry.found["holds"], entry.found["stale"]) if entry.found else "not recorded") for entry in own
            ]))  # fmt: skip
        if planned:
            titles = "\n".join(f"- [{paper.id}](https://arxiv.org/abs/{paper.id}) {cell(paper.title)}" for paper in planned)
            parts.append(
                f"<details markdown><summary>{len(planned)} papers of the catalogue that do not run yet</summary>\n\n{titles}\n\n</details>"
            )
    return "\n\n".join(parts) + "\n"
