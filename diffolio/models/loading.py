"""From a name to a Model: a bundled miniature, a diffusers folder, or a model of the Hugging Face hub."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from diffolio import miniatures
from diffolio.errors import BadInput, DiffolioError, Unsupported, unknown
from diffolio.models.adapted import adapted, base_of, unet_checksum
from diffolio.models.architectures import architecture_of
from diffolio.models.model import Model
from diffolio.models.students import load_student, teacher_of
from diffolio.process.prediction import is_flow

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
DISTILLED = ("LCMScheduler", "TCDScheduler")  # few-step samplers belong to the weights: another one breaks them
HUB_TIMEOUT = 4.0  # seconds


def load(name_or_path: str | Path, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Model:
    """A Model from a miniature's name, a local diffusers folder (or adapter of a distilled student), or a hub id ``owner/name``.

    Safetensors only, no remote code, no safety checker; weights frozen, in evaluation mode, in float32 unless ``dtype`` says
    otherwise (on a CPU always float32). ``device`` None is the GPU where there is one. Stable Diffusion and PixArt get
    a DDIM scheduler on their own noise schedule; distilled few-step models and flow models keep theirs.
    BadInput for what cannot be read, UnknownName for an unknown name, Unsupported for another kind of pipeline.
    """
    place = torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if place.type == "cpu" and dtype not in (None, torch.float32):
        raise BadInput(f"dtype {dtype} on a CPU: models run in float32 there; leave dtype out or choose a GPU")
    name = str(name_or_path)
    if name in miniatures.available():
        return _load(miniatures.folder(name), name, place, dtype, guidance_scale=miniatures.GUIDANCE_SCALE)
    path = Path(name).expanduser()
    if name.strip() and path.exists():
        return _load(path, path.resolve().name, place, dtype)
    if HUB_ID.fullmatch(name) and path.suffix.lower() not in (*PICKLES, ".safetensors"):
        return _load(name, name, place, dtype)
    if "/" in name or "\\" in name or path.suffix.lower() in (*PICKLES, ".safetensors"):
        raise BadInput(f"there is no folder {name}: give a diffusers folder, a hub id like owner/name, or one of {_bundled()}")
    raise unknown(
        "model", name, miniatures.available(), hint="Give a bundled name, a diffusers folder, or a hub id like owner/name."
    )


def deterministic(scheduler: Any) -> Any:
    """DDIM on the scheduler's own noise schedule; flow and distilled samplers as they are."""
    from diffusers import DDIMScheduler

    if is_flow(scheduler) or type(scheduler).__name__ in DISTILLED or type(scheduler) is DDIMScheduler:
        return scheduler
    if getattr(scheduler, "alphas_cumprod", None) is None:
        raise Unsupported(
            f"{type(scheduler).__name__} is neither a schedule of alphas_cumprod nor flow matching: no method knows it"
        )
    # Latents are not bounded by one, which DDIM's defaults assume.
    given = {key: False for key in ("clip_sample", "set_alpha_to_one") if key not in scheduler.config}
    return DDIMScheduler.from_config(scheduler.config, **given)


def _load(
    source: Path | str, name: str, device: torch.device, dtype: torch.dtype | None, guidance_scale: float | None = None
) -> Model:
    if isinstance(source, Path) and (teacher := teacher_of(source)) is not None:
        return load_student(load(teacher, device=device, dtype=dtype), source, name)
    if isinstance(source, Path) and (record := base_of(source)) is not None:
        return _load_adapted(source, name, record, device, dtype)
    # What can be refused is refused before the libraries and the weights are read.
    index, only_local = (_local_index(source), True) if isinstance(source, Path) else _hub_index(source)
    class_name = str(index.get("_class_name"))
    architecture = architecture_of([class_name])
    options: dict[str, Any] = {"local_files_only": only_local}
    if "safety_checker" in index:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if class_name == "StableDiffusionXLPipeline":
        options["add_watermarker"] = False
    with quiet():
        try:
            pipeline = _pipeline_class(class_name).from_pretrained(
                source, torch_dtype=dtype or torch.float32, use_safetensors=True, **options
            )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # every way in which a checkpoint can be broken
            raise BadInput(f"{source} cannot be loaded as a {class_name}: {_first_line(error)}") from error
        for component in pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                component.eval().requires_grad_(False)
        if architecture.denoises:
            pipeline.scheduler = deterministic(pipeline.scheduler)
        pipeline.set_progress_bar_config(disable=True)
        return Model(pipeline.to(device), name=name, guidance_scale=guidance_scale)


