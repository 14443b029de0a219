"""One way to edit: what every editor is given, what it gives, what it costs and how well it kept the rest.

``Editor.__call__`` is ``perform``: it checks and fits what it is given, lets the editor change it, counts the calls of the network,
and scores the outcome. ``Editor.run`` is ``run``: the same for a job of the command line, beside the editor's baseline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite, unknown
from diffolio.models.counting import counted
from diffolio.models.photos import Fitted, Photo, fit, load_photo
from diffolio.results import Job, Result

if TYPE_CHECKING:
    from PIL import Image

    from diffolio.models import Model
    from diffolio.process.inversion import Trajectory
    from diffolio.registry import Editor

    Picture = Tensor | str | Path | Image.Image | Photo


@dataclass
class Edit:
    """Pictures (B, 3, H, W) in [0, 1] before and after, at the size at which the model worked.

    ``reconstruction`` is what the editor makes of the source without a change, ``mask`` (bool, (B, H, W)) where it may act, as given or
    as found by the editor; ``extra`` further pictures by title. ``scores`` hold a number per picture, ``numbers`` their means and
    what else the editor reports; ``notes`` what the user should know.
    """

    source: Tensor
    edited: Tensor
    prompts: list[str]
    targets: list[str]
    reconstruction: Tensor | None = None
    trajectory: Trajectory | None = None
    mask: Tensor | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    scores: dict[str, Tensor] = field(default_factory=dict)
    fitted: Fitted | None = None
    keeps_alpha: bool = False

    @property
    def change(self) -> Tensor:
        """What the edit changed, (B, 3, H, W); with a mask, only outside of it, where nothing should."""
        change = (self.edited - self.source).abs()
        return change if self.mask is None else change * ~self.mask[:, None].to(change.device)

    @property
    def picture(self) -> Tensor:
        """The edited pictures at the size of what was given."""
        return self._back(self.edited)

    def result(self, baseline: Edit | None = None) -> Result:
        """Rows of pictures at the size of what was given, with the baseline's beside them where there is one."""
        rows: dict[str, Tensor | None] = {
            "source": self.source, "baseline": baseline and baseline.edited, "edit": self.edited,
            "reconstruction": self.reconstruction, "change": self.change if self.edited.shape == self.source.shape else None,
        }  # fmt: skip
        pictures = {title: self._back(batch) for title, batch in {**rows, **self.extra}.items() if batch is not None}
        if self.fitted is not None:
            pictures["source"] = self.fitted.photo.image[None]
        numbers = self.numbers | ({f"{name}_baseline": value for name, value in baseline.numbers.items()} if baseline else {})
        report = {**self.report, "source": self.prompts, "target": self.targets, "notes": self.notes}
        labels = [f"{a} -> {b}" if a or b else "" for a, b in zip(self.prompts, self.targets, strict=True)]
        alpha = self.fitted.photo.alpha if self.fitted is not None and self.keeps_alpha else None
        return Result(pictures, numbers, report, labels, {} if alpha is None else {"source": alpha, "edit": alpha})

    def save(self, folder: str | Path, record: dict[str, Any] | None = None) -> list[Path]:
        """Write the pictures, ``sheet.png`` and ``result.json``; returns the paths."""
        return self.result().save(folder, record)

    def _back(self, images: Tensor) -> Tensor:
        fits = self.fitted is not None and images.shape[-2:] == self.fitted.image.shape[-2:]
        return self.fitted.back(images) if self.fitted is not None and fits else images


def perform(
    editor: Editor, model: Model, image: Any, source: str | Sequence[str], target: str | Sequence[str], mask: Tensor | None,
    seed: int, inputs: Mapping[str, Any],
) -> Edit:  # fmt: skip
    """``editor(model, image, source, target, mask, seed=seed, **inputs)``; see ``registry.Editor``."""
    editor.check(model)
    check_inputs(editor, mask, inputs)
    if isinstance(image, Tensor):
        return _perform(editor, model, image, source, target, mask, seed, inputs, None)
    fitted = fit(load_photo(image), model)
    given = None if mask is None else fitted.mask(mask[0] if mask.dim() == 3 else mask)
    return _perform(editor, model, fitted.image, source, target, given, seed, inputs, fitted)


def run(editor: Editor, job: Job) -> Result:
    """Edit the job's photograph, or drawn pictures, beside the editor's baseline.

    The job's steps and guidance take the place of the knobs ``steps`` and ``guidance`` unless these were set to another than
    their default. A missing target is the prompt with its first colour changed.
    """
    editor.check(job.model)
    editor = told(editor, job)
    worded = "mask" not in editor.needs
    targets = wanted(job.prompts, job.target) if worded else [job.target] * len(job.prompts)
    images, mask, fitted = pictures(job, drawn_mask=not worded)
    check_inputs(editor, mask, job.inputs)
    plain = editor.baseline()

    def one(editor: Editor) -> Edit:
        return _perform(editor, job.model, images, job.prompts, targets, mask, job.seed, job.inputs, fitted)

    edit, other = one(editor), None if plain is None else one(plain)
    return edit.result(other)


