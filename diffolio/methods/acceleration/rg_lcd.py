"""RGLCD: a student that samples in 2 to 4 steps and is tuned to a reward; without a reward, the plain LCM trainer.

Reward Guided Latent Consistency Distillation. Li, Feng, Chen, Wang, 2024, arXiv:2403.11027. Consistency distillation
(``training/distill.py``) makes a clean latent in one forward pass at every training step, so a reward can be maximised on it
as it stands. An expert that looks at pixels leaves high-frequency noise when it is optimised; the paper therefore optimises a
*latent proxy* R_L that is taught, while the student trains, to order latents as the expert E orders their pictures:

    student:  L_LCD - beta E[ R_L(f(x_{n+1}, w, c, t_{n+1}), c) ]
    proxy:    sum over pairs of KL( softmax(E(a), E(b)) || softmax(R_L(a), R_L(b)) ),   a, b of {student, target, true latents}

The student's gradient never passes through the expert, which may therefore be any function of pictures and prompts.

Paper and code: the released script teaches the proxy after the student's step, here just before it (same latents); for rewards
other than HPS it scores shuffled latents against unshuffled prompts, here each latent meets its own caption; it feeds the
proxy latents that are not scaled, here they are scaled as the denoiser sees them. [design]: the text tower starts as the
pipeline's own, the proxy is pretrained on the training latents by CLIP's loss, the student's weights are averaged (0.99).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.students import load_student, save_student, start_student
from diffolio.nets.latent_reward import ContrastiveLatents, LatentReward, load_reward, save_reward
from diffolio.registry import Recipe, knob, method
from diffolio.training.distill import ConsistencyDistillation, OptimizerState, Pair, ddim_grid, pseudo_huber
from diffolio.training.latents import CaptionedLatents, captioned_latents
from diffolio.training.loop import Budget, Settings, Trained, train
from diffolio.training.rewards import Expert, find_reward

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result


@method(paper="2403.11027", family="acceleration", works_on={"unet"})
@dataclass(frozen=True)
class RGLCD(Recipe):
    """Distils a Stable Diffusion model into one that samples in 2 to 4 steps, better liked by a reward of your choice.

    ``reward`` is None (plain latent consistency distillation), "mini-clip", or a function of pictures (B, 3, H, W) in [0, 1]
    and prompts that gives (B,); with ``proxy`` it need not be differentiable.
    """

    reward: str | Callable[..., Tensor] | None = knob(  # noqa: RUF009
        None, means="None or 'none', 'mini-clip', or a function (pictures, prompts) -> (B,)"
    )
    proxy: bool = knob(True, means="maximise a latent reward taught by the expert; off: the expert itself, through the decoder")
    beta: float = knob(1.0, at_least=0.0, means="weight of the reward")
    w_range: tuple[float, ...] = knob((5.0, 15.0), means="guidance drawn in training, as guidance scale minus one: low,high")
    ddim_steps: int = knob(50, at_least=1, means="points of the solver's grid; divides the schedule's timesteps")
    ema: float = knob(0.95, at_least=0.0, below=1.0, means="decay of the target network")
    lora_rank: int | None = knob(None, at_least=1, means="train a LoRA of this rank; None: all weights")
    rate: float = knob(1e-6, above=0.0, means="learning rate of the student")
    batch: int = knob(16, at_least=1, means="latents a step")
    start: str | None = knob(None, means="a student to go on from: a bundled name or a folder; None: the teacher's weights")
    proxy_rate: float = knob(3.3e-6, above=0.0, means="learning rate of the proxy while the student trains")
    proxy_shape: tuple[int, ...] = knob((4, 512, 12), means="patch, width and layers of the proxy's image tower")
    proxy_steps: int = knob(2000, at_least=0, means="steps of contrastive pretraining of the proxy")
    pairs: str = knob(
        "distillation",
        choices=("distillation", "cross_entropy"),
        means="soft labels of the expert, or hard ones with the true latent always best",
    )
    sharpness: float | None = knob(
        None, above=0.0, means="scale of the expert's scores within a pair; None: its own logit scale, or the proxy's"
    )
    scenes: int = knob(8000, at_least=1, means="tabletop scenes to train on where no data is given")
    sampled_steps: int = knob(2, at_least=1, means="steps with which a run samples the student")

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/rg_lcd",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Train from the teacher ``model``; writes ``folder/export`` (a pipeline) and, with ``lora_rank``, ``folder/adapter``.

        ``data``: None, CaptionedLatents, (latents, captions), or pictures with captions. ``budget`` None: the paper's 10 000
        steps. The teacher is unchanged afterwards.
        """
        self.check(model)
        ddim_grid(model.scheduler.config.num_train_timesteps, self.ddim_steps)
        expert = find_reward(self.reward)
        if expert is not None:
            expert.try_on(model.default_size, model.device, differentiable=not self.proxy)
        folder = Path(folder)
        settings = Settings(rate=self.rate, warmup=50, last_rate=0.1, weight_decay=0.0, betas=(0.9, 0.999), every=200, decay=0.99)
        with frozen(model):
            student = start_student(model, self.start, self.lora_rank, seed).train()
            pool = captioned_latents(model, data, self.scenes, seed)
            distillation = ConsistencyDistillation(
                model, student, pool, batch=self.batch, ddim_steps=self.ddim_steps, decay=self.ema, w_range=self.w_range
            )
            objective: Any = distillation
            if expert is not None:
                proxy = self.pretrained(model, pool, folder, resume, seed, progress) if self.proxy else None
                more = {"proxy_rate": self.proxy_rate, "pairs": self.pairs, "sharpness": self.sharpness}
                objective = RewardGuided(distillation, expert, proxy, beta=self.beta, **more)
            limit, options = budget or Budget(steps=10_000), {"seed": seed, "resume": resume, "progress": progress}
            trained = train(objective, folder, limit, settings, device=model.device, **options)
        reward = self.reward if isinstance(self.reward, str | None) else getattr(self.reward, "__name__", "function")
        save_student(folder, student.eval(), model, {**self.knobs(), "reward": reward, "seed": seed, "steps": trained.steps})
        return trained

    def run(self, job: Job) -> Result:
        """The teacher with ``job.steps`` steps beside the student (``start``, or the bundled one) with ``sampled_steps``."""
        from diffolio.results import Result

        student = load_student(job.model, self.start or "mini-rg-lcm")
        teacher = job.sample()
        few = replace(job, model=student, steps=self.sampled_steps).sample()
        images = {f"teacher, {job.steps} steps": teacher, f"student, {self.sampled_steps} steps": few}
        numbers = {"evaluations_teacher": 2.0 * job.steps, "evaluations_student": float(self.sampled_steps)}
        return Result(images, numbers, {}, job.prompts)

    def pretrained(
        self, model: Model, pool: CaptionedLatents, folder: Path, resume: bool, seed: int, progress: bool
    ) -> LatentReward:
        """The proxy after contrastive pretraining on the training latents; a resumed run takes up ``folder/proxy``."""
        if len(self.proxy_shape) != 3:
            raise BadInput(f"proxy_shape {self.proxy_shape}: give patch,width,layers")
        patch, width, layers = self.proxy_shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            size, text = pool.latents.shape[-1], model.pipeline.text_encoder
            proxy = LatentReward(
                model.pipeline.tokenizer, text, model.channels, size, patch, width, layers, heads=max(4, width // 64)
            ).to(model.device)
        place = folder / "proxy" / "proxy.safetensors"
        if resume and place.exists():
            return load_reward(proxy, place)
        if self.proxy_steps:
            settings = Settings(rate=1e-3 if width < 256 else 1e-4, warmup=100, weight_decay=0.02, decay=0.99)
            objective = ContrastiveLatents(proxy, pool)
            options = {"seed": seed + 1, "resume": resume, "progress": progress, "device": model.device}
            train(objective, place.parent, Budget(steps=self.proxy_steps), settings, **options)
        place.parent.mkdir(parents=True, exist_ok=True)
        save_reward(proxy, place)
        return proxy


class RewardGuided:
    """Objective: consistency distillation minus ``beta`` times the reward of the student's clean latents.

    With a ``proxy`` the student maximises the proxy, which is frozen then, and the expert teaches the proxy's last layers with
    an optimiser of its own. Without one the expert is maximised through the decoder.
    """

    def __init__(
        self, distillation: ConsistencyDistillation, expert: Expert, proxy: LatentReward | None, *, beta: float = 1.0,
        proxy_rate: float = 3.3e-6, pairs: str = "distillation", sharpness: float | None = None,
    ) -> None:  # fmt: skip
        self.distillation, self.expert, self.proxy, self.beta, self.pairs = distillation, expert, proxy, beta, pairs
        self.modules: dict[str, nn.Module] = dict(distillation.modules)
        if proxy is not None:
            proxy.requires_grad_(False)
            self.tail = proxy.tail()
            self.teacher = OptimizerState(self.tail, proxy_rate)
            self.sharpness = sharpness or expert.scale or float(proxy.scale)
            self.modules |= {"proxy": proxy, "proxy_optimizer": self.teacher}

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        pair = self.distillation.pair(step, generator)
        loss = pseudo_huber(pair.student, pair.target, self.distillation.huber)
        if self.proxy is None:
            images = self.distillation.model.decode(pair.student).clamp(0, 1)
            reward, told = self.expert(images, pair.captions), {}
        else:
            told = self.teach(pair)
            reward = self.proxy(pair.student, pair.captions)
        return loss - self.beta * reward.mean(), {
            "distillation": float(loss.detach()),
            "reward": float(reward.detach().mean()),
            **told,
        }

    def teach(self, pair: Pair) -> dict[str, float]:
        """One step of the proxy towards the expert's order of student, target and true latents."""
        assert self.proxy is not None
        latents = torch.cat([pair.student.detach(), pair.target, pair.true])
        captions = 3 * pair.captions
        with torch.no_grad():
            scores = self.expert(self.distillation.model.decode(latents).clamp(0, 1), captions)
        for parameter in self.tail:
            parameter.requires_grad_(True)
        try:
            logits = self.proxy(latents, captions) * self.proxy.scale
            loss, agreement = preference_loss(logits.view(3, -1), (scores * self.sharpness).view(3, -1), self.pairs)
            loss.backward()
            self.teacher.optimizer.step()
            self.teacher.optimizer.zero_grad(set_to_none=True)
        finally:
            for parameter in self.tail:
                parameter.requires_grad_(False)
        return {"proxy_loss": float(loss.detach()), "agreement": agreement, "expert": float(scores.view(3, -1)[0].mean())}


def preference_loss(logits: Tensor, expert: Tensor, pairs: str = "distillation") -> tuple[Tensor, float]:
    """KL from the expert's to the proxy's distribution over every pair of the three rows (3, B), batch mean, summed; and the
    share of pairs in which the two prefer the same. "cross_entropy": the preferred one as a label, row 2 (true) always."""
    loss, agreement = logits.new_zeros(()), 0.0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        ours, theirs = torch.stack([logits[i], logits[j]], 1), torch.stack([expert[i], expert[j]], 1)
        best = theirs.argmax(1)
        if pairs == "distillation":
            loss = loss + nn.functional.kl_div(ours.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True)
        else:
            loss = loss + nn.functional.cross_entropy(ours, torch.ones_like(best) if j == 2 else best)
        agreement += float((ours.argmax(1) == best).float().mean()) / 3
    return loss, agreement


@contextmanager
def frozen(model: Model) -> Iterator[Model]:
    """No parameter of ``model`` collects a gradient inside; flags are as before afterwards."""
    parts = [part for part in model.pipeline.components.values() if isinstance(part, nn.Module)]
    flags = [(parameter, parameter.requires_grad) for part in parts for parameter in part.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield model
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
