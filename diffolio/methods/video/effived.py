"""EffiVED: edit a clip by an instruction in one sampling run, with a model that was trained without a single edited clip.

Zhang, Dai, Qin, Wang, 2024, "EffiVED: Efficient Video Editing via Text-instruction Diffusion Models", arXiv:2403.11568. The network
of a text-to-video model reads [noisy latents ; latents of the clip] in its channels (the new columns start at zero) and the
instruction as its text: no inversion, no tuning on each clip. It is guided by both, as InstructPix2Pix is,

    e(0, 0) + s_v (e(v, 0) - e(0, 0)) + s_t (e(v, c) - e(v, 0))

Edited clips to train on hardly exist. They are made: *A*, an edited picture and its original follow the same random camera path; *B*, a
clip's key frame is edited as a picture, and the edit is carried to all frames (``training/edit_clips.py``).

Paper and code: no code or data could be found. From the paper are the conditioning and the two sources of data: augmented image edits,
and open-domain videos with foundation models. [design] is everything else: guidance scales and dropped shares (InstructPix2Pix's), the
mix of one to one with a tenth of still clips, two edited key frames for each clip of B, from which the edit is carried by flow (exact in
the bundled world; give yours to ``build_pairs``), templates in the place of a language model, all layers trained at once, ``emphasis``
and ``shift``, overlapping windows for clips longer than the model's, whose latents are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.edits import each
from diffolio.errors import BadInput, BadKnob
from diffolio.models.fine_tuning import copied, trained_folder
from diffolio.models.instructed import Instructed, collected, load_instructed, trainable_parts
from diffolio.nets.source_columns import source_columns
from diffolio.process.sampling import generators, noise
from diffolio.registry import Recipe, knob, method
from diffolio.training.edit_clips import Filters, ImageEdit, Triples, VideoEdit, build_triples
from diffolio.training.instructed import EditLatents, FollowInstructions, edit_latents
from diffolio.training.loop import Budget, Settings, Trained, train

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result

STILL = "still"  # the baseline that ``compare`` trains: image edits as still clips


@method(paper="2403.11568", family="video", works_on={"video"}, takes={"video"})
@dataclass(frozen=True)
class EffiVED(Recipe):
    """Edits clips by instruction: ``EffiVED().edit(model, clip, "make the ball green")``, after training on pairs of ``build_pairs``.

    ``diffolio run effived --input video=CLIP.webp --prompt "make it night"`` edits an animated WebP, GIF or PNG; without a clip one that
    fits the instruction is drawn.
    """

    s_text: float = knob(7.5, at_least=0.0, means="guidance by the instruction")
    s_video: float = knob(1.5, at_least=0.0, means="guidance by the clip")
    steps: int = knob(30, at_least=1, means="steps of sampling")
    adapter: str = knob("effived", means="what edits: a bundled adapter or a training's folder")
    trains: str = knob("all", choices=("all", "attention", "temporal"), means="which layers train beside the first")
    rate: float = knob(1e-5, above=0.0, means="learning rate")
    batch: int = knob(4, at_least=1, means="pairs a step")
    drop: tuple[float, ...] = knob((0.05, 0.05, 0.05), means="shares of samples without the clip, the text, both")
    emphasis: float = knob(1.0, at_least=1.0, means="weight of what the edit changes in the loss")
    shift: float = knob(1.0, above=0.0, means="above 1: flows train more where there is much noise")
    still: float = knob(0.1, between=(0.0, 1.0), means="share of image edits that get no camera motion")
    images: int = knob(600, at_least=1, means="image edits (A) to train on where no data is given")
    clips: int = knob(600, at_least=1, means="clips (B) to train on where no data is given")
    compare: bool = knob(False, means="then train on still pairs alone, for as many steps")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.drop) != 3 or min(self.drop) < 0 or sum(self.drop) > 1:
            raise BadKnob(f"drop={self.drop}: give three shares (without clip, text, both), at most 1 together")

    @staticmethod
    def build_pairs(
        image_edits: Sequence[ImageEdit] = (), videos: Sequence[VideoEdit] = (), frames: int = 8, *, size: int = 64, seed: int = 0,
        still: float = 0.1, filters: Filters | None = None, judge: Any = None, fps: float = 8.0,
    ) -> Triples:  # fmt: skip
        """(source clip, edited clip, instruction) from edits of pictures and from clips with edited key frames; see ``build_triples``."""
        return build_triples(
            image_edits, videos, frames=frames, size=size, seed=seed, still=still, filters=filters, judge=judge, fps=fps
        )

    def pairs(self, model: Model, seed: int = 0, stills: bool = False) -> Triples:
        """What is trained on without data: pairs of the tabletop and motion worlds; ``stills``: as many image edits as still clips."""
        from diffolio.metrics.judge import Judge
        from diffolio.training.edit_worlds import motion_edits, tabletop_edits

        size, frames = model.default_size, model.frames or 8
        if stills:
            return build_triples(
                tabletop_edits(self.images + self.clips, seed, size), frames=frames, size=size, seed=seed, still=1.0
            )
        images, clips = tabletop_edits(self.images, seed, size), motion_edits(self.clips, seed, size, frames)
        return build_triples(images, clips, frames=frames, size=size, seed=seed, still=self.still, judge=Judge.load("a"))

    def fit(  # type: ignore[override]
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/effived",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Train from ``model``, which is unchanged afterwards; writes ``folder/export``, and with ``compare`` ``folder/export/still``.

        ``data``: None (the bundled worlds), Triples or EditLatents. ``budget`` None: 10 000 steps; with ``compare`` half of a budget
        goes to each.
        """
        self.check(model)
        budget, folder = budget or Budget(steps=10_000), Path(folder)
        if self.compare:
            budget = Budget(steps=max(1, budget.steps // 2)) if budget.steps else Budget(seconds=(budget.seconds or 1) / 2)
        told = {"resume": resume, "seed": seed, "progress": progress}
        trained, ours = self._trained(model, self._latents(model, data, seed), budget, folder, **told)
        ours.save(folder / "export", model)
        if self.compare:
            pairs = self.pairs(model, seed, stills=True) if data is None else stills_of(data)
            other = Budget(steps=trained.steps)
            _, plain = self._trained(model, self._latents(model, pairs, seed), other, folder / STILL, **told)
            plain.save(folder / "export" / STILL, model)
        return trained

    def _latents(self, model: Model, data: Any, seed: int) -> EditLatents:
        if isinstance(data, EditLatents):
            return data
        return edit_latents(model, self.pairs(model, seed) if data is None else data)

    def _trained(
        self, model: Model, data: EditLatents, budget: Budget, folder: Path, *, seed: int, **options: Any
    ) -> tuple[Trained, Instructed]:
        """One training on a copy of the network."""
        student = copied(model)
        with source_columns(student.denoiser) as wide:
            chosen = trainable_parts(student.denoiser, self.trains)
            drop = (self.drop[0], self.drop[1], self.drop[2])
            objective = FollowInstructions(student, data, batch=self.batch, drop=drop, emphasis=self.emphasis, shift=self.shift)
            settings = Settings(rate=self.rate, warmup=20, last_rate=0.1, decay=0.99, every=100)
            trained = train(objective, folder, budget, settings, seed=seed, device=model.device, **options)
            found = collected(student.denoiser, chosen, wide)
        return trained, replace(found, about={**self.knobs(), "seed": seed, "trained_steps": trained.steps})

    def load(self, model: Model, any_base: bool = False) -> Instructed:
        """What the knob ``adapter`` names."""
        self.check(model)
        return load_instructed(trained_folder(self.adapter), model, any_base)

    @torch.no_grad()
    def edit(
        self, model: Model, video: Tensor, instruction: str | Sequence[str], trained: Instructed | None = None, *, seed: int = 0,
        latents: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Edited clips of the same size and length as ``video`` (T, 3, H, W) or (B, T, 3, H, W), in [0, 1].

        ``instruction``: one for all clips or one each. Clip i draws its noise from ``seed + i``; or ``latents`` (B, C, T', h, w) are the
        noise, T' the model's length if the clip is shorter. Longer clips are edited in windows that overlap by half.
        """
        self.check(model)
        trained = trained or self.load(model)
        clips = check_clips(video)[None] if video.dim() == 4 else check_clips(video)
        texts = each(instruction, len(clips), "instruction")
        length, span = clips.shape[1], model.frames or clips.shape[1]
        if length < span and not model._architecture.any_length:  # held at the last frame
            clips = torch.cat([clips, clips[:, -1:].expand(-1, span - length, -1, -1, -1)], 1)
        source = model.encode(clips.to(model.device))
        if latents is None:
            latents = noise(source.shape, generators(seed, len(source)), device=source.device, dtype=source.dtype)
        starts = windows(source.shape[2], span)
        cut = lambda z: torch.cat([z[:, :, s : s + span] for s in starts])  # noqa: E731
        with trained.on(model, cut(source), self.s_video, self.s_text):
            made = model.sample(texts * len(starts), latents=cut(latents), steps=self.steps, guidance_scale=2.0).latents
        joined = overlapped(made.chunk(len(starts)), starts, source.shape[2])
        edited = model.decode(joined)[:, :length]
        return edited if video.dim() == 5 else edited[0]

    def run(self, job: Job) -> Result:
        """The job's clip and instruction; without a clip, drawn ones with their exact twins."""
        from diffolio.training.edit_jobs import run_job

        return run_job(self, job)


def check_clips(video: Tensor) -> Tensor:
    """BadInput unless this is a clip (T, 3, H, W), or clips (B, T, 3, H, W), of at least two frames."""
    if video.dim() not in (4, 5) or video.shape[-3] != 3:
        raise BadInput(f"a clip of shape {tuple(video.shape)}: give (T, 3, H, W) or (B, T, 3, H, W)")
    if video.shape[-4] < 2:
        raise BadInput("a clip of one frame: give at least 2; a picture is for the picture editors")
    return video


def windows(length: int, span: int) -> list[int]:
    """Where windows of ``span`` frames start, so that they cover ``length`` and overlap by half, the last one ending with the clip."""
    if length <= span:
        return [0]
    return sorted({*range(0, length - span, max(1, span // 2)), length - span})


def overlapped(parts: Sequence[Tensor], starts: Sequence[int], length: int) -> Tensor:
    """Windows (B, C, span, h, w) as one clip (B, C, length, h, w): where they overlap, averages that weigh a window's middle most."""
    if len(parts) == 1:
        return parts[0]
    span = parts[0].shape[2]
    place = torch.arange(span, device=parts[0].device)
    weight = (1 + torch.minimum(place, span - 1 - place)).to(parts[0])[:, None, None]
    total = parts[0].new_zeros(*parts[0].shape[:2], length, *parts[0].shape[3:])
    sums = total[:1, :1, :, :1, :1].clone()
    for part, start in zip(parts, starts, strict=True):
        total[:, :, start : start + span] += weight * part
        sums[:, :, start : start + span] += weight
    return total / sums


def stills_of(data: Any) -> Triples:
    """The first frame of every pair from image edits, as still clips."""
    if not isinstance(data, Triples):
        raise BadInput(
            f"compare=True with data of type {type(data).__name__}: give Triples, whose image edits become still clips"
        )
    images = data.where("image", "still")
    n = images.sources.shape[1]
    first = [x[:, :1].expand(-1, n, -1, -1, -1).clone() for x in (images.sources, images.targets)]
    return Triples(first[0], first[1], images.instructions, [STILL] * len(images), images.fps)
