"""What ``diffolio run effived`` does: the user's clip, or drawn ones whose exact edit is known."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.results import Job, Result

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.worlds.motion import Script
    from diffolio.worlds.motion.edits import Change

SEED = 940_000  # of clips that a run draws; training starts at 130 million


def run_job(editor: Any, job: Job) -> Result:
    """``editor`` is EffiVED: ``steps`` of the job take the place of the knob at its default, as does the guidance by the text."""
    steps = job.steps if editor.steps == 30 else editor.steps
    scale = editor.s_text if job.guidance_scale is None else job.guidance_scale
    editor = replace(editor, steps=steps, s_text=scale)
    model, trained, fps = job.model, editor.load(job.model), 8.0
    notes: list[str] = []
    images: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    if "video" in job.inputs:
        clips, fps, notes = read_clip(job)
        texts = list(job.prompts)
        clips = clips.expand(len(texts), -1, -1, -1, -1)
    else:
        pairs = drawn(job.prompts, job.seed, model.frames or 8)
        clips = films([script for script, _ in pairs], model)
        texts = [change.instruction for _, change in pairs]
        images["exact edit"] = films([change.twin(script) for script, change in pairs], model)
        notes = ["no --input video=FILE was given: clips were drawn, with their exact edits"]
        if new := [text for text, asked in zip(texts, job.prompts, strict=True) if text != asked]:
            notes.append(f"not every prompt asks for an edit that a drawn clip allows; edited instead: {', '.join(new)}")
    started = time.perf_counter()
    edited = editor.edit(model, clips, texts, trained, seed=job.seed)
    numbers["seconds"] = (time.perf_counter() - started) / len(clips)
    numbers["rms_change"] = float((edited - clips).square().mean().sqrt())
    if "exact edit" in images:
        numbers["mse_to_exact"] = float((edited - images["exact edit"]).square().mean())
        numbers["mse_of_leaving_it"] = float((clips - images["exact edit"]).square().mean())
    return Result({"source": clips, "effived": edited, **images}, numbers, {"notes": notes}, texts, fps=fps)


def read_clip(job: Job) -> tuple[Tensor, float, list[str]]:
    """The job's clip at a size that the model takes (1, T, 3, H, W), its frames a second, and what the user should know."""
    from diffolio.models.clip_files import load_clip
    from diffolio.models.images import fit_size

    clip, told = load_clip(Path(job.inputs["video"]))
    height, width = job.height or job.model.default_size, job.width or job.model.default_size
    multiple = job.model._architecture.multiple(job.model.pipeline)
    if height % multiple or width % multiple:
        raise BadInput(f"size {width}x{height}: {job.model.name} takes multiples of {multiple} pixels")
    notes = [] if told else ["the clip does not say how fast it is played: 8 frames a second were taken"]
    if clip.shape[-2:] != (height, width):
        notes.append(f"the clip was fitted to {width}x{height} pixels, from {clip.shape[-1]}x{clip.shape[-2]}")
    return torch.stack([fit_size(frame, height, width) for frame in clip])[None], told or 8.0, notes


def drawn(prompts: list[str], seed: int, frames: int) -> list[tuple[Script, Change]]:
    """For every prompt a clip that no training saw, and the edit that it asks for, or another one where it asks for none."""
    from diffolio.training.edit_worlds import MOVERS
    from diffolio.worlds.motion import sample_scripts
    from diffolio.worlds.motion.edits import Change, draw_change, understood

    pairs = []
    for i, (prompt, script) in enumerate(zip(prompts, sample_scripts(len(prompts), SEED + seed, MOVERS, frames), strict=True)):
        asked = understood(prompt)
        if asked is None or (asked[0] == "delete" and len(script.motions) < 2):
            flat = script.change(style="flat") if script.scene.style != "flat" else script
            pairs.append((flat, draw_change(flat.scene, random.Random(f"{SEED}/{seed}/{i}"))))
            continue
        what, kind, new = asked
        plain = script.change(style="flat")
        index = None if what in ("background", "style") else 0
        if index == 0:
            plain = plain.change(0, kind=kind)
            if colour := next((word for word in prompt.lower().split() if word != new and word in _colours()), None):
                plain = plain.change(0, colour=colour)
        pairs.append((plain, Change(what, index, new, prompt)))
    return pairs


def films(scripts: list[Script], model: Model) -> Tensor:
    """The clips (N, T, 3, H, W)."""
    from diffolio.worlds.motion import render_clips

    return render_clips(scripts, model.default_size).to(model.device)


def _colours() -> tuple[str, ...]:
    from diffolio.worlds.tabletop import COLOURS

    return tuple(COLOURS)