def _perform(
    editor: Editor, model: Model, image: Tensor, source: str | Sequence[str], target: str | Sequence[str], mask: Tensor | None,
    seed: int, inputs: Mapping[str, Any], fitted: Fitted | None,
) -> Edit:  # fmt: skip
    images = (image if image.dim() == 4 else image[None]).to(model.device)
    if images.dim() != 4 or images.shape[1] != 3 or not len(images):
        raise BadInput(f"a picture of shape {tuple(image.shape)}: give (3, H, W), or (B, 3, H, W) with at least one")
    worded = "mask" not in editor.needs
    sources, targets = (each(p, len(images), f"{n} prompt", not worded) for p, n in ((source, "source"), (target, "target")))
    mask = None if mask is None else check_mask(mask, images)
    with counted(model) as calls:
        started = time.perf_counter()
        edit = editor.change(model, images, sources, targets, mask, seed=seed, **inputs)
        seconds = time.perf_counter() - started
    editor.examine(model, edit)
    if not bool(torch.isfinite(edit.edited).all()):
        raise NotFinite(f"{editor.name} gave NaN or infinity: lower its guidance or strength, or load the model in float32")
    edit.mask = mask if edit.mask is None else edit.mask
    edit.fitted, edit.keeps_alpha = fitted, "alpha" in editor.takes
    if fitted is not None:
        edit.notes += fitted.photo.notes
    if worded:
        _keep_what_is_not_changed(edit, model)
    costs = {"model_calls": calls.rows / len(images), "seconds": seconds / len(images)}
    edit.scores = kept(edit.edited, edit.source, edit.mask) | edit.scores
    means = {name: float(values.double().nanmean()) for name, values in edit.scores.items()}
    edit.numbers = {**edit.numbers, **means, **costs}
    return edit


def measured(make: Callable[[], Tensor], network: Any, images: Tensor, sources: list[str], targets: list[str]) -> Edit:
    """What ``make`` gives for pictures (B, 3, H, W), as an edit with its scores, runs of ``network`` and seconds a picture.

    For methods that edit and are no ``Editor``, such as recipes.
    """
    with counted(SimpleNamespace(denoiser=network)) as calls:
        started = time.perf_counter()
        edit = Edit(images, make(), sources, targets)
        seconds = time.perf_counter() - started
    edit.scores = kept(edit.edited, images)
    means = {name: float(values.mean()) for name, values in edit.scores.items()}
    edit.numbers = {**means, "model_calls": calls.rows / len(images), "seconds": seconds / len(images)}
    return edit


