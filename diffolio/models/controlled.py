"""A condition adapter at work: on a model, on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.control import TRUNK_READS, ControlAdapter, ControlConfig
from diffolio.models.fingerprint import check_base, fingerprint
from diffolio.seams.time_vector import time_vector

if TYPE_CHECKING:
    from diffolio.models.model import Model
    from diffolio.seams import Call

WEIGHTS, RECORD = "control.safetensors", "control.json"
NULL = "uncond"


def control_adapter(model: Model, config: ControlConfig, encoder: nn.Module | None = None, seed: int = 0) -> ControlAdapter:
    """A new adapter for a model with a UNet2DConditionModel, on its device; before training it changes nothing."""
    return ControlAdapter(model.denoiser, config, model.factor, encoder, seed).to(model.device)


@contextmanager
def controlled(
    model: Model, adapter: ControlAdapter, conditions: Mapping[str, Tensor] | None = None, *, content: Tensor | None = None,
    content_kept: Tensor | None = None, metadata: Mapping[str, Any] | None = None, scales: float | Sequence[float] = 1.0,
    stop_below: float = 0.0, rows: Sequence[str] | None = None,
) -> Iterator[ControlAdapter]:  # fmt: skip
    """Every forward of the model inside follows the adapter, in sampling as in training; gradients reach the adapter.

    ``conditions``: by name, (B, C, H, W) in pixels, in [0, 1]; what is not given is zeros. ``content`` (B, width), and in training
    ``content_kept`` bool (B,): the null row and samples that do not keep it get zero tokens, which the base's cross-attention
    is told to leave out, so that absent content is exactly the base's own text [design; CRS-Diff lets it attend to the zeros].
    ``metadata``: numbers or (B,) in [0, 1] by field. ``scales``: one for all residuals or one each. ``stop_below``: the share of
    the noise schedule under which the control is off (LightIt: 0.2). ``rows``: those that get residuals, all if None.
    Several adapters add up. On exit, also by an exception, the model is as it was.
    """
    conditions, each = dict(conditions or {}), scales if isinstance(scales, (int, float)) else list(scales)
    if not 0 <= stop_below <= 1:
        raise BadInput(f"stop_below {stop_below}: give a share of the noise schedule, 0 (never) to 1")
    if content is not None and adapter.content is None:
        raise BadInput("content was given, but the adapter has no content tokens: train it with content=<embedding width>")
    numbers = adapter.numbers(metadata or {}) if metadata or adapter.config.metadata else None
    dtype = adapter.trunk.conv_in.weight.dtype

    def vector() -> Tensor:
        return adapter.metadata(numbers)  # type: ignore[misc,no-any-return]

    def before(call: Call) -> Call | None:
        if call.run.timestep < stop_below * call.run.scheduler.config.num_train_timesteps:
            return None
        height, width = (side * adapter.factor for side in call.latents.shape[-2:])
        stacked = adapter.stacked(conditions, (height, width), call.samples) if adapter.config.conditions else None
        text, changes = _with_tokens(call, adapter, content, content_kept)
        more = {name: _cast(call.kwargs[name], dtype) for name in TRUNK_READS if call.kwargs.get(name) is not None}
        if numbers is not None:
            more["vector"] = vector().expand(call.samples, -1).repeat(len(call.rows), 1)
        residuals = adapter(call.latents.to(dtype), call.timestep, text.to(dtype), stacked, **more).scaled(each)
        return call.change(**changes, **_added(call, residuals.down, residuals.mid, rows))

    with ExitStack() as held:
        held.enter_context(model.seams.denoiser(before=before, name="condition adapter"))
        if numbers is not None:
            held.enter_context(time_vector(model.seams, vector))
        yield adapter


def save_control(adapter: ControlAdapter, folder: str | Path, model: Model, training: bool = False) -> Path:
    """Write float16 safetensors and the config to ``folder``, in one move. The reconstruction head is left out unless
    ``training`` is to go on from it. Returns the folder."""
    from safetensors.torch import save_file

    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    config = adapter.config if training else replace(adapter.config, reconstruct=False)
    kept = {
        name: tensor.detach().half().contiguous().cpu()
        for name, tensor in adapter.state_dict().items()
        if config.reconstruct or not name.startswith("reconstruction.")
    }
    save_file(kept, partial / WEIGHTS)
    record = {"config": asdict(config), "factor": adapter.factor, "base": model.name, "fingerprint": fingerprint(model.denoiser)}
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def load_control(folder: str | Path, model: Model, encoder: nn.Module | None = None, any_base: bool = False) -> ControlAdapter:
    """The adapter in ``folder``, float32, not trainable, on the model's device; refused for another base (``any_base`` lifts that)."""
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        base, recorded, factor = record["base"], record["fingerprint"], int(record["factor"])
        options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record["config"].items()}
        config = ControlConfig(**options)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} holds no condition adapter: it needs {WEIGHTS} and {RECORD} ({error})") from error
    check_base(model.denoiser, recorded, f"the adapter in {folder}", base, any_base)
    adapter = ControlAdapter(model.denoiser, config, factor, encoder)
    try:
        adapter.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        raise BadInput(f"the adapter in {folder} does not fit {model.name}: {str(error).splitlines()[-1].strip()}") from error
    return adapter.to(model.device).eval().requires_grad_(False)