def _pipeline_class(name: str) -> Any:
    """A pipeline class of diffusers, or our own for next-scale prediction, which diffusers lacks."""
    if name == "NextScalePipeline":
        from diffolio.nets.next_scale_pipeline import NextScalePipeline

        return NextScalePipeline
    import diffusers

    return getattr(diffusers, name)


def _load_adapted(folder: Path, name: str, record: dict[str, str], device: torch.device, dtype: torch.dtype | None) -> Model:
    """A bundled base with the adapter in ``folder`` merged into it; an adapter of another base is refused."""
    base = record["base"]
    if base not in miniatures.available() or unet_checksum(miniatures.folder(base)) != record["unet_sha256"]:
        raise BadInput(f"{name} is an adapter of another {base} than the bundled one: make it anew with `diffolio train {name}`")
    model = load(base, device=device, dtype=dtype)
    with quiet():
        return Model(adapted(model, folder), name=name, guidance_scale=model.guidance_scale)


def _local_index(folder: Path) -> dict[str, Any]:
    """The pipeline's index, after checks that need no loading."""
    if folder.is_file():
        what = "is a pickle, which may run code when it is read" if folder.suffix.lower() in PICKLES else "is a single file"
        raise BadInput(f"{folder} {what}: convert it to a diffusers folder with safetensors (pipeline.save_pretrained)")
    path = folder / "model_index.json"
    if not path.exists():
        if folder.parent == miniatures.WEIGHTS:
            raise BadInput(f"{folder.name} is a part of other miniatures, not a text-to-image pipeline: give one of {_bundled()}")
        raise BadInput(f"{folder} has no model_index.json: give the folder that pipeline.save_pretrained wrote")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from error
    for part in sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name in index):
        files = [file for file in part.iterdir() if file.is_file()]
        if any(f.suffix in PICKLES for f in files) and not any(f.suffix == ".safetensors" for f in files):
            raise BadInput(
                f"{part} holds its weights as a pickle, which may run code when it is read: convert them to safetensors "
                "(load them where you trust them, then pipeline.save_pretrained(folder, safe_serialization=True))"
            )
    return dict(index)


def _hub_index(repo: str) -> tuple[dict[str, Any], bool]:
    """The index of a hub model, and whether it came from the local cache because the hub cannot be reached."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    reachable = _hub_is_reachable()
    try:
        path = hf_hub_download(repo, "model_index.json", local_files_only=not reachable, etag_timeout=HUB_TIMEOUT)
    except LocalEntryNotFoundError as error:
        raise BadInput(
            f"the hub cannot be reached and {repo} is not in the local cache: connect, give a local diffusers folder, "
            f"or use a bundled model ({_bundled()})"
        ) from error
    except GatedRepoError as error:
        raise BadInput(f"{repo} asks for its terms to be accepted: do so on its page and log in with `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise BadInput(
            f"the hub has no model {repo} that you may read: check the name, or log in with `hf auth login`"
        ) from error
    except EntryNotFoundError as error:
        raise BadInput(f"{repo} is not a diffusers pipeline: it has no model_index.json") from error
    except DiffolioError:
        raise
    except Exception as error:
        raise BadInput(
            f"{repo} cannot be fetched from the hub ({_first_line(error)}): try again, or give a local folder"
        ) from error
    return json.loads(Path(path).read_text(encoding="utf-8")), not reachable


def _hub_is_reachable() -> bool:
    """One short request, so that a missing connection is noticed at once and not after many retries."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _bundled() -> str:
    names = [name for name in miniatures.available() if (miniatures.WEIGHTS / name / "model_index.json").exists()]
    return ", ".join(names) or "the bundled models (none is here)"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no advice from the libraries while a model is loaded."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of argument names that older diffusers need
            yield
    finally:
        for library, verbosity, bar in zip(libraries, before, bars, strict=True):
            library.set_verbosity(verbosity)
            if bar:
                library.enable_progress_bar()
