"""A finished run on the page: two pictures under a slider, the others, numbers as tables, how to get the same elsewhere."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffolio.errors import BadInput, DiffolioError
from diffolio.web import asked as asking
from diffolio.web import markup

STILL, MOVING = (".png", ".webp", ".gif", ".jpg", ".jpeg"), (".mp4", ".webm")
NUMBERED = re.compile(r"(.+)-(\d+)\.\w+")


@dataclass(frozen=True)
class Kept:
    """A run in the runs folder."""

    folder: Path
    record: dict[str, Any]

    @property
    def pictures(self) -> dict[str, dict[int, Path]]:
        """Title -> number of the sample -> file."""
        found: dict[str, dict[int, Path]] = {}
        for name in self.record.get("pictures", []):
            path = self.folder / Path(name).name
            if (match := NUMBERED.fullmatch(path.name)) and path.suffix in STILL and path.is_file():
                found.setdefault(match[1], {})[int(match[2])] = path
        return found

    @property
    def clips(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.suffix in MOVING)

    def pair(self) -> tuple[str, str] | None:
        """The titles to lay over each other first: what the baseline gave (or the source), and what the method gave."""
        titles = list(self.pictures)
        left = next((title for title in ("baseline", "source") if title in titles), None)
        method = str(self.record.get("method", "")).replace("+", "-").replace("_", "-")
        right = next((title for title in ("edit", method, "stack", "edited") if title in titles and title != left), None)
        right = right or next((title for title in titles if title != left), None)
        left = left or next((title for title in titles if title != right), None)
        return (left, right) if left and right else None


def load(folder: Path) -> Kept:
    """A run from its folder; BadInput if there is none."""
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder.name} holds no result that can be read") from error
    if not isinstance(record, dict) or "method" not in record:
        raise BadInput(f"{folder.name} holds no result of a run")
    return Kept(folder, record)


def heading(kept: Kept) -> str:
    told = kept.record
    words = "; ".join(told.get("prompts") or []) or "no prompt"
    head = f"<h3>{markup.esc(told['method'])} on {markup.esc(str(told['model']))}</h3>"
    target = f" → {markup.esc(told['target'])}" if told.get("target") else ""
    facts = f"seed {told.get('seed')} · {told.get('steps')} steps · {told.get('seconds', 0):.1f} s · {kept.folder.name}"
    notes = "".join(markup.note(f"note: {text}") for text in (told.get("report") or {}).get("notes", []))
    return (
        f'<div class="result-head">{head}<p>“{markup.esc(words)}”{target}</p><p class="note">{markup.esc(facts)}</p>{notes}</div>'
    )


def tables(kept: Kept) -> str:
    """Numbers with the baseline's beside them where there are two, then what else was reported."""
    numbers = kept.record.get("numbers") or {}
    names = [name for name in numbers if not name.endswith("_baseline") and name != "seconds_method"]
    pairs = {name: numbers.get(f"{name}_baseline") for name in names}
    if "seconds_method" in numbers:
        pairs["seconds"] = numbers.get("seconds_baseline")
        numbers = {**numbers, "seconds": numbers["seconds_method"]}
    rows = [[name.replace("_", " "), pairs[name], numbers[name]] for name in pairs]
    if any(row[1] is not None for row in rows):
        found = markup.table(["measured", "baseline", "method"], rows, "numbers of this run")
    else:
        found = markup.table(["measured", "value"], [[row[0], row[2]] for row in rows], "numbers of this run") if rows else ""
    return found + markup.report_tables(kept.record.get("report") or {})


def again(kept: Kept) -> str:
    """The command and the Python lines that give the same pictures."""
    try:
        told = asking.from_record(kept.record, kept.folder)
        return markup.code(told.command(), "The same on the command line") + markup.code(told.python(), "The same in Python")
    except DiffolioError as error:
        return markup.note(f"no command for this run: {error}")


