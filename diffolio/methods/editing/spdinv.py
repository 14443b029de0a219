"""SPDInv: invert a picture so that its noise depends less on the source prompt, then edit it with another prompt.

Li, Li, Guo, Zhang, 2024, "Source Prompt Disentangled Inversion for Boosting Image Editability with Diffusion Models",
arXiv:2403.11105. DDIM inversion takes the noise at the new timestep from the *old* latents; the mistake carries the source prompt
into the noise code, and editing pays for it. With A = alphas_cumprod the right z_t is a fixed point,

    z_t = f_t(z_t),   f_t(z) = sqrt(A_t / A_t-1) (z_t-1 - sqrt(1 - A_t-1) eps(z, t, c)) + sqrt(1 - A_t) eps(z, t, c)

so at every step, from DDIM's guess on, AdamW lowers mean (z - f_t(z))^2 with the gradient through both terms. The inversion
is conditional only. Editing: prompt-to-prompt from the inverted noise, with the source embedding as the null prompt (NPI), and
proximal guidance. ``solver="picard"`` iterates z <- f_t(z) without a gradient, which is AIDI's way and not the paper's.

Paper and code: the released loop takes one more step after the tolerance is met and keeps the last latents; here a sample stops
where it meets the tolerance and keeps its best (so that the residual never grows), and each has its own optimiser. Its "l0"
also shrinks what it keeps, and its quantile runs over source and target together; see ``process/proximal.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.edits import Edit, each
from diffolio.errors import BadInput, BadKnob
from diffolio.process.inversion import Solver, Trajectory, ddim_timesteps, invert, picard, reconstruct, residuals, upward
from diffolio.process.optim import AdamW, frozen
from diffolio.registry import Editor, knob, method

if TYPE_CHECKING:
    from diffolio.models import Model


@method(paper="2403.11105", family="editing", works_on={"unet"},
        edits={"object", "content", "pose", "colour", "material", "background", "style"})  # fmt: skip
@dataclass(frozen=True)
class SPDInv(Editor):
    """Inverts pictures (B, 3, H, W) with their prompts, and edits them by a target prompt with fewer artefacts than DDIM inversion.

    ``SPDInv().invert(model, images, prompts)`` gives the trajectory, ``SPDInv()(model, image, source, target)`` the edit.
    """

    rounds: int = knob(25, at_least=0, means="most optimisation rounds a timestep; 0 is plain DDIM inversion")
    lr: float = knob(1e-3, above=0.0, means="learning rate of AdamW on the latents")
    tol: float = knob(5e-6, at_least=0.0, means="mean squared residual at which a sample is done with a timestep")
    steps: int = knob(50, at_least=1, means="DDIM steps of inversion and editing (`diffolio run`: --steps, unless set here)")
    guidance: float = knob(7.5, at_least=1.0, means="guidance scale of the edit; 1 is none")
    cross_replace: float = knob(0.8, between=(0.0, 1.0), means="share of the steps in which cross-attention follows the source")
    self_replace: float = knob(0.6, between=(0.0, 1.0), means="share of the steps in which self-attention follows the source")
    align: str = knob(
        "refine", choices=("refine", "replace"), means="new words keep their own attention, or take that of the old"
    )
    prox: str = knob(
        "l0", choices=("l0", "l1", "none"), means="proximal guidance: weak guidance is left out, the rest pulled back"
    )
    quantile: float = knob(0.7, between=(0.0, 1.0), means="share of the guidance that is weak")
    solver: str = knob("adamw", choices=("adamw", "picard"), means="how the fixed point is found; adamw is the paper's")
    npi_interp: float = knob(0.0, between=(0.0, 1.0), means="how far the null prompt goes from the source back to the empty one")
    blend: str = knob("", means="keep all but this word's place: a word of both prompts, or source word,target word")
    reweight: float = knob(1.0, at_least=0.0, means="factor on the attention of the target's blend word, else of its new words")

    def neutral(self) -> SPDInv:
        """Plain DDIM inversion, edited in the same way: the baseline."""
        return replace(self, rounds=0)

    def invert(self, model: Model, images: Tensor, prompts: str | Sequence[str]) -> Trajectory:
        """The latents from clean to noise of pictures (B, 3, H, W) or (3, H, W) in [0, 1], each with its own prompt.

        BadInput for prompts that are not as many as pictures, or a size that the VAE does not divide; Unsupported for a
        scheduler that is not DDIM's. The denoiser's weights take no gradient.
        """
        self.check(model)
        images = images if images.dim() == 4 else images[None]
        prompts = each(prompts, len(images), "source prompt")
        with torch.no_grad():
            condition = model.condition(prompts)
            latents = model.encode(images.to(model.device)).float()
        with frozen(model.denoiser):
            return invert(model, latents, condition, self.steps, self.find())

    def find(self) -> str | Solver:
        """The solver that these knobs name."""
        if self.rounds == 0:
            return "ddim"
        return picard(self.rounds, self.tol) if self.solver == "picard" else fixed_point(self.rounds, self.lr, self.tol)

    def edit(self, model: Model, trajectory: Trajectory, targets: str | Sequence[str]) -> Tensor:
        """The inverted pictures made again with the target prompts: (B, 3, H, W).

        The source runs beside its edit through the pipeline's own call, so techniques on the model act here too.
        """
        targets = each(targets, len(trajectory.clean), "target prompt")
        if trajectory.steps != self.steps or trajectory.timesteps != ddim_timesteps(model.scheduler, self.steps):
            raise BadInput(
                f"the inversion took {trajectory.steps} steps to {trajectory.timesteps[-1]}, the edit would take {self.steps}: "
                "invert and edit with the same steps and scheduler"
            )
        from diffolio.models.editing import source_as_null

        condition = source_as_null(model, trajectory.prompts, targets, self.npi_interp)
        with self._editing(model, trajectory, targets):
            noise = torch.cat([trajectory.noise] * 2)
            sampled = model.sample(condition=condition, latents=noise, steps=self.steps, guidance_scale=self.guidance)
        return sampled.images[len(targets) :]

    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        """Invert and edit pictures (B, 3, H, W). Nothing is drawn, and the mask only serves the scores."""
        trajectory = self.invert(model, images, sources)
        edited = self.edit(model, trajectory, targets)
        return Edit(images, edited, sources, targets, trajectory=trajectory, report={"steps": self.steps})

    @torch.no_grad()
    def examine(self, model: Model, edit: Edit) -> None:
        """The reconstruction without guidance, and how far the inversion is from its fixed point."""
        assert edit.trajectory is not None
        clean = reconstruct(model, edit.trajectory)
        edit.reconstruction = model.decode(clean)
        gaps = residuals(model, edit.trajectory)
        edit.numbers |= {
            "residual": float(gaps.mean()),
            "residual_largest": float(gaps.max()),
            "latent_reconstruction_mse": float((clean - edit.trajectory.clean).square().mean()),
        }

    def baseline(self) -> SPDInv:
        """Plain DDIM inversion, edited in the same way."""
        return self.neutral()

    @contextmanager
    def _editing(self, model: Model, trajectory: Trajectory, targets: list[str]) -> Iterator[None]:
        """Prompt-to-prompt and proximal guidance on the model; latents are pulled back before they are blended."""
        from diffolio.models.editing import aligned, word_mask
        from diffolio.seams.prompt_to_prompt import PromptToPrompt
        from diffolio.seams.proximal import ProximalGuidance

        sources, pairs = trajectory.prompts, len(targets)
        alignment = aligned(model, sources, targets, self.align)
        words = [word.strip() for word in self.blend.split(",") if word.strip()]
        if len(words) > 2:
            raise BadKnob(f"blend={self.blend!r}: give a word of both prompts, or source word,target word")
        blend = torch.cat([word_mask(model, s, w) for s, w in ((sources, words[0]), (targets, words[-1]))]) if words else None
        weighed = blend[pairs:] if blend is not None else aligned(model, sources, targets).carry.sum(1) == 0
        reweight = torch.where(weighed, self.reweight, 1.0) if self.reweight != 1 else None
        attention = PromptToPrompt(alignment, self.cross_replace, self.self_replace, reweight, blend)
        with ExitStack() as held:
            held.enter_context(attention.on(model.seams, self.name))
            if self.prox != "none":
                edited = torch.arange(2 * pairs) >= pairs
                path = [torch.cat([z, z]) for z in trajectory.latents]
                held.enter_context(ProximalGuidance(path, edited, self.prox, self.quantile).on(model.seams, self.name))
            yield


def fixed_point(rounds: int, lr: float, tol: float) -> Solver:
    """The solver of the paper: AdamW on z, from DDIM's guess, against mean (z - f(z))^2, each sample until that is below ``tol``.

    Samples that are done leave the batch. The best latents seen are kept, so that the residual does not grow.
    """

    def solve(model: Any, z_prev: Tensor, t_prev: int, t: int, condition: Any, z_init: Tensor) -> Tensor:
        z, best = z_init.clone(), z_init.clone()
        lowest = z.new_full((len(z),), torch.inf)
        adam, going = AdamW(z, lr), torch.arange(len(z), device=z.device)
        for number in range(rounds + 1):
            chosen = condition if len(going) == len(z) else condition.index(going.tolist())
            with torch.set_grad_enabled(number < rounds):
                part = z[going].requires_grad_(number < rounds)
                gap = (part - upward(model, part, z_prev[going], t_prev, t, chosen)).square().flatten(1)
                # The sum's gradient, scaled down to the mean's: in float16 the mean's own would underflow.
                gradient = torch.autograd.grad(gap.sum(), part)[0] / gap.shape[1] if number < rounds else None
            loss, part = gap.detach().mean(1), part.detach()
            better = loss < lowest[going]
            lowest[going[better]], best[going[better]] = loss[better], part[better]
            moving = loss >= tol
            if gradient is None or not bool(moving.any()):
                break
            going = going[moving]
            z[going] = adam.step(going, part[moving], gradient[moving])
        return best

    return solve