def kept(edited: Tensor, source: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
    """How far edits (B, 3, H, W) are from their sources, each (B,): "rms_change", "structure_distance", and with a mask "background_mse",
    "_psnr", "_ssim" and "_perceptual" outside of it, NaN where it leaves nothing. Empty for another size than the source's."""
    from diffolio.metrics.edit import background, judge_keys, perceptual_background, structure_distance
    from diffolio.metrics.judge import Judge

    if edited.shape != source.shape:
        return {}
    edited, source = edited.float().cpu(), source.float().cpu()
    change = (edited - source).square().flatten(1).mean(1).sqrt()
    found = {"rms_change": change, "structure_distance": structure_distance(edited, source, judge_keys(Judge.load("b")))}
    some = None if mask is None else (~mask.cpu()).flatten(1).any(1)
    if mask is not None and some is not None and bool(some.any()):
        outside = background(edited[some], source[some], mask.cpu()[some])
        perceptual = perceptual_background(edited[some], source[some], mask.cpu()[some])
        outside |= {} if perceptual is None else {"perceptual": perceptual}
        for name, values in outside.items():
            found[f"background_{name}"] = torch.full((len(edited),), torch.nan).masked_scatter(some, values)
    return found


def told(editor: Editor, job: Job) -> Editor:
    """The editor with the job's steps and guidance where its knobs are at their defaults."""
    asked = {"steps": job.steps, "guidance": job.guidance_scale}
    knobs = [f for f in fields(editor) if asked.get(f.name) is not None and getattr(editor, f.name) == f.default]
    return replace(editor, **{f.name: type(f.default)(asked[f.name]) for f in knobs})


def wanted(prompts: Sequence[str], target: str) -> list[str]:
    """The target prompts of a run: the one given, or each prompt with its first colour changed."""
    if not all(prompt.strip() for prompt in prompts):
        raise BadInput("an edit starts from what the picture shows: give its prompt with --prompt")
    if target.strip():
        if len(prompts) > 1:
            raise BadInput(f"one target for {len(prompts)} prompts: give the prompt that belongs to it with --prompt")
        return [target]
    from diffolio.worlds.tabletop.depict import recolour

    found = [recolour(prompt) for prompt in prompts]
    for prompt, new in zip(prompts, found, strict=True):
        if new is None:
            raise BadInput(f"what should {prompt!r} become? Give the target prompt with --set target='...'")
    return [new for new in found if new is not None]


def pictures(job: Job, drawn_mask: bool = False) -> tuple[Tensor, Tensor | None, Fitted | None]:
    """The job's photograph and mask fitted to the model; else a drawn tabletop for captions of one, and samples for all other prompts.

    ``drawn_mask``: a drawn tabletop brings the place of its foremost thing as the mask.
    """
    if job.image is not None:
        if len(job.prompts) > 1:
            raise BadInput(f"one picture for {len(job.prompts)} prompts: give the one that describes it")
        fitted = fit(Photo(job.image, job.alpha), job.model, job.height, job.width)
        return fitted.image[None], None if job.mask is None else fitted.mask(job.mask)[None], fitted
    if job.mask is not None:
        raise BadInput("a mask without a picture: give the picture that it belongs to with --image")
    from diffolio.worlds.tabletop import render
    from diffolio.worlds.tabletop.depict import depict

    scenes = [depict(prompt) for prompt in job.prompts]
    drawn = [scene for scene in scenes if scene is not None]
    if not drawn or len(drawn) < len(scenes):
        return job.sample(), None, None
    rendering = render(drawn, job.height or job.model.default_size, job.width or job.model.default_size)
    foremost = torch.stack([seen[len(s.things) - 1] for seen, s in zip(rendering.visible, drawn, strict=True)])
    return rendering.images, foremost if drawn_mask else None, None


def check_inputs(editor: Editor, mask: Tensor | None, inputs: Mapping[str, Any]) -> None:
    """Refuse inputs that the editor does not read, and their lack where it needs them."""
    named = sorted(editor.takes - {"image", "mask", "target", "alpha"})
    for name in inputs:
        if name not in named:
            raise unknown(f"input of {editor.name}", name, named) if named else BadInput(f"{editor.name} takes no input {name!r}")
    given = set(inputs) | ({"mask"} if mask is not None else set())
    for name in sorted(editor.required - given):
        raise BadInput(f"{editor.name} needs {name}: give it with {'--mask' if name == 'mask' else f'--input {name}='}FILE")


def check_mask(mask: Tensor, images: Tensor) -> Tensor:
    """Bool (B, H, W) on the pictures' device; (H, W) and (1, H, W) serve all of them."""
    if mask.shape[-2:] != images.shape[-2:]:
        given, own = ("x".join(map(str, reversed(x.shape[-2:]))) for x in (mask, images))
        raise BadInput(f"a mask of {given} for pictures of {own}: give a mask of the pictures' size")
    mask = mask[None] if mask.dim() == 2 else mask
    if mask.dtype != torch.bool or mask.dim() != 3 or len(mask) not in (1, len(images)):
        raise BadInput(f"a mask of type {mask.dtype}, shape {tuple(mask.shape)}: give bool {(len(images), *images.shape[-2:])}")
    if not bool(mask.flatten(1).any(1).all()):
        raise BadInput("a mask is empty: set it where the edit may act")
    return mask.expand(len(images), -1, -1).to(images.device)


def each(prompts: str | Sequence[str], n: int, what: str = "prompt", may_be_empty: bool = False) -> list[str]:
    """One prompt a picture."""
    found = [prompts] * n if isinstance(prompts, str) else list(prompts)
    if len(found) != n:
        raise BadInput(f"{len(found)} {what}s for {n} pictures: give one for all, or one each")
    if not all(isinstance(prompt, str) and (may_be_empty or prompt.strip()) for prompt in found):
        raise BadInput(f"an empty {what}: say in words what the picture shows, or should show")
    return found


@torch.no_grad()
def _keep_what_is_not_changed(edit: Edit, model: Model) -> None:
    """A target equal to its source asks for nothing: the edit is then the reconstruction, and says so."""
    same = [i for i, (a, b) in enumerate(zip(edit.prompts, edit.targets, strict=True)) if a.split() == b.split()]
    if not same:
        return
    remade = edit.reconstruction if edit.reconstruction is not None else model.decode(model.encode(edit.source))
    edit.edited = edit.edited.clone()
    edit.edited[same] = remade[same].to(edit.edited)
    which = "the target prompt equals the source" if len(same) == len(edit.prompts) else f"targets {same} equal their sources"
    edit.notes.append(f"{which}: nothing is asked for, and the picture is the reconstruction")
