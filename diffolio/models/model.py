"""Model: one handle on a diffusers pipeline, whatever its architecture."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, NotFinite, Unsupported
from diffolio.models.architectures import architecture_of, check_size
from diffolio.models.condition import Condition
from diffolio.models.text import listed, one_each, quiet_truncation, token_span, warn_if_cut
from diffolio.process.guidance import combine
from diffolio.process.prediction import Prediction, alpha_sigma, kind_of
from diffolio.process.sampling import generators

if TYPE_CHECKING:
    from diffolio.seams import Seams

Negative = str | Sequence[str] | None


@dataclass(frozen=True)
class Sampled:
    """Pictures (B, 3, H, W) in [0, 1] and the clean latents (B, C, h, w) that they were decoded from; of a model of clips
    (B, T, 3, H, W) and (B, C, T, h, w)."""

    images: Tensor
    latents: Tensor


class Model:
    """Encode, decode, condition, predict, sample. ``reports`` is where techniques leave what they have to tell.

    ``factor`` is pixels per latent cell, ``channels`` those of the latents, ``default_size`` pixels, ``frames`` the usual length
    of a clip (None for pictures). The pipeline is used as it is: nothing in it is replaced. A model of clips takes and gives
    (B, T, 3, H, W), its latents are (B, C, T, h, w). Unsupported for a pipeline that is not of a known architecture.
    """

    def __init__(self, pipeline: Any, name: str = "", guidance_scale: float | None = None) -> None:
        self._architecture = architecture_of([cls.__name__ for cls in type(pipeline).__mro__])
        self.pipeline = pipeline
        self.name = name or type(pipeline).__name__
        self.architecture = self._architecture.name
        self.kinds = self._architecture.kinds
        self.reports: dict[str, Any] = {}
        self._codec = self._architecture.codec(pipeline)
        self.factor, self.channels = self._codec.factor, self._codec.channels
        self.frames = self._architecture.frames(pipeline)
        if (reads := self._architecture.reads(pipeline)) != self.channels:
            raise Unsupported(
                f"{self.name}: its denoiser takes {reads} channels and its latents have {self.channels}; "
                "models that also read a mask or a picture are not supported"
            )
        call = inspect.signature(type(pipeline).__call__).parameters
        own = call["guidance_scale"].default if "guidance_scale" in call else 1.0
        self.guidance_scale = float(own if guidance_scale is None else guidance_scale)
        self._can_guide = "negative_prompt" in call
        self.reads_text = bool(self._architecture.readers(pipeline))  # where not, its prompts are empty, one a picture
        self._seams: Seams | None = None

    def __repr__(self) -> str:
        return f"Model({self.name}, {type(self.pipeline).__name__}, {self.device}, {self.dtype})"

    @property
    def denoiser(self) -> Any:
        """The UNet or transformer."""
        return getattr(self.pipeline, self._architecture.denoiser)

    @property
    def vae(self) -> Any:
        return self.pipeline.vae

    @property
    def scheduler(self) -> Any:
        return self.pipeline.scheduler

    @scheduler.setter
    def scheduler(self, scheduler: Any) -> None:
        self.pipeline.scheduler = scheduler

    @property
    def prediction(self) -> str:
        """What the network gives: "epsilon", "v_prediction", "sample" or "flow"; Unsupported for a model of tokens."""
        self._architecture.check_denoises(self.name)
        return kind_of(self.scheduler)

    @property
    def default_size(self) -> int:
        return self._architecture.size(self.pipeline)

    @property
    def device(self) -> torch.device:
        return torch.device(self.pipeline._execution_device)

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype  # type: ignore[no-any-return]

    @property
    def seams(self) -> Seams:
        """The ways into the running network."""
        if self._seams is None:
            from diffolio.seams import Seams

            self._seams = Seams(self.pipeline)
        return self._seams

    def encode(self, images: Tensor, sample: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Pictures (B, 3, H, W) in [0, 1] -> latents (B, C, H / factor, W / factor), scaled and shifted as the denoiser sees them.

        The posterior's mean, or a sample of it. Gradients pass. BadInput for another shape, range or an odd size.
        """
        return self._codec.encode(images, sample, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) -> pictures (B, 3, H, W), clamped to [0, 1] unless the latents carry a gradient, which passes."""
        return self._codec.decode(latents)

    def condition(
        self, prompts: str | Sequence[str], negative: Negative = None, *, height: int | None = None, width: int | None = None
    ) -> Condition:
        """The rows "uncond" and "cond" for the prompts, as arguments of the denoiser.

        An empty ``negative`` is the pipeline's own null (zeros for SDXL, the empty text for the others). ``height`` and ``width``
        in pixels fix the size that SDXL and large PixArt are told; without them it follows the latents.
        """
        condition = self._encode_text(listed(prompts), negative, guided=True)
        size = (height or self.default_size, width or self.default_size)
        rows = {name: self._architecture.sized(self.pipeline, row, *size) for name, row in condition.rows.items()}
        return Condition(rows, condition.prompts, condition.negative, size if height or width else None)

    def predict(
        self,
        latents: Tensor,
        t: Tensor | float,
        condition: Condition,
        guidance_scale: float | None = None,
        rows: Sequence[str] | None = None,
    ) -> Prediction:
        """What the denoiser says of noisy ``latents`` (B, C, h, w) at timesteps ``t``, scalar or (B,).

        One forward of the conditional row, or with a guidance scale other than 1 one forward of both rows, combined. ``rows``
        names another single row. A variance that the network gives too (PixArt) is cut off. Gradients flow.
        """
        if rows is not None and (len(rows) != 1 or guidance_scale not in (None, 1)):
            raise BadInput(
                f"rows {tuple(rows)} with guidance {guidance_scale}: give one row without guidance, or use predict_rows"
            )
        if rows is None and guidance_scale is not None and guidance_scale != 1 and not self._embeds_guidance:
            both = self.predict_rows(latents, t, condition, ("uncond", "cond"), guidance_scale)
            cond = both["cond"]
            raw = combine(both["uncond"].raw, cond.raw, guidance_scale)
            return Prediction(raw, cond.latents, cond.alpha, cond.sigma, cond.kind)
        (row,) = rows or ("cond",)
        return self.predict_rows(latents, t, condition, (row,), guidance_scale)[row]

    def predict_rows(
        self, latents: Tensor, t: Tensor | float, condition: Condition, rows: Sequence[str], guidance_scale: float | None = None
    ) -> dict[str, Prediction]:
        """The predictions of several rows by name, from one forward. ``guidance_scale`` is only told to editors."""
        rows, kind = tuple(rows), self.prediction
        latents = latents.to(self.device, self.dtype)
        self._check_latents(latents, len(condition))
        t = torch.as_tensor(t, device=self.device)
        alpha, sigma = (level.to(latents) for level in alpha_sigma(self.scheduler, t, latents.dim()))
        arguments = self._sized(condition, latents).joined(rows)
        if self._embeds_guidance:
            w = torch.full((len(latents),), (guidance_scale or 1.0) - 1.0, device=self.device)
            width = self.denoiser.config.time_cond_proj_dim
            arguments = {**arguments, "timestep_cond": self.pipeline.get_guidance_scale_embedding(w, width).to(latents)}
        times = t.expand(len(latents)).repeat(len(rows))
        scaled = self.scheduler.scale_model_input(latents, t) if hasattr(self.scheduler, "scale_model_input") else latents
        with self._naming_rows(rows, guidance_scale, condition.prompts):
            output = self.denoiser(torch.cat([scaled] * len(rows)), timestep=times, **arguments, return_dict=False)[0]
        parts = output[:, : self.channels].chunk(len(rows))
        return {name: Prediction(raw, latents, alpha, sigma, kind) for name, raw in zip(rows, parts, strict=True)}

    def sample(
        self,
        prompts: str | Sequence[str] | None = None,
        *,
        seed: int | Sequence[int] = 0,
        steps: int = 25,
        guidance_scale: float | None = None,
        height: int | None = None,
        width: int | None = None,
        frames: int | None = None,
        latents: Tensor | None = None,
        negative: Negative = None,
        condition: Condition | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Sampled:
        """Pictures of the prompts, through the pipeline's own call.

        Sample i draws from its own generator, seeded ``seed + i`` (or ``seed[i]``), so it does not depend on its batch.
        ``frames`` is the length of clips; ``latents`` (B, C, h, w) are the initial noise; ``condition`` takes the place of
        prompts; ``progress(done, steps)`` is called after each step. BadInput for what cannot be sampled, NotFinite if the
        pictures are not finite. A prompt that is too long is cut, with a DiffolioWarning that names the words.
        """
        scale = self.guidance_scale if guidance_scale is None else float(guidance_scale)
        if steps < 1 or not math.isfinite(scale):
            raise BadInput(f"{steps} steps, guidance {scale}: give at least one step and a finite guidance scale")
        guided = scale > 1 and self._can_guide and not self._embeds_guidance
        if condition is None:
            with torch.no_grad():
                condition = self._encode_text(listed([] if prompts is None else prompts), negative, guided)
        elif prompts is not None and listed(prompts) != condition.prompts:
            raise BadInput("prompts and a condition of other prompts were given: give one of the two")
        n = len(condition)
        if latents is not None:
            latents = latents.to(self.device, self.dtype)
            self._check_latents(latents, n)
        height, width = self._size(height, width, latents)
        arguments = self._architecture.call(condition, guided)
        length = self._length(frames, latents)
        rows = ("uncond", "cond") if guided else ("cond",)
        with self._naming_rows(rows, scale, condition.prompts), self._stopping() as ended:
            ended.latents = self._architecture.run(
                self.pipeline, tell=progress, arguments=arguments, num_inference_steps=steps, guidance_scale=scale,
                height=height, width=width, generator=generators(seed, n), latents=latents, **length,
            )  # fmt: skip
        with torch.no_grad():
            images = self.decode(ended.latents)
        if not bool(torch.isfinite(images).all()):
            raise NotFinite(
                f"{self.name} gave NaN or infinity after {steps} steps at guidance {scale:g} in {self.dtype}: "
                "lower the guidance scale or a technique's strength, or load the model in float32"
            )
        return Sampled(images, ended.latents)

    def token_span(self, prompt: str, word: str) -> list[int]:
        """Where a word or phrase of the prompt stands in the denoiser's text sequence: token positions, every occurrence.

        For SD3 those of the CLIP part and of the T5 part behind it. UnknownName if the prompt does not hold the word.
        """
        return token_span(prompt, word, self._architecture.readers(self.pipeline))

    @property
    def _embeds_guidance(self) -> bool:
        """Distilled networks are told the guidance scale and run one row."""
        return getattr(self.denoiser.config, "time_cond_proj_dim", None) is not None

    def _encode_text(self, prompts: list[str], negative: Negative, guided: bool) -> Condition:
        negatives = one_each(negative, len(prompts))
        warn_if_cut([*prompts, *dict.fromkeys(negatives or [])], self._architecture.readers(self.pipeline))
        with quiet_truncation():
            rows = self._architecture.rows(self.pipeline, prompts, negatives, guided)
        return Condition(rows, prompts, negatives or [""] * len(prompts))

    def _sized(self, condition: Condition, latents: Tensor) -> Condition:
        """The condition, told the size of these latents unless its maker fixed one."""
        if condition.size is not None:
            return condition
        height, width = (side * self.factor for side in latents.shape[-2:])
        rows = {name: self._architecture.sized(self.pipeline, row, height, width) for name, row in condition.rows.items()}
        return Condition(rows, condition.prompts, condition.negative)

    def _size(self, height: int | None, width: int | None, latents: Tensor | None) -> tuple[int, int]:
        if latents is not None:
            found = (latents.shape[-2] * self.factor, latents.shape[-1] * self.factor)
            if (height or found[0], width or found[1]) != found:
                raise BadInput(f"size {width}x{height}, but the latents are of {found[1]}x{found[0]} pixels: leave the size out")
            height, width = found
        height, width = height or self.default_size, width or self.default_size
        check_size(self._architecture, self.pipeline, height, width)
        return height, width

    def _length(self, frames: int | None, latents: Tensor | None) -> dict[str, int]:
        """The clips' length as an option of the run; none for pictures."""
        if self.frames is None:
            if frames is not None:
                raise BadInput(f"{frames} frames: {self.name} makes pictures, not clips; leave frames out")
            return {}
        given = self.frames if latents is None else latents.shape[2]
        if (frames or given) != given and latents is not None:
            raise BadInput(f"{frames} frames, but the latents are of {given}: leave frames out")
        if (length := frames or given) != self.frames and not self._architecture.any_length:
            raise BadInput(f"{length} frames: {self.name} has positions in time for {self.frames}, no more and no fewer")
        return {"frames": length}

    def _check_latents(self, latents: Tensor, n: int) -> None:
        cells = ("h", "w") if self.frames is None else ("T", "h", "w")
        if latents.dim() != 2 + len(cells) or latents.shape[1] != self.channels or len(latents) != n:
            wanted = ", ".join((str(n), str(self.channels), *cells))
            raise BadInput(f"latents of shape {tuple(latents.shape)}: {self.name} with {n} prompts takes ({wanted})")

    def _naming_rows(self, rows: tuple[str, ...], scale: float | None, prompts: list[str]) -> AbstractContextManager[None]:
        """Seams, where there are any, are told which rows the forwards hold, and of which prompts."""
        return nullcontext() if self._seams is None else self._seams.rows(*rows, guidance_scale=scale, prompts=prompts)

    @contextmanager
    def _stopping(self) -> Iterator[_Ended]:
        """Sampling may be ended early by an editor, which brings the latents."""
        ended = _Ended()
        if self._seams is None:
            yield ended
            return
        from diffolio.seams import StopSampling

        try:
            yield ended
        except StopSampling as stopped:
            ended.latents = stopped.latents
            self.pipeline.maybe_free_model_hooks()


class _Ended:
    """How sampling ended."""

    latents: Tensor
