"""A UNet that denoises several modalities together: a pretrained one, widened, with LoRA and a time for each modality.

What trains are the LoRA layers, the widened first and last convolution in full, and what is told of the modalities' times; the rest is
the base's. The UNet's own timestep is that of the first modality that is diffused: a clean condition before it must not make the UNet take
noise for detail.
``models.joint`` has the latents' layout, ``nets.widening`` the surgery.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Conflict, Unsupported
from diffolio.models.fingerprint import check_base, fingerprint
from diffolio.models.joint import JointLatents, ModalityTime, predict_joint
from diffolio.models.students import LORA_LAYERS
from diffolio.nets.widening import widen
from diffolio.process.prediction import Prediction
from diffolio.seams.time_vector import time_vector

if TYPE_CHECKING:
    from diffolio.models.condition import Condition
    from diffolio.models.model import Model

WEIGHTS, RECORD = "joint.safetensors", "joint.json"


class JointNetwork(nn.Module):
    """A float32 copy of the model's UNet over joint latents; the model itself is only read.

    ``inputs`` and ``outputs`` are the widened columns and rows as multiples of the base's, one a modality (``nets.widening``).
    ``rank`` of LoRA on every attention, feed-forward and residual layer; 0 leaves it out and trains all weights. ``as_clean``:
    modalities of which the network gives the clean latents, whatever the base predicts: what can be told from the modality beside it
    need not be carried through the network as noise of its own.
    """

    def __init__(
        self,
        model: Model,
        names: Sequence[str],
        *,
        inputs: Sequence[float],
        outputs: Sequence[float],
        rank: int = 16,
        seed: int = 0,
        as_clean: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if type(model.denoiser).__name__ != "UNet2DConditionModel":
            raise Unsupported(f"{model.name}: joint latents need a UNet2DConditionModel, not a {type(model.denoiser).__name__}")
        self.layout = JointLatents(tuple(names), model.channels)
        if not len(names) == len(inputs) == len(outputs):
            raise BadInput(
                f"{len(names)} modalities, {len(inputs)} inputs and {len(outputs)} outputs: give one of each a modality"
            )
        self.settings: dict[str, Any] = {"names": list(names), "inputs": list(inputs), "outputs": list(outputs), "rank": rank}
        if as_clean:
            self.settings["as_clean"] = list(as_clean)
        self.as_clean = frozenset(as_clean)
        self.unet: Any = copy.deepcopy(model.denoiser).float().requires_grad_(rank == 0)
        widen(self.unet, inputs, outputs)
        if rank:
            from peft import LoraConfig

            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_LAYERS)))
        for layer in (self.unet.conv_in, self.unet.conv_out):
            layer.requires_grad_(True)
        self.time = ModalityTime(self.unet, 1 + len(names)).to(model.device)  # the first is the network's own

    def learned(self) -> dict[str, nn.Parameter]:
        """What trains, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad or _learns(name)}

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        """This network in the place of the model's denoiser; afterwards, also by an exception, the model has its own again."""
        own = model.pipeline.unet
        if own is self.unet:
            yield model
            return
        if model.seams.state._open:
            raise Conflict(
                "another method is on this model: enter it inside of the joint network's block, so that it is not lost"
            )
        model.pipeline.unet = self.unet
        try:
            yield model
        finally:
            model.pipeline.unet = own

    def predict(
        self, model: Model, latents: Tensor, timesteps: Tensor, clean: Tensor, condition: Condition, rows: Sequence[str] = ("cond",),
        guidance_scale: float | None = None,
    ) -> dict[str, dict[str, Prediction]]:  # fmt: skip
        """``joint.predict_joint`` with this network, which is told all timesteps (B, M) and which modalities are ``clean``."""
        first = clean.int().argmin(1, keepdim=True)  # of the modalities that are not clean
        own = timesteps.gather(1, first.to(timesteps.device))[:, 0]

        def vector() -> Tensor:  # of every forward anew, so that each has its own graph
            return self.time(torch.cat([own[:, None], timesteps], 1), nn.functional.pad(clean, (1, 0)))

        with self.on(model), time_vector(model.seams, vector):
            said = predict_joint(model, self.layout, latents, timesteps, condition, rows, guidance_scale, own)
        return {row: {name: self._meant(name, one) for name, one in parts.items()} for row, parts in said.items()}

    def _meant(self, name: str, said: Prediction) -> Prediction:
        if name not in self.as_clean:
            return said
        return Prediction(said.raw, said.latents, said.alpha, said.sigma, "sample")


def _learns(name: str) -> bool:
    return "lora_" in name or name.startswith(("time.", "unet.conv_in.", "unet.conv_out."))


def save_joint(network: JointNetwork, folder: str | Path, model: Model, about: dict[str, Any] | None = None) -> Path:
    """Write what ``network`` learned on ``model`` (float16) and its record to ``folder``, in one move. ``about``: how it was trained."""
    from safetensors.torch import save_file

    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: p.detach().half().contiguous().cpu() for name, p in network.learned().items()}, partial / WEIGHTS)
    record = {"settings": network.settings, "base": model.name, "unet": fingerprint(model.denoiser), "about": about or {}}
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def load_joint(
    folder: str | Path, model: Model, any_base: bool = False, make: Callable[..., Any] = JointNetwork
) -> tuple[Any, dict[str, Any]]:
    """The network in ``folder`` on its base, not trainable, and how it was trained; refused for another base unless ``any_base``.

    ``make(model, **settings)``: what it is, if not a JointNetwork alone."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
        settings, base, known = record["settings"], record["base"], record["unet"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BadInput(f"{folder} holds no joint network: it needs {WEIGHTS} and {RECORD} ({error})") from error
    check_base(model.denoiser, known, f"the network in {folder}", base, any_base)
    network = make(model, **settings)
    learned = network.learned()
    if strange := set(learned) ^ set(weights) | {n for n in set(learned) & set(weights) if learned[n].shape != weights[n].shape}:
        raise BadInput(
            f"the network in {folder} does not fit {model.name}: {sorted(strange)[:3]}; use the base it was trained on"
        )
    with torch.no_grad():
        for name, parameter in learned.items():
            parameter.copy_(weights[name])
    return network.eval().requires_grad_(False), record.get("about", {})
