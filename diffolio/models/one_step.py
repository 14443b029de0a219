"""A one-step image-to-image generator from a latent diffusion model: pix2pix-Turbo and CycleGAN-Turbo (Parmar et al., 2024).

arXiv:2403.12036, section 3. The input picture *is* the latent: encoded, given to the UNet once at the last timestep without any
noise, brought to the clean estimate of that one step, decoded with skip connections from the encoder. What trains are LoRA layers
on UNet and VAE, the UNet's first convolution in full, and the skips; directions (A to B, B to A) share the UNet and have a VAE
adapter and skips each. In the released code LoRA also lies on the skip convolutions, which train in full anyway: left out here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported, unknown
from diffolio.models.students import LORA_LAYERS
from diffolio.models.vae import Autoencoder, check_images
from diffolio.nets.vae_skips import VAESkips
from diffolio.process.prediction import Prediction, alpha_sigma

if TYPE_CHECKING:
    from diffolio.models.model import Model

VAE_LAYERS = ("conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out", "to_k", "to_q", "to_v", "to_out.0")
UNET_LAYERS = (*(name for name in LORA_LAYERS if name != "time_emb_proj"), "conv_out")
ONE_WAY = ("a2b",)


class TwoInputs(nn.Module):
    """The pretrained first convolution beside the trained one: (1 - r) old + r new, with ``r`` set from outside."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.old, self.new = layer, copy.deepcopy(layer)
        self.r = 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.r == 1:
            return self.new(x)  # type: ignore[no-any-return]
        if self.r == 0:
            return self.old(x)  # type: ignore[no-any-return]
        return (1 - self.r) * self.old(x) + self.r * self.new(x)  # type: ignore[no-any-return]


