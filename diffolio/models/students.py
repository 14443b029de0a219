"""Students of consistency distillation: made from a teacher, saved, and loaded as a Model that samples in a few steps.

A student is written as an ordinary LatentConsistencyModelPipeline folder; where it is a LoRA, also as an adapter file that
holds the low-rank weights and the guidance projection, to be put on the same teacher.
"""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported

if TYPE_CHECKING:
    from diffolio.models.model import Model

LORA_LAYERS = (
    "to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut",
    "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj",
)  # fmt: skip
ADAPTER, RECORD = "adapter.safetensors", "student.json"
PROJECTION = "time_embedding.cond_proj.weight"


def guided_student(unet: Any, width: int = 256) -> Any:
    """A float32 copy of ``unet`` (UNet2DConditionModel) that also reads a guidance embedding of ``width``.

    Its new projection starts at zero, so the copy gives what the original gives, whatever w is. A UNet that already has one
    is copied as it is (a warm start from another student).
    """
    if unet.config.get("time_cond_proj_dim") is not None:
        return copy.deepcopy(unet).requires_grad_(True)
    if not hasattr(unet, "time_embedding") or "time_cond_proj_dim" not in unet.config:
        raise Unsupported(f"{type(unet).__name__} takes no guidance embedding beside its timestep: give a UNet2DConditionModel")
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    student = type(unet).from_config({**config, "time_cond_proj_dim": width})
    missing, unexpected = student.load_state_dict(unet.state_dict(), strict=False)
    if unexpected or set(missing) != {PROJECTION}:
        raise Unsupported(f"the weights of {type(unet).__name__} do not fit its own configuration: {[*missing, *unexpected][:3]}")
    nn.init.zeros_(student.time_embedding.cond_proj.weight)
    return student.to(unet.device).requires_grad_(True)


def add_lora(student: Any, rank: int, seed: int = 0) -> Any:
    """peft adapters on every attention, feed-forward and residual layer; they and the guidance projection are what trains."""
    from peft import LoraConfig

    student.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_LAYERS)))
    student.time_embedding.cond_proj.requires_grad_(True)
    return student


def merged(student: Any) -> Any:
    """A copy whose LoRA, if it has one, is part of the weights."""
    plain = copy.deepcopy(student).requires_grad_(False)
    if getattr(plain, "peft_config", None):
        plain.fuse_lora()
        plain.unload_lora()
    return plain


def lcm_scheduler(scheduler: Any, ddim_steps: int = 50) -> Any:
    """LCMScheduler on the teacher's noise schedule; its inference timesteps are points of the training grid."""
    from diffusers import LCMScheduler

    return LCMScheduler.from_config(
        scheduler.config, original_inference_steps=ddim_steps, timestep_scaling=10.0, clip_sample=False, thresholding=False
    )


