"""Giving a Hand to Diffusion Models: first the hand, exactly as posed, and then the person around it.

Pelykh, Sincan, Bowden, 2024, "Giving a Hand to Diffusion Models: a Two-Stage Approach to Improving Conditional Human Image Generation",
arXiv:2403.10731. Hands fail because they are small and bend much; so they are made alone and large, and never touched again. Two stages:

    hand      eps([E(hand) ; E(mask)]_t, t, text; hand's skeleton)     the picture and its mask are one latent, one loss each, at one level
    body      eps(z_t, t, text; whole skeleton) by a ControlNet;  after every step
              z <- M_k given(t) + (1 - M_k) z,    given: the hand's latents, noised to the level of z

M_k is what is kept: the hand's mask, *as generated*, grown by a radius that shrinks to nothing while denoising (``process.expansion``), so
that the person is painted towards the hand step by step. Hands are generated in squares that fill the model's size and laid back in place.

Paper and code: the public repository holds a licence and a readme. From the paper are the joint hand and mask, the order, the skeletons and
that the outpainted region grows; [design] are the schedule (radius 1/8 of the side, linear to 0 at 60% of the steps, then one soft cell
outside, its ring free for the last 10%), a cell being kept that is at least half hand, DDIM, "a hand" as the hand's text, both skeletons
in the body's condition, and ``trains``. The bundled networks have a small base of their own, trained first on the same pictures
(``miniatures.hands_base`` says why mini-sd will not do), and train all of its weights with the ControlNet (``trains="all"``); on a base
that knows people, ``base="given"`` and ``trains="control"`` leave it frozen in the second stage.
They were trained for 18 minutes on one core: hands follow their pose, but the person around them is blurred, has hardly the caption's
colours, and its face not always the hands' skin.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffolio.errors import BadKnob
from diffolio.models.controlled import control_adapter, save_control
from diffolio.models.fine_tuning import copied
from diffolio.models.hand_stages import CONFIG, TwoStage, hand_generator, read_pose
from diffolio.models.joint_network import save_joint
from diffolio.models.swapped import save_weights
from diffolio.process.expansion import Expansion
from diffolio.process.optim import frozen
from diffolio.registry import Recipe, knob, method
from diffolio.training.loop import Budget, Settings, Trained
from diffolio.training.stages import Stages

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result
    from diffolio.training.hands import BodyTraining

STEPS = {"judge": 450, "base": 500, "hand": 800, "body": 850, "single": 800}
"""Steps of each training where no budget is given. "single" is the claim's baseline: the body's network trained on for as many steps as
the hand's took, so that one stage and two are trained equally long. "judge" reads poses off pictures, for the claim."""
SHARES = {"judge": 60, "base": 80, "hand": 300, "body": 320, "single": 300}
LOOP: dict[str, Any] = {"warmup": 20, "decay": 0.99, "every": 200}
SEED = 640_000  # of the training scenes


