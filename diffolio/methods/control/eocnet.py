"""EOCNet: pictures that follow a layout and also what the caption says of the things in it: who looks at whom, what touches what.

Wang, Zhou, Xu, 2023, "Enhancing Object Coherence in Layout-to-Image Synthesis", arXiv:2311.10522. A label map says where things are,
not how they stand to each other. The base is rectified cross-attention (FreestyleNet, arXiv:2303.14412): the text is the words of the map's
classes, ascending, and the caption; a class's tokens are attended to inside its region only. Two parts are added:

    global semantic fusion (GSF):               x  <- x + tanh(a) f(layout, caption)                f: one transformer block
    self-similarity coherence attention (SCA):  o  <- softmax(q k^T / sqrt(d) + mask) v + tanh(a_l) softmax(g_l(S(q))) v

x are the noisy latents, S(q) the cosines of each query of a head with the 5 x 5 around it, g_l two 3 x 3 convolutions to one weight a text
token. All a are 0 at first. GSF carries relations of meaning, SCA relations of bodies. The training loss is the plain noise error.

Paper and code: the released network is handed the caption and drops it, so that its GSF reads the whole prompt (``fuse_with="prompt"``);
here, as the paper says, the caption. It also holds FreeU's settings without a word (``freeu``, off here; diffusers' FreeU tells
the levels by block, the released code by width). Label ids enter its GSF as they are, 0 to 182; here they are divided by 255
[design]. Its null row of guidance has no layout at all; so here. Only its inference code is public: what trains, but for the
learning rate of 1e-6 and flips, is [design]; the bundled adapter trains the attention layers alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, BadKnob
from diffolio.models.coherence import CoherenceAdapter, Trained, load_coherence, save_coherence
from diffolio.models.fine_tuning import copied, trainable, trained_folder
from diffolio.models.layouts import Layout, Layouts, read_layouts
from diffolio.registry import Recipe, knob, method
from diffolio.training.layouts import FollowLayouts, LaidOutLatents, laid_out_latents
from diffolio.training.loop import Budget, Settings, train
from diffolio.training.loop import Trained as Training

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result

FREEU = {"s1": 0.9, "s2": 0.2, "b1": 1.1, "b2": 1.2}
BASELINE = "baseline"


@method(paper="2311.10522", family="control", works_on={"unet"}, takes={"layout"})
@dataclass(frozen=True)
class EOCNet(Recipe):
    """Draws a label map with words for its classes and a caption for their relations, after training on such pictures.

    ``diffolio run eocnet --input layout=FILE.json`` takes what the authors' demo takes: text_label_mapping, caption, layout_path.
    """

    gsf: bool = knob(True, means="fuse the layout, read together with the caption, into the latents")
    sca: bool = knob(True, means="attend by the self-similarity of queries too")
    window: int = knob(5, at_least=1, means="side of the neighbourhood of self-similarity, odd")
    fuse_with: str = knob("caption", choices=("caption", "prompt"), means="text that GSF reads; prompt is the released code's")
    freeu: bool = knob(False, means="FreeU, as the released code has it")
    guidance: float = knob(2.0, at_least=1.0, means="guidance scale of sampling")
    steps: int = knob(50, at_least=1, means="steps of sampling")
    adapter: str = knob("eocnet", means="what a run samples: a bundled adapter or a training's folder")
    trains: str = knob("all", choices=("all", "attention"), means="which of the UNet's weights train beside the two parts")
    rate: float = knob(1e-6, above=0.0, means="learning rate")
    batch: int = knob(8, at_least=1, means="pictures a step")
    emphasis: float = knob(1.0, at_least=1.0, means="weight of cells with things; above 1 also min-SNR, as mini-sd was trained")
    empty: float = knob(0.1, between=(0.0, 0.5), means="share of samples without text and layout, for guidance")
    quiet: float = knob(0.1, between=(0.0, 0.5), means="share of samples without a caption")
    flip: bool = knob(True, means="take given pictures mirrored too")
    scenes: int = knob(3000, at_least=1, means="tabletop scenes to train on where no data is given")
    rectified_first: float = knob(0.0, between=(0.0, 0.95), means="share of the steps that train rectified attention alone")
    compare: bool = knob(False, means="from there on also train the same without GSF and SCA, for as many steps")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window % 2 == 0:
            raise BadKnob(f"window={self.window}: a neighbourhood has a middle, give an odd number of cells")

    def fit(
        self, model: Model, data: Any = None, budget: Budget | None = None, *, folder: str | Path = "runs/eocnet",
        resume: bool = False, seed: int = 0, progress: bool = True,
    ) -> Training:  # fmt: skip
        """Train from ``model``, which is unchanged afterwards; writes ``folder/export``, and with ``compare`` ``folder/export/baseline``.

        ``data``: None (the tabletop's arrows and pairs), LaidOutLatents, or a sequence of (picture, Layout). ``budget`` None: 10 000 steps.
        """
        self.check(model)
        if not (self.gsf or self.sca) and self.compare:
            raise BadInput("compare=True without GSF and SCA: that is the baseline itself, leave it out")
        folder, budget = Path(folder), budget or Budget(steps=10_000)
        pool = laid_out_latents(model, data, self.scenes, seed, self.flip)
        told = {"resume": resume, "seed": seed, "progress": progress}
        first, then = split(budget, self.rectified_first)
        start: dict[str, Tensor] = {}
        steps = 0
        if first is not None:
            trained, start, _ = self._trained(
                replace(self, gsf=False, sca=False), model, pool, first, folder / "first", {}, **told
            )
            steps = trained.steps
        about = {**self.knobs(), "seed": seed, "first_steps": steps}
        plain = None
        if self.compare:
            trained, plain, _ = self._trained(
                replace(self, gsf=False, sca=False), model, pool, then, folder / BASELINE, start, **told
            )
            plain_about = {**about, "trained_steps": steps + trained.steps}
        trained, weights, adapter = self._trained(self, model, pool, then, folder, start, **told)
        save_coherence(folder / "export", model, weights, adapter, {**about, "trained_steps": steps + trained.steps})
        if plain is not None:
            save_coherence(folder / "export" / BASELINE, model, plain, None, plain_about)
        return trained

    def _trained(
        self, recipe: EOCNet, model: Model, pool: LaidOutLatents, budget: Budget, folder: Path, start: dict[str, Tensor], *,
        seed: int, **options: Any,
    ) -> tuple[Training, dict[str, Tensor], CoherenceAdapter | None]:  # fmt: skip
        """One stage on a copy of the UNet: the training, the UNet's trained weights by name, the adapter."""
        student = copied(model)
        weights = trainable(student.denoiser, self.trains)
        with torch.no_grad():
            for name, value in start.items():
                weights[name].copy_(value)
        adapter = None
        if recipe.gsf or recipe.sca:
            adapter = CoherenceAdapter(student, recipe.gsf, recipe.sca, recipe.window, seed).to(model.device)
        objective = FollowLayouts(
            student, adapter, pool, batch=self.batch, empty=self.empty, quiet=self.quiet, emphasis=self.emphasis,
            fuse_with=self.fuse_with,
        )  # fmt: skip
        settings = Settings(rate=self.rate, warmup=20, last_rate=0.1, decay=0.99, every=200)
        trained = train(objective, folder, budget, settings, seed=seed, device=model.device, **options)
        return trained, {name: w.detach() for name, w in weights.items()}, adapter

    @contextmanager
    def on(self, model: Model, layouts: Sequence[Layout], trained: Trained | str | Path | None = None) -> Iterator[Layouts]:
        """The model draws these layouts inside: ``model.sample(read.texts)`` for what it yields. As it was afterwards, bit for bit.

        ``trained``: what was loaded, or its folder; None: the knob ``adapter``. ``gsf`` and ``sca`` off switch its parts off.
        """
        self.check(model)
        found = trained if isinstance(trained, Trained) else load_coherence(trained or trained_folder(self.adapter), model)
        read, caption = read_layouts(model, layouts), None
        if found.about.get("fuse_with", self.fuse_with) == "caption" and found.adapter is not None:
            with torch.no_grad():
                caption = model.condition(read.captions)["cond"]["encoder_hidden_states"]
        with found.on(model, read, caption, gsf=self.gsf, sca=self.sca), free(model, self.freeu):
            yield read

    def sample(
        self, model: Model, layouts: Sequence[Layout] | Layout, trained: Trained | str | Path | None = None, *,
        seed: int | Sequence[int] = 0, steps: int | None = None, guidance: float | None = None,
    ) -> Tensor:  # fmt: skip
        """Pictures (B, 3, H, W) of layouts, each as large as its label map."""
        given = [layouts] if isinstance(layouts, Layout) else list(layouts)
        with self.on(model, given, trained) as read:
            height, width = given[0].labels.shape
            scale = self.guidance if guidance is None else guidance
            return model.sample(
                read.texts, seed=seed, steps=steps or self.steps, guidance_scale=scale, height=height, width=width
            ).images

    def read(self, folder: Path, model: Model) -> Any:
        """A user's folder: for each picture NAME.png its layout NAME.json (see ``read_layout``), both resized to the model's size."""
        from diffolio.models.images import fit_size, load_image
        from diffolio.models.layout_files import read_layout

        size = model.default_size
        found = [(path, path.with_suffix(".png")) for path in sorted(folder.glob("*.json"))]
        pairs = [(fit_size(load_image(image), size, size), read_layout(path, size)) for path, image in found if image.exists()]
        if not pairs:
            raise BadInput(f"{folder} holds no picture NAME.png with a layout NAME.json")
        return pairs

    def run(self, job: Job) -> Result:
        """The job's layout, or drawn tabletop ones, beside rectified attention that was trained as long (where the adapter has it)."""
        from diffolio.models.layout_files import coloured, read_layout
        from diffolio.results import Result

        notes = []
        if "layout" in job.inputs:
            layouts = [read_layout(Path(job.inputs["layout"]), job.height or job.model.default_size, job.width)]
        else:
            layouts = drawn(job.model.default_size, len(job.prompts), job.seed)
            notes.append("no --input layout=FILE.json was given: tabletop layouts were drawn, and prompts are not read")
        place = trained_folder(self.adapter)
        method = replace(self, guidance=job.guidance_scale or self.guidance)
        steps = job.steps if self.steps == 50 else self.steps
        trained = load_coherence(place, job.model)
        images = {"layout": coloured(layouts)}
        if (place / BASELINE).is_dir():
            images["rectified attention"] = method.sample(job.model, layouts, place / BASELINE, seed=job.seed, steps=steps)
        images["eocnet"] = method.sample(job.model, layouts, trained, seed=job.seed, steps=steps)
        gates = trained.adapter.gates() if trained.adapter is not None else {}
        numbers = {"gate_gsf": gates.pop("gsf")} if "gsf" in gates else {}
        numbers |= {"gate_sca": sum(abs(g) for g in gates.values()) / len(gates)} if gates else {}
        return Result(images, numbers, {"notes": notes, "gates": gates}, [layout.caption for layout in layouts])


def split(budget: Budget, share: float) -> tuple[Budget | None, Budget]:
    """The first ``share`` of a budget, and the rest."""
    if share == 0:
        return None, budget
    if budget.steps:
        first = max(1, round(budget.steps * share))
        return Budget(steps=first), Budget(steps=max(1, budget.steps - first))
    seconds = budget.seconds or 1.0
    return Budget(seconds=seconds * share), Budget(seconds=seconds * (1 - share))


@contextmanager
def free(model: Model, on: bool) -> Iterator[None]:
    """diffusers' FreeU with the released code's numbers, if asked for."""
    if not on:
        yield
        return
    blocks = [(block, {name: getattr(block, name, None) for name in FREEU}) for block in model.denoiser.up_blocks]
    try:
        model.denoiser.enable_freeu(**FREEU)
        yield
    finally:
        for block, before in blocks:
            for name, value in before.items():
                setattr(block, name, value)


def drawn(size: int, n: int, seed: int) -> list[Layout]:
    """Tabletop layouts that no training saw."""
    from diffolio.worlds.tabletop.coherence import label_maps, sample_coherent

    scenes = sample_coherent(n, 910_000 + seed, ("points at", "touches"))
    return [Layout(labels, c.words, c.caption) for labels, c in zip(label_maps(scenes, size), scenes, strict=True)]
