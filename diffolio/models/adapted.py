"""A bundled model that is another one with a low-rank adapter: merged when it is loaded, so that it runs like any other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffolio.errors import BadInput

if TYPE_CHECKING:
    from diffolio.models.model import Model

RECORD, ADAPTER = "base.json", "adapter.safetensors"
UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


def base_of(folder: Path) -> dict[str, str] | None:
    """What ``base.json`` says: the base's name and the SHA-256 of its UNet file; None where a folder holds no such adapter."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"base": str(record["base"]), "unet_sha256": str(record["unet_sha256"])}
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} cannot be read ({error}): it must name the adapter's base and its checksum") from error


def unet_checksum(folder: Path) -> str:
    """The SHA-256 of a pipeline folder's UNet weights."""
    with open(folder / UNET, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_record(folder: Path, base: str, base_folder: Path) -> None:
    """Write ``base.json`` for an adapter that was trained on the pipeline in ``base_folder``."""
    record = {"base": base, "unet_sha256": unet_checksum(base_folder)}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def adapted(model: Model, folder: Path) -> Any:
    """The pipeline of a freshly loaded base with the folder's adapter merged into its UNet, and its text encoder if it has one."""
    pipeline, unet = model.pipeline, model.denoiser
    try:
        unet.load_lora_adapter(str(folder), weight_name=ADAPTER, prefix=None, use_safetensors=True, local_files_only=True)
        unet.fuse_lora()
        unet.unload_lora()
        if (folder / "text_encoder").exists():
            encoder = type(pipeline.text_encoder).from_pretrained(folder / "text_encoder", dtype=model.dtype)
            pipeline.register_modules(text_encoder=encoder.to(model.device))
    except Exception as error:  # every way in which an adapter can be broken
        raise BadInput(f"the adapter in {folder} does not fit {model.name} ({error}): train it again") from error
    for part in (unet, pipeline.text_encoder):
        part.eval().requires_grad_(False)
    return pipeline