def _with_tokens(
    call: Call, adapter: ControlAdapter, content: Tensor | None, content_kept: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The text with the content's tokens behind it, as the adapter reads it, and what changes for the base."""
    text: Tensor = call.kwargs["encoder_hidden_states"]
    if adapter.content is None:
        return text, {}
    if content is None:
        return torch.cat([text, text.new_zeros(len(text), adapter.config.tokens, text.shape[2])], dim=1), {}
    tokens = adapter.content(content.to(call.latents.device, adapter.trunk.conv_in.weight.dtype)).to(text)
    there = torch.ones(call.samples, dtype=torch.bool) if content_kept is None else content_kept
    if len(tokens) not in (1, call.samples) or there.shape != (call.samples,):
        raise BadInput(f"content for {len(tokens)} samples, kept for {len(there)}: give one for each of the {call.samples}")
    tokens, there = tokens.expand(call.samples, -1, -1), there.to(text.device)
    present = torch.cat([there & (row != NULL) for row in call.rows])
    every = torch.where(present[:, None, None], tokens.repeat(len(call.rows), 1, 1), torch.zeros((), dtype=text.dtype))
    longer = torch.cat([text, every], dim=1)
    changes = {"encoder_hidden_states": longer}
    mask = call.kwargs.get("encoder_attention_mask")
    if mask is not None or not bool(present.all()):
        mask = text.new_ones(text.shape[:2]) if mask is None else mask
        changes["encoder_attention_mask"] = torch.cat([mask, present[:, None].expand(-1, tokens.shape[1]).to(mask)], dim=1)
    return longer, changes


def _added(call: Call, down: tuple[Tensor, ...], mid: Tensor, rows: Sequence[str] | None) -> dict[str, Any]:
    """The residuals, in the rows that get them, on top of those that another adapter gave."""
    if rows is not None:
        for row in rows:
            call.row(row)
        chosen = torch.tensor([row in rows for row in call.rows]).repeat_interleave(call.samples).reshape(-1, 1, 1, 1)
        down, mid = tuple(r * chosen.to(r) for r in down), mid * chosen.to(mid)
    down, mid = tuple(r.to(call.latents.dtype) for r in down), mid.to(call.latents.dtype)
    before = call.kwargs.get("down_block_additional_residuals")
    if before is not None:
        down = tuple(a + b for a, b in zip(before, down, strict=True))
        mid = call.kwargs["mid_block_additional_residual"] + mid
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, dict):
        return {key: _cast(inner, dtype) for key, inner in value.items()}
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