def archive(kept: Kept) -> str | None:
    """A zip of ``result.json``, the pictures and what was given; None where there is no room for one."""
    place = Path(tempfile.mkdtemp(prefix="diffolio-zip-")) / f"{kept.folder.name}.zip"
    try:
        with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as packed:
            for path in sorted(kept.folder.iterdir()):
                if path.is_file() and not path.is_symlink():
                    packed.write(path, path.name)
    except OSError:
        return None
    return str(place)


class View:
    """The components that show a run, to be filled by ``show``."""

    def __init__(self, hint: str) -> None:
        import gradio as gr

        self.hint = hint
        self.kept = gr.State(None)
        self.head = gr.HTML(f'<p class="note">{markup.esc(hint)}</p>')
        self.slider = gr.ImageSlider(
            label="Baseline and method: drag the line", visible=False, interactive=False, height=460, max_height=460,
            elem_classes="pixels", type="filepath", buttons=["fullscreen"],
        )  # fmt: skip
        with gr.Row(visible=False) as self.choice:
            self.left = gr.Dropdown(label="Left", choices=[], interactive=True)
            self.right = gr.Dropdown(label="Right", choices=[], interactive=True)
            self.sample = gr.Dropdown(label="Picture", choices=[], interactive=True)
        self.clip = gr.Video(label="Clip", visible=False, interactive=False)
        self.gallery = gr.Gallery(
            label="All pictures", visible=False, columns=4, object_fit="contain", height="auto", interactive=False, elem_classes="pixels",
            buttons=["fullscreen", "download"],
        )  # fmt: skip
        self.tables = gr.HTML(elem_classes="beside")
        self.again = gr.HTML(elem_classes="beside")
        self.download = gr.DownloadButton("Download result.json and pictures (zip)", visible=False)
        for choice in (self.left, self.right, self.sample):
            choice.input(self.slide, [self.kept, self.left, self.right, self.sample], self.slider, show_progress="hidden")

    @property
    def outputs(self) -> list[Any]:
        return [self.kept, self.head, self.slider, self.choice, self.left, self.right, self.sample, self.clip, self.gallery, self.tables,
                self.again, self.download]  # fmt: skip

    @staticmethod
    def slide(folder: str | None, left: str, right: str, sample: str) -> Any:
        import gradio as gr

        pictures = load(Path(folder)).pictures if folder else {}
        n = int(sample or 1) - 1
        pair = [pictures.get(title, {}).get(n) or next(iter(pictures.get(title, {}).values()), None) for title in (left, right)]
        return gr.update(value=tuple(map(str, pair)), visible=True) if all(pair) else gr.update()

    def show(self, folder: Path, before: str = "") -> dict[Any, Any]:
        """Updates that show the run in ``folder``; ``before`` is HTML that stands above it."""
        import gradio as gr

        kept = load(folder)
        pictures, pair, zipped = kept.pictures, kept.pair(), archive(kept)
        titles = list(pictures)
        samples = max((len(batch) for batch in pictures.values()), default=0)
        first = tuple(str(next(iter(pictures[title].values()))) for title in pair) if pair else None
        shown = [
            (str(path), f"{title} {n + 1}" if samples > 1 else title)
            for title, batch in pictures.items()
            for n, path in batch.items()
        ]
        clips = kept.clips
        return {
            self.kept: str(folder), self.head: before + heading(kept),
            self.slider: gr.update(
                value=first, visible=pair is not None, label=f"{pair[0]} and {pair[1]}: drag the line" if pair else None
            ),
            self.choice: gr.update(visible=len(titles) > 2 or samples > 1),
            self.left: gr.update(choices=titles, value=pair[0] if pair else None),
            self.right: gr.update(choices=titles, value=pair[1] if pair else None),
            self.sample: gr.update(choices=[str(n + 1) for n in range(samples)], value="1" if samples else None, visible=samples > 1),
            self.clip: gr.update(value=str(clips[0]) if clips else None, visible=bool(clips)),
            self.gallery: gr.update(
                value=shown, visible=len(shown) > 2 or (bool(shown) and pair is None), columns=min(4, max(2, len(titles)))
            ),
            self.tables: tables(kept), self.again: again(kept), self.download: gr.update(value=zipped, visible=zipped is not None),
        }  # fmt: skip