def student_pipeline(teacher: Any, unet: Any, ddim_steps: int = 50) -> Any:
    """The teacher's pipeline with the student in it: LatentConsistencyModelPipeline for Stable Diffusion, else its own class
    with an LCMScheduler (Stable Diffusion XL reads the guidance embedding in its ordinary pipeline)."""
    from diffusers import LatentConsistencyModelPipeline, StableDiffusionPipeline

    scheduler = lcm_scheduler(teacher.scheduler, ddim_steps)
    if not isinstance(teacher, (StableDiffusionPipeline, LatentConsistencyModelPipeline)):
        return type(teacher)(**{**teacher.components, "unet": unet, "scheduler": scheduler})
    parts: Any = teacher  # both classes register these components when they are made, which type checkers cannot see
    pipeline: Any = LatentConsistencyModelPipeline(
        parts.vae, parts.text_encoder, parts.tokenizer, unet, scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_student(folder: Path, student: Any, teacher: Model, record: dict[str, Any]) -> None:
    """Write ``folder/export`` (float16 pipeline) and, for a LoRA, ``folder/adapter`` (float16 adapter + record)."""
    from diffolio import miniatures

    export, partial = folder / "export", folder / "export.partial"
    shutil.rmtree(partial, ignore_errors=True)
    pipeline = student_pipeline(teacher.pipeline, merged(student), record["ddim_steps"])
    halves = {  # nn.Module's own half(): diffusers' warns of parts that it would keep in float32, of which there are none
        name: nn.Module.half(copy.deepcopy(part)) if isinstance(part, nn.Module) else part
        for name, part in pipeline.components.items()
    }
    type(pipeline)(**halves, **_options(pipeline)).save_pretrained(partial, safe_serialization=True)
    miniatures.portable(partial)
    shutil.rmtree(export, ignore_errors=True)
    partial.rename(export)
    if getattr(student, "peft_config", None):
        save_adapter(folder / "adapter", student, teacher, record)


def save_adapter(folder: Path, student: Any, teacher: Model, record: dict[str, Any]) -> None:
    """Write what a LoRA student changes of its teacher (float16) and ``record``; ``load_student`` reads the folder."""
    from safetensors.torch import save_file

    told = dict(teacher.denoiser.named_parameters())

    def kept(name: str, parameter: Tensor) -> bool:
        plain = name.replace(".base_layer", "")
        return "lora_" in name or plain not in told or not torch.equal(told[plain].to(parameter), parameter)

    folder.mkdir(parents=True, exist_ok=True)
    changed = {name: p.detach().half().contiguous().cpu() for name, p in student.named_parameters() if kept(name, p)}
    save_file(changed, folder / ADAPTER)
    (folder / RECORD).write_text(json.dumps({**record, "teacher": teacher.name}, indent=1) + "\n", encoding="utf-8")


def _options(pipeline: Any) -> dict[str, bool]:
    return {"requires_safety_checker": False} if "requires_safety_checker" in pipeline.config else {}


def load_adapter(unet: Any, folder: Path) -> Any:
    """The student that an adapter folder describes, on the teacher's ``unet``: with its LoRA live, in float32."""
    from safetensors.torch import load_file

    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        weights = load_file(folder / ADAPTER)
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder} holds no student: it needs {ADAPTER} and {RECORD} ({error})") from error
    student = add_lora(guided_student(unet, weights[PROJECTION].shape[1]), int(record["lora_rank"]))
    missing, unexpected = student.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
    wanting = [name for name in missing if "lora_" in name or name == PROJECTION]
    if wanting or unexpected:
        raise BadInput(
            f"the student in {folder} does not fit {type(unet).__name__}: {[*wanting, *unexpected][:3]}; use its own teacher"
        )
    return student


def adapter_folder(place: str | Path) -> Path | None:
    """Where the adapter of ``place`` lies (a bundled name, an adapter folder, or a training folder that holds one)."""
    from diffolio import miniatures

    folder = Path(place)
    if not folder.exists() and str(place) in miniatures.available():
        folder = miniatures.folder(str(place))
    return next((found for found in (folder, folder / "adapter") if (found / RECORD).exists()), None)


def start_student(teacher: Model, start: str | None = None, lora_rank: int | None = None, seed: int = 0) -> Any:
    """The UNet to train: the teacher's copy with a guidance embedding, or an earlier student's; with ``lora_rank`` a LoRA.

    A LoRA that starts from an earlier one goes on training that one, so that its adapter still belongs on the teacher.
    """
    if start is None:
        student = guided_student(teacher.denoiser)
        return add_lora(student, lora_rank, seed) if lora_rank else student
    adapter = adapter_folder(start)
    if lora_rank is None:
        return guided_student(load_student(teacher, start).denoiser)
    if adapter is None:
        raise BadInput(f"{start} holds no adapter that a LoRA could go on from: leave out lora_rank to train all of its weights")
    if (rank := json.loads((adapter / RECORD).read_text(encoding="utf-8"))["lora_rank"]) != lora_rank:
        raise BadInput(f"the adapter in {start} has rank {rank}, asked for was {lora_rank}: give the same rank")
    return load_adapter(teacher.denoiser, adapter)


def load_student(teacher: Model, place: str | Path, name: str | None = None) -> Model:
    """A student as a Model: an adapter (put on ``teacher``, whose other parts it shares) or a whole pipeline; ``place`` is a
    folder or a bundled name such as "mini-lcm"."""
    from diffolio.models.model import Model

    adapter = adapter_folder(place)
    if adapter is None:
        from diffolio.models.loading import load

        folder = Path(place)
        return load(str(folder / "export" if (folder / "export").exists() else place))
    record = json.loads((adapter / RECORD).read_text(encoding="utf-8"))
    unet = merged(load_adapter(teacher.denoiser, adapter)).eval()
    pipeline = student_pipeline(teacher.pipeline, unet, record["ddim_steps"])
    return Model(pipeline, name=name or str(place), guidance_scale=teacher.guidance_scale)


def teacher_of(folder: Path) -> str | None:
    """The name of the teacher whose adapter lies in ``folder``; None if there is no adapter."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["teacher"])
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} cannot be read ({error}): train the student again") from error