@method(paper="2403.10731", family="control", works_on={"unet"}, takes={"pose"})
@dataclass(frozen=True)
class HandToDiffusion(Recipe):
    """Draws a person from body pose, hand poses and a prompt: the hands first, by a model of hands and their masks, then the rest.

    ``--input pose=FILE.json`` holds "hands", one or two lists of 21 [x, y] or null, and "body", 12 of them, in shares of the picture.
    """

    expand_until: float = knob(0.6, between=(0.0, 1.0), means="share of the steps at which the region reaches the hand's mask")
    radius: float = knob(
        0.125, between=(0.0, 0.5), means="by how much the hand's mask is grown at first, share of the shorter side"
    )
    soften: int = knob(1, at_least=0, means="cells over which what is kept fades out, outside of the mask")
    free: float = knob(
        0.1, between=(0.0, 1.0), means="share of the steps, the last ones, in which the ring around the hand is free"
    )
    jumps: int = knob(0, at_least=0, means="times that each step of the expansion is noised and done again (RePaint)")
    start: str = knob("", means="folder of a training to use; empty: the bundled one")
    part: str = knob("all", choices=("all", "hand", "body"), means="which of the two stages to train")
    base: str = knob("hands", choices=("hands", "given"), means="train on: a small base made first, or the model that is given")
    trains: str = knob(
        "control", choices=("control", "all"), means="of the second stage: the ControlNet alone, or with all the base"
    )
    compare: bool = knob(False, means="train the claim's judge and single-stage baseline too")
    rate: float = knob(1e-5, above=0.0, means="learning rate; the bundled small ones took 3e-3")
    batch: int = knob(8, at_least=1, means="pictures a step")
    scenes: int = knob(
        1000, at_least=1, means="hands, and as many figures, to train on where no data is given; all also mirrored"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expand_until + self.free > 1:
            raise BadKnob(
                f"expand_until={self.expand_until:g} and free={self.free:g} are more than all steps together: lower one"
            )

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/hand_to_diffusion",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Trained:  # fmt: skip
        """Train what ``part`` names; ``folder/export`` can be given as ``start`` afterwards.

        ``data``: None (the hands and bodies worlds), or (HandPictures, BodyPictures) of the model's size. The budget is split over the
        trainings; without one they take ``STEPS``. ``model`` is read only with base="given", and never changed.
        """
        from diffolio.miniatures.hands_base import SIZE, HandsBase, load_base, words_in
        from diffolio.training.hand_poses import PoseTraining, save_judge
        from diffolio.training.hands import BodyTraining, Both, HandTraining, body_pictures, hand_pictures, seeded

        folder = Path(folder)
        export = folder / "export"
        export.mkdir(parents=True, exist_ok=True)
        stages = Stages(
            folder,
            self.stages(),
            STEPS,
            SHARES,
            budget,
            {"single": "hand"},
            {"resume": resume, "seed": seed, "progress": progress},
        )
        settings, size = Settings(rate=self.rate, **LOOP), SIZE if self.base == "hands" else model.default_size
        hands, bodies = data or (hand_pictures(self.scenes, SEED + seed, size), body_pictures(self.scenes, SEED + seed, size))
        if "judge" in stages.names:
            judge = seeded(seed, lambda: PoseTraining(bodies))
            stages.train("judge", judge, Settings(rate=2e-3, **LOOP))
            save_judge(judge.net, export)
        if "base" in stages.names:
            base = seeded(seed, lambda: HandsBase(Both(hands, bodies), words_in(export)))
            stages.train("base", base, Settings(rate=self.rate, **LOOP))
            base.export(export)
            model = load_base(export, model.device if model is not None else "cpu")
        if "hand" in stages.names:
            network, adapter = hand_generator(model, seed)
            stages.train("hand", HandTraining(model, network, adapter.train(), hands, batch=self.batch), settings)
            save_joint(network.eval(), export / "hand", model)
            with network.on(model):
                save_control(adapter, export / "hand_control", model)
        earlier: BodyTraining | None = None
        for name in [name for name in stages.names if name in ("body", "single")]:
            student = copied(model)
            student.denoiser.requires_grad_(self.trains == "all")
            adapter = control_adapter(student, CONFIG, seed=seed).train()
            if earlier is not None:
                adapter.load_state_dict(earlier.adapter.state_dict())
                student.denoiser.load_state_dict(earlier.model.denoiser.state_dict())
            earlier = BodyTraining(student, adapter, bodies, batch=self.batch, unfrozen=self.trains == "all")
            with ExitStack() as held:
                if self.trains == "control":
                    held.enter_context(frozen(student.denoiser))
                stages.train(name, earlier, settings)
            save_control(adapter, export / name / "control", model)
            if self.trains == "all":
                save_weights(export / name / "unet", model, dict(student.denoiser.named_parameters()), {"stage": name})
        record = {"knobs": self.knobs(), "seed": seed, "budget": str(budget), **stages.record()}
        (export / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        return Trained(folder, sum(stages.taken.values()), sum(stages.seconds.values()))

    def stages(self) -> list[str]:
        """What is trained, in order. The single stage needs both of the others' lengths."""
        names = {"all": ["judge", "base", "hand", "body", "single"], "hand": ["base", "hand"], "body": ["base", "body"]}[
            self.part
        ]
        left_out = set() if self.compare else {"judge", "single"}
        return [n for n in names if n not in left_out and not (n == "base" and self.base == "given")]

    def expansion(self, size: tuple[int, int]) -> Expansion:
        """The schedule for pictures of ``size`` pixels."""
        return Expansion(round(self.radius * min(size)), self.expand_until, self.soften, self.free)

    def run(self, job: Job) -> Result:
        """The job's pose, or drawn figures' poses: the skeleton, the first stage's hands and mask, and the picture."""
        from diffolio.results import Result
        from diffolio.training.hands import figures_in_view
        from diffolio.worlds.hands import render_bodies

        two = TwoStage.load(self.start or None, job.model)
        notes, size = list(two.notes), job.height or two.model.default_size
        if "pose" in job.inputs:
            (hands, body), prompts, hand_prompts = (
                read_pose(Path(job.inputs["pose"]), size, len(job.prompts)),
                job.prompts,
                "a hand",
            )
            truth = {}
        else:
            figures = figures_in_view(len(job.prompts), 930_000 + job.seed)
            drawn = render_bodies(figures, size)
            hands, body, truth = drawn.hand_keypoints, drawn.joints, {"true figure": drawn.images}
            prompts, hand_prompts = [f.caption for f in figures], [f"a {f.skin} hand" for f in figures]  # type: ignore[assignment]
            notes.append(
                "no --input pose=FILE.json was given: figures were drawn, each with its own caption in the prompt's place"
            )
        options: dict[str, Any] = {
            "seed": job.seed,
            "steps": job.steps,
            "guidance_scale": job.guidance_scale,
            "jumps": self.jumps,
        }
        made = two.run(hands, body, prompts, hand_prompt=hand_prompts, expansion=self.expansion((size, size)), **options)
        mask = made.hand_mask[:, None].expand(-1, 3, -1, -1).float()
        pictures = {**truth, "pose": made.skeleton, "first stage": made.stage1, "its mask": mask, "second stage": made.images}
        kept = (made.images - made.stage1).square().mean(1)[made.hand_mask].mean()
        return Result(pictures, {"hand_mse": float(kept)}, {"notes": notes, "prompts": prompts}, prompts)
