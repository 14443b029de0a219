"""Consistency distillation: a student that jumps from any point of the teacher's trajectory to its end.

Latent Consistency Models (Luo et al., 2023, arXiv:2310.04378; consistency models: Song et al., 2023, arXiv:2303.01469). On a
grid of N DDIM timesteps the student f must give the same clean latent at two neighbouring points of one guided trajectory:

    f(x, w, c, t) = c_skip(t) x + c_out(t) x0_hat(x, w, c, t),       f(x, ., ., 0) = x
    loss = d( f(x_{n+1}, w, c, t_{n+1}),  f_ema(x_n, w, c, t_n) ),   d(a, b) = mean sqrt((a - b)^2 + h^2) - h

where x_n is the teacher's DDIM step from x_{n+1} with x0 and noise both extrapolated as cond + w (cond - uncond). In this
convention w is the usual guidance scale minus one. w enters the student as a sinusoidal embedding beside the timestep.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.process.prediction import Prediction, add_noise, alpha_sigma, alphas_cumprod


def ddim_grid(train_steps: int, steps: int) -> Tensor:
    """The timesteps T/N - 1, 2T/N - 1, ..., T - 1 (N,), ascending: LCMScheduler's, and DDIMScheduler's "trailing" spacing."""
    if not 1 <= steps <= train_steps or train_steps % steps:
        raise BadInput(f"{steps} DDIM steps do not divide the schedule's {train_steps} timesteps: give a divisor, such as 50")
    return torch.arange(1, steps + 1) * (train_steps // steps) - 1


def boundary(t: Tensor, sigma_data: float = 0.5, timestep_scaling: float = 10.0) -> tuple[Tensor, Tensor]:
    """(c_skip, c_out) at integer timesteps ``t`` (B,), each (B, 1, 1, 1). At t = 0 they are exactly 1 and 0."""
    scaled = (t * timestep_scaling).reshape(-1, 1, 1, 1).to(torch.get_default_dtype())
    total = scaled**2 + sigma_data**2
    return sigma_data**2 / total, scaled / total.sqrt()


def extrapolate(cond: Tensor, uncond: Tensor, w: Tensor) -> Tensor:
    """Guidance in the LCM convention; ``w`` (B,) is the usual scale minus one."""
    return cond + w.reshape(-1, *[1] * (cond.dim() - 1)) * (cond - uncond)


def ddim_step(clean: Tensor, noise: Tensor, alphas_cumprod_to: Tensor) -> Tensor:
    """DDIM with eta 0 to the noise level ``alphas_cumprod_to`` (B,): sqrt(a) clean + sqrt(1 - a) noise."""
    a = alphas_cumprod_to.reshape(-1, *[1] * (clean.dim() - 1)).to(clean)
    return a.sqrt() * clean + (1 - a).sqrt() * noise


def pseudo_huber(a: Tensor, b: Tensor, h: float = 1e-3) -> Tensor:
    """mean sqrt((a - b)^2 + h^2) - h."""
    return (((a - b) ** 2 + h**2).sqrt() - h).mean()


def guidance_embedding(w: Tensor, width: int = 256) -> Tensor:
    """Sines then cosines of 1000 w at ``width / 2`` frequencies from 1 to 1/10000 (B,) -> (B, width); as diffusers'
    ``get_guidance_scale_embedding``."""
    half = width // 2
    # In float32 throughout: angles reach 15000, where another order of rounding would change the embedding visibly.
    spacing = torch.log(torch.tensor(10000.0)) / (half - 1)
    angles = (w.float() * 1000.0)[:, None] * torch.exp(torch.arange(half, dtype=torch.float32) * -spacing).to(w.device)
    return nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, width % 2))


@torch.no_grad()
def update_average(average: nn.Module, source: nn.Module, decay: float, only: Iterable[str] | None = None) -> None:
    """average <- decay average + (1 - decay) source, for the parameters named ``only`` (all when None)."""
    theirs = dict(source.named_parameters())
    mine = dict(average.named_parameters())
    for name in mine if only is None else only:
        mine[name].lerp_(theirs[name], 1 - decay)


# What the loop keeps ----------------------------------------------------------------------------------------------------


def trainable(module: nn.Module) -> list[str]:
    """Names of the parameters that require a gradient."""
    return [name for name, parameter in module.named_parameters() if parameter.requires_grad]


class OptimizerState(nn.Module):
    """The state of a second optimiser as a module, so that the training loop's checkpoints carry it.

    ``optimizer`` is an AdamW over ``parameters`` that the loop's own optimiser does not hold.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        super().__init__()
        parameters = list(parameters)
        self.optimizer = torch.optim.AdamW(parameters, rate, betas, foreach=False)
        kept = []
        for parameter in parameters:
            state = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
            held = {key: nn.Parameter(value, requires_grad=False) for key, value in state.items()}
            self.optimizer.state[parameter] = dict(held)
            kept += held.values()
        self.kept = nn.ParameterList(kept)