class OneStepGenerator(nn.Module):
    """Pictures (B, 3, H, W) in [0, 1] and prompts -> pictures of the same size, by one run of the UNet. Differentiable.

    UNet and VAE are copies: the model is left alone and lends its text encoder and scheduler. ``directions`` name the VAE
    adapters; with skips at gamma 0 and LoRA as it starts, the generator is encode, UNet, one step, decode. Ranks of 0 leave LoRA
    out. ``guidance_scale`` is what a guidance-distilled UNet is told. A base that was not made for one step works badly.
    """

    def __init__(
        self, model: Model, rank_unet: int = 8, rank_vae: int = 4, *, directions: Sequence[str] = ONE_WAY, skips: bool = True,
        timestep: int | None = None, guidance_scale: float = 1.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        if type(model.denoiser).__name__ != "UNet2DConditionModel" or type(model.vae).__name__ != "AutoencoderKL":
            raise Unsupported(f"{model.name}: the one-step generator needs a UNet2DConditionModel and an AutoencoderKL")
        if not directions or len(set(directions)) != len(directions) or any(not _usable(name) for name in directions):
            raise BadInput(f"directions {tuple(directions)}: give at least one name, each once, such as 'a2b' and 'b2a'")
        self._model = [model]  # in a list: its weights are not the generator's
        self.guidance_scale = guidance_scale
        self.about: dict[str, Any] = {}  # how it was trained, where it comes from a file
        self.settings = {
            "rank_unet": rank_unet, "rank_vae": rank_vae, "directions": list(directions), "skips": skips,
            "timestep": int(model.scheduler.config.num_train_timesteps) - 1 if timestep is None else timestep,
            "guidance_scale": guidance_scale,
        }  # fmt: skip
        self.unet: Any  # the networks are diffusers', whose attributes type checkers cannot see
        self.vaes: Any
        self.skips: Any
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.unet = copy.deepcopy(model.denoiser).float().requires_grad_(False)
            _add_lora(self.unet, rank_unet, UNET_LAYERS)
            base = copy.deepcopy(model.vae).float().requires_grad_(False)
            shared = {id(weight): weight for weight in base.parameters()}  # frozen: one set for all directions
            self.vaes = nn.ModuleDict({name: copy.deepcopy(base, dict(shared)) for name in directions})
            self.skips = nn.ModuleDict({name: VAESkips(base) for name in directions} if skips else {})
            for vae in self.vaes.values():
                _add_lora(vae, rank_vae, VAE_LAYERS)
        self.unet.conv_in = TwoInputs(self.unet.conv_in)
        self.unet.conv_in.new.requires_grad_(True)

    @property
    def model(self) -> Model:
        return self._model[0]

    @property
    def timestep(self) -> int:
        return int(self.settings["timestep"])  # type: ignore[call-overload]

    def text(self, prompts: str | Sequence[str], size: tuple[int, int] | None = None) -> dict[str, Any]:
        """The UNet's arguments for prompts, to be computed once; ``size`` (H, W) in pixels where the model is told it (SDXL)."""
        model, (height, width) = self.model, size or (None, None)
        with torch.no_grad():
            row = dict(model.condition(prompts, height=height, width=width)["cond"])
        if (told := self.unet.config.time_cond_proj_dim) is not None:
            w = torch.full((len(row["encoder_hidden_states"]),), self.guidance_scale - 1.0, device=model.device)
            row["timestep_cond"] = model.pipeline.get_guidance_scale_embedding(w, told)
        return _floats(row)

    def forward(
        self, images: Tensor, text: dict[str, Any] | str | Sequence[str], direction: str | None = None, *, r: float = 1.0,
        noise: Tensor | None = None, gamma: float = 1.0, generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """Translate. ``text`` are prompts, or what :meth:`text` gave (of one prompt for all, or one a picture).

        ``r`` in [0, 1] trades control for variety (section 3.4): the UNet reads r * encoded + (1 - r) * noise, and LoRA, the
        trained first convolution and the skips act with strength r; at 0 it is the pretrained model on pure ``noise``
        (B, C, h, w), which is needed below 1. ``gamma`` is the skips' strength. The posterior is sampled with a ``generator``,
        as the released code does, and its mean is taken without. Output clamped to [0, 1].
        """
        if not 0 <= r <= 1 or (r < 1) != (noise is not None):
            raise BadInput(
                f"r {r:g} {'without' if noise is None else 'with'} noise: r is in [0, 1], and noise belongs to r below 1"
            )
        check_images(images, self.model.factor)
        direction = direction or next(iter(self.vaes))
        if direction not in self.vaes:
            raise unknown("direction", direction, self.vaes.keys())
        arguments = text if isinstance(text, dict) else self.text(text, tuple(images.shape[-2:]))  # type: ignore[arg-type]
        arguments = _repeated(arguments, len(images))
        vae = self.vaes[direction]
        codec = Autoencoder(vae, self.model.factor)
        with self.strength(vae, r), ExitStack() as held:
            if direction in self.skips and gamma * r > 0:
                held.enter_context(self.skips[direction].on(vae, gamma * r))
            z = codec.encode(images.float(), generator is not None, generator)
            if noise is not None:
                z = r * z + (1 - r) * _like(noise, z)
            decoded = vae.decode(codec._unscaled(self.step(z, arguments)), return_dict=False)[0]
        return (decoded * 0.5 + 0.5).clamp(0, 1)

    def step(self, z: Tensor, arguments: dict[str, Any]) -> Tensor:
        """The clean estimate of latents at the last timestep: what a scheduler of one step gives."""
        t = torch.full((len(z),), self.timestep, device=z.device)
        alpha, sigma = (level.to(z) for level in alpha_sigma(self.model.scheduler, t, z.dim()))
        return Prediction(self.unet(z, t, **arguments, return_dict=False)[0], z, alpha, sigma, self.model.prediction).clean

    @contextmanager
    def strength(self, vae: nn.Module, r: float) -> Iterator[None]:
        """LoRA and the trained first convolution at ``r`` of their strength, as they were afterwards."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        layers: list[Any] = [layer for part in (self.unet, vae) for layer in part.modules() if isinstance(layer, BaseTunerLayer)]
        scaling = [dict(layer.scaling) for layer in layers]
        self.unet.conv_in.r = r
        try:
            for layer in layers if r != 1 else []:
                layer.scaling = {name: value * r for name, value in layer.scaling.items()}
            yield
        finally:
            self.unet.conv_in.r = 1.0
            for layer, before in zip(layers, scaling, strict=True):
                layer.scaling = before

    def learned(self) -> dict[str, nn.Parameter]:
        """What trains, by name: LoRA, the new first convolution, the skips."""
        return {name: parameter for name, parameter in self.named_parameters() if _learns(name)}


@torch.no_grad()
def one_step_spread(generator: OneStepGenerator, images: Tensor, prompts: Sequence[str], seed: int = 0) -> float:
    """How far the base's clean estimates of pure noise spread, as a share of how far the latents of pictures (B, 3, H, W) do.

    One that was made for one step gives about 1. The estimate of one that was not is the mean of all that it could draw, and
    spreads less; a rough sign, which says nothing of what is drawn. ``prompts`` as many as pictures.
    """
    model = generator.model
    real = model.encode(images.to(model.device))
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(seed)).to(real)
    with generator.strength(next(iter(generator.vaes.values())), 0.0):
        clean = generator.step(noise, generator.text(prompts, tuple(images.shape[-2:])))  # type: ignore[arg-type]
    return float(clean.std() / real.std())


def _usable(name: str) -> bool:
    """A key of a ModuleDict may be no attribute of one."""
    return bool(name) and "." not in name and not hasattr(nn.ModuleDict(), name)


def _learns(name: str) -> bool:
    return "lora_" in name or name.startswith(("unet.conv_in.new.", "skips."))


def _add_lora(part: Any, rank: int, layers: Sequence[str]) -> None:
    """Gaussian LoRA on the named layers of a network; peft gives it output zero at first."""
    from peft import LoraConfig

    if rank == 0:
        return
    part.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(layers)))


def _floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _floats(inner) for key, inner in value.items()}
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _repeated(value: Any, samples: int) -> Any:
    """One prompt's arguments for every sample."""
    if isinstance(value, dict):
        return {key: _repeated(inner, samples) for key, inner in value.items()}
    if isinstance(value, Tensor) and value.dim() and len(value) != samples:
        if len(value) != 1:
            raise BadInput(f"text of {len(value)} prompts for {samples} pictures: give one for all, or one each")
        return value.expand(samples, *value.shape[1:])
    return value


def _like(noise: Tensor, z: Tensor) -> Tensor:
    if noise.shape != z.shape:
        raise BadInput(f"noise of shape {tuple(noise.shape)} for latents {tuple(z.shape)}: give one number for each of theirs")
    return noise.to(z)
