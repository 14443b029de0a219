"""What goes into a run and what comes out of it."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffolio.errors import BadInput

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from diffolio.models import Model
    from diffolio.registry import Technique


@dataclass(frozen=True)
class Job:
    """What ``diffolio run`` asks of a method. ``image`` is (3, H, W) in [0, 1]; sizes are pixels; None means the model's own.

    For methods that take them: ``mask`` bool (H, W), where the edit may act; ``alpha`` (H, W) of the picture; ``target``, the prompt of
    what it should become; ``inputs``, further pictures or files by the method's name for them.
    """

    model: Model
    prompts: list[str]
    image: Tensor | None = None
    seed: int = 0
    steps: int = 25
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None
    mask: Tensor | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    target: str = ""
    alpha: Tensor | None = None

    def sample(self) -> Tensor:
        """Pictures (B, 3, H, W) of the prompts."""
        return self.model.sample(
            self.prompts,
            seed=self.seed,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            height=self.height,
            width=self.width,
        ).images


@dataclass
class Result:
    """Pictures by title (B, 3, H, W) in [0, 1], or clips (B, T, 3, H, W), with an alpha (H, W) where they have one, numbers by name,
    and what else is reported. ``fps``: how fast clips are played."""

    images: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    alphas: dict[str, Tensor] = field(default_factory=dict)
    fps: float = 8.0

    def picture(self) -> Image.Image:
        """All pictures in one: a row per title, a column per sample. Clips are strips of frames, a row each."""
        from diffolio.models.clips import chosen
        from diffolio.models.images import sheet

        rows: dict[str, Any] = {}
        for title, batch in self.images.items():
            clips = {f"{title} {i}": list(clip[chosen(len(clip))]) for i, clip in enumerate(batch)} if batch[0].dim() == 4 else {}
            rows |= clips or {title: batch}
        return sheet(rows, self.labels if len(rows) == len(self.images) else ())

    def save(self, folder: str | Path, record: dict[str, Any] | None = None) -> list[Path]:
        """Write ``<title>-<n>.png`` (clips: an animated ``.webp``), ``sheet.png`` and ``result.json``; returns the paths. Existing
        files of those names are replaced."""
        from diffolio.models.clips import save_clip
        from diffolio.models.images import save_image

        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            paths = []
            for title, batch in self.images.items():
                for index, image in enumerate(batch):
                    if image.dim() == 4:
                        paths.append(save_clip(folder / f"{slug(title)}-{index}.webp", image, self.fps))
                        continue
                    paths.append(folder / f"{slug(title)}-{index}.png")
                    save_image(image, paths[-1], self.alphas.get(title))
            if self.images:
                paths.append(folder / "sheet.png")
                self.picture().save(paths[-1])
            paths.append(folder / "result.json")
            content = {**(record or {}), "numbers": self.numbers, "report": self.report, "pictures": [p.name for p in paths[:-1]]}
            paths[-1].write_text(json.dumps(plain(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise BadInput(
                f"cannot write to {folder} ({error.strerror}): name a folder that can be written with --out"
            ) from error
        return paths


def compare(technique: Technique, job: Job) -> Result:
    """The same prompts and seeds without and with a technique."""
    technique.check(job.model)
    job = _sized(technique, job)
    started = time.perf_counter()
    baseline = job.sample()
    between = time.perf_counter()
    with technique.on(job.model) as model:
        changed = job.sample()
        report = dict(model.reports)
    report["size"] = f"{changed.shape[-1]}x{changed.shape[-2]}"
    seconds = {"seconds_baseline": between - started, "seconds_method": time.perf_counter() - between}
    difference = float((changed - baseline).square().mean().sqrt()) if changed.shape == baseline.shape else math.nan
    return Result({"baseline": baseline, technique.name: changed}, {**seconds, "rms_difference": difference}, report, job.prompts)


def _sized(technique: Technique, job: Job) -> Job:
    """What is for pictures larger than the trained ones does nothing at the trained side: unless a size is asked for, twice that."""
    parts = getattr(technique, "techniques", (technique,))
    if job.height or job.width or not any(part.family == "resolution" for part in parts):
        return job
    side = 2 * job.model.default_size
    return replace(job, height=side, width=side)


def slug(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower()).strip("-")


def plain(value: Any) -> Any:
    """Anything as JSON can hold it: tensors become lists (or a shape, when large), non-finite numbers become None."""
    if hasattr(value, "as_dict"):
        return plain(value.as_dict())
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist()) if value.numel() <= 64 else {"shape": list(value.shape)}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def versions() -> dict[str, str]:
    """What a record says of its surroundings: package versions, python, processor, threads. No host name, no path."""
    from importlib.metadata import version

    import torch

    from diffolio import __version__

    packages = {name: version(name) for name in ("torch", "diffusers", "transformers", "peft", "accelerate")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "diffolio": __version__,
        **packages,
        "python": platform.python_version(),
        "device": device,
        "threads": str(torch.get_num_threads()),
    }