# The objective ----------------------------------------------------------------------------------------------------------


@dataclass
class Pair:
    """One step of consistency distillation: the student's and the target's clean latents (B, C, h, w), the true ones, and
    what they were made for. Only ``student`` carries a gradient."""

    student: Tensor
    target: Tensor
    true: Tensor
    captions: list[str]
    w: Tensor
    t: Tensor


class ConsistencyDistillation:
    """Objective for the training loop: the loss of the module's head. ``model`` is the teacher, a Model with a UNet.

    ``data.draw(batch, generator)`` gives clean latents and captions. The target network is an exponential average of the
    student (``decay``), updated at the start of the next step, which keeps a resumed run equal to an unbroken one.
    """

    def __init__(
        self, model: Any, student: nn.Module, data: Any, *, batch: int = 16, ddim_steps: int = 50, decay: float = 0.95,
        w_range: tuple[float, ...] = (5.0, 15.0), huber: float = 1e-3,
    ) -> None:  # fmt: skip
        if len(w_range) != 2 or not 0 <= w_range[0] <= w_range[1]:
            raise BadInput(f"w_range {w_range}: give (low, high) with 0 <= low <= high; w is the guidance scale minus one")
        self.model, self.student, self.data, self.batch = model, student, data, batch
        self.decay, self.w_range, self.huber = decay, w_range, huber
        self.learned = trainable(student)
        self.target = copy.deepcopy(student).requires_grad_(False)
        self.modules: dict[str, nn.Module] = {"student": student, "target": self.target}
        alphas = alphas_cumprod(model.scheduler)
        self.grid = ddim_grid(len(alphas), ddim_steps)
        # The last step lands at timestep 0: its noise level is alphas_cumprod[0], also where set_alpha_to_one is true.
        self.landing = torch.cat([torch.zeros(1, dtype=torch.long), self.grid[:-1]])
        self.alphas_cumprod_to = torch.cat([alphas[:1], alphas[self.grid[:-1]]]).float()

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        pair = self.pair(step, generator)
        return pseudo_huber(pair.student, pair.target, self.huber), {}

    def pair(self, step: int, generator: torch.Generator) -> Pair:
        """Draw a batch and run student, teacher and target."""
        if step:
            update_average(self.target, self.student, self.decay, self.learned)
        device = self.model.device
        clean, captions = self.data.draw(self.batch, generator)
        index = torch.randint(len(self.grid), (len(clean),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        low, high = self.w_range
        w = (low + (high - low) * torch.rand(len(clean), generator=generator)).to(device)
        clean, noise, t, landing = clean.to(device), noise.to(device), self.grid[index].to(device), self.landing[index].to(device)

        alpha, sigma = alpha_sigma(self.model.scheduler, t)
        x = add_noise(clean, noise, alpha, sigma)
        with torch.no_grad():
            condition = self.model.condition(captions)
        student = consistency(self.student, self.model, x, t, w, condition.rows["cond"])
        with torch.no_grad():
            x_prev = self.teacher_step(x, t, w, index, condition.rows)
            target = consistency(self.target, self.model, x_prev, landing, w, condition.rows["cond"])
        return Pair(student, target, clean, captions, w, t)

    def teacher_step(self, x: Tensor, t: Tensor, w: Tensor, index: Tensor, rows: dict[str, dict[str, Any]]) -> Tensor:
        """One guided DDIM step of the teacher from grid point ``index`` to the one below."""
        cond, uncond = (predict(self.model.denoiser, self.model, x, t, rows[row]) for row in ("cond", "uncond"))
        clean = extrapolate(cond.clean, uncond.clean, w)
        noise = extrapolate(cond.noise, uncond.noise, w)
        return ddim_step(clean, noise, self.alphas_cumprod_to[index].to(x))


def predict(unet: nn.Module, model: Any, x: Tensor, t: Tensor, row: dict[str, Any], **more: Any) -> Prediction:
    """What ``unet`` says of ``x`` at timesteps ``t`` (B,), in the parameterisation of ``model``."""
    alpha, sigma = alpha_sigma(model.scheduler, t)
    return Prediction(unet(x, t, **row, **more).sample, x, alpha.to(x), sigma.to(x), model.prediction)


def consistency(unet: nn.Module, model: Any, x: Tensor, t: Tensor, w: Tensor, row: dict[str, Any]) -> Tensor:
    """The consistency function f(x, w, c, t): the clean latents (B, C, h, w)."""
    width = unet.config.time_cond_proj_dim
    clean = predict(unet, model, x, t, row, timestep_cond=guidance_embedding(w, width).to(x)).clean
    c_skip, c_out = boundary(t)
    return c_skip.to(x) * x + c_out.to(x) * clean
