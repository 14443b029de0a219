"""A layout at work on a model: rectified attention, the layout fused into the latents, attention by self-similarity; and on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.errors import BadInput, Unsupported
from diffolio.models.fingerprint import check_base, fingerprint
from diffolio.models.swapped import swapped
from diffolio.nets.coherence import LayoutFusion, SelfSimilarityAttention
from diffolio.seams.regions import grid_of, is_cross, rectified

if TYPE_CHECKING:
    from diffolio.models.layouts import Layouts
    from diffolio.models.model import Model
    from diffolio.seams import Call, Site

WEIGHTS, RECORD = "coherence.safetensors", "coherence.json"


class CoherenceAdapter(nn.Module):
    """EOCNet's two additions to a UNet2DConditionModel (arXiv:2311.10522), each optional: ``fusion`` (GSF) and ``similarity`` (SCA), one
    for each cross-attention. All gates are closed at first."""

    def __init__(self, model: Model, fusion: bool = True, similarity: bool = True, window: int = 5, seed: int = 0) -> None:
        super().__init__()
        unet = model.denoiser
        if type(unet).__name__ != "UNet2DConditionModel" or not isinstance(unet.config.cross_attention_dim, int):
            raise Unsupported(f"{type(unet).__name__}: layouts are fused into a UNet2DConditionModel with one text width")
        heads = unet.config.num_attention_heads or unet.config.attention_head_dim
        self.paths = [place.path for place in model.seams.sites() if place.kind == "cross"]
        self.window = window
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            width, text = unet.config.block_out_channels[0], unet.config.cross_attention_dim
            first = heads if isinstance(heads, int) else heads[0]
            self.fusion = LayoutFusion(width, first, text, unet.config.norm_num_groups) if fusion else None
            tokens = model._architecture.readers(model.pipeline)[0].limit
            every = [SelfSimilarityAttention(tokens, window) for _ in self.paths] if similarity else []
            self.similarity = nn.ModuleList(every)

    def gates(self) -> dict[str, float]:
        """tanh of every gate, by what it opens."""
        found = {"gsf": self.fusion.gate} if self.fusion is not None else {}
        found |= {path: module.gate for path, module in zip(self.paths, self.similarity, strict=False)}  # type: ignore[misc]
        return {name: float(gate.detach().tanh()) for name, gate in found.items()}


@contextmanager
def laid_out(
    model: Model, layouts: Layouts, adapter: CoherenceAdapter | None = None, caption: Tensor | None = None, *,
    present: Tensor | None = None, gsf: bool = True, sca: bool = True, row: str = "cond",
) -> Iterator[None]:  # fmt: skip
    """Every forward inside follows the layouts in ``row``; the other rows are the plain model's. Gradients reach the adapter.

    Without an ``adapter`` it is rectified attention alone. ``caption`` (B, L, D): the text states that GSF reads; by default those
    that the network reads. ``present`` bool (B,): samples that have a layout, in training. ``gsf`` and ``sca`` switch the parts off.
    """
    there = torch.ones(len(layouts), dtype=torch.bool) if present is None else present
    there = there.to(model.device)
    tokens = layouts.tokens.masked_fill(~there[:, None], -1)
    gsf = gsf and adapter is not None and adapter.fusion is not None
    sca = sca and adapter is not None and len(adapter.similarity) > 0

    def fuse(call: Call) -> Call:
        assert adapter is not None and adapter.fusion is not None
        part = call.row(row)
        given = call.kwargs["encoder_hidden_states"][part] if caption is None else caption
        if len(given) != len(layouts) or call.samples != len(layouts):
            raise BadInput(
                f"{len(layouts)} layouts and {len(given)} captions for {call.samples} samples: give one of each for each"
            )
        small = F.interpolate(layouts.labels, call.latents.shape[-2:], mode="nearest")
        fused = adapter.fusion(small, given.to(small)) * adapter.fusion.gate.tanh() * there[:, None, None, None]
        change = torch.zeros_like(call.latents[:, :1]).to(fused)
        change[part] = fused
        return call.change(latents=call.latents + change.to(call.latents))

    similar = _Similarity(adapter, there, row) if sca and adapter is not None else None
    with ExitStack() as held:
        held.enter_context(rectified(model.seams, layouts.labels, tokens, row))
        if similar is not None:
            held.enter_context(
                model.seams.attention(qkv=similar.see, output=similar.add, where=is_cross, name="self-similarity attention")
            )
        if gsf:
            held.enter_context(model.seams.denoiser(before=fuse, name="global semantic fusion"))
        yield


class _Similarity:
    """Sees the queries and values of a cross-attention, and adds to its output what their self-similarity attends to."""

    def __init__(self, adapter: CoherenceAdapter, there: Tensor, row: str) -> None:
        self.modules: dict[str, Any] = dict(zip(adapter.paths, adapter.similarity, strict=True))
        self.there, self.row = there, row
        self.seen: tuple[Tensor, Tensor] | None = None

    def see(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> None:
        self.seen = (q, v)

    def add(self, site: Site, output: Tensor) -> Tensor:
        assert self.seen is not None
        (q, v), part, module = self.seen, site.row(self.row), self.modules[site.path]
        self.seen = None
        more = module(q[part], v[part], grid_of(site)) * module.gate.tanh() * self.there[:, None, None, None]
        changed = output[part] + more.to(output)
        return changed if len(changed) == len(output) else torch.cat([output[: part.start], changed, output[part.stop :]])


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training on layouts ships: ``weights`` of the UNet that it changed, by name, and the ``adapter``, if it has one;
    ``about`` says how it was made."""

    weights: dict[str, Tensor]
    adapter: CoherenceAdapter | None
    about: dict[str, Any]

    @contextmanager
    def on(self, model: Model, layouts: Layouts, caption: Tensor | None = None, **parts: Any) -> Iterator[None]:
        """The model with the trained weights and the layouts, inside; see :func:`laid_out`."""
        with swapped(model.denoiser, self.weights), laid_out(model, layouts, self.adapter, caption, **parts):
            yield


def save_coherence(
    folder: Path, model: Model, weights: Mapping[str, Tensor], adapter: CoherenceAdapter | None, about: Mapping[str, Any]
) -> Path:
    """Write float16 safetensors and a record of them to ``folder``, in one move. ``model`` is the untouched base."""
    from safetensors.torch import save_file

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    own = {} if adapter is None else adapter.state_dict()
    kept = {f"unet.{name}": w for name, w in weights.items()} | {f"adapter.{name}": w for name, w in own.items()}
    save_file({name: w.detach().half().contiguous().cpu() for name, w in kept.items()}, partial / WEIGHTS)
    parts = {
        "gsf": adapter is not None and adapter.fusion is not None,
        "sca": adapter is not None and len(adapter.similarity) > 0,
        "window": 5 if adapter is None else adapter.window,
    }
    record = {**about, **parts, "base": model.name, "fingerprint": fingerprint(model.denoiser)}
    (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def load_coherence(folder: str | Path, model: Model, any_base: bool = False) -> Trained:
    """What lies in ``folder``, float32, not trainable; BadInput for another base (``any_base`` lifts that) or for something else."""
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        about = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        weights = {name: w.float().to(model.device) for name, w in load_file(folder / WEIGHTS).items()}
        gsf, sca, window, base, recorded = (about[key] for key in ("gsf", "sca", "window", "base", "fingerprint"))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder} holds nothing trained on layouts: it needs {WEIGHTS} and {RECORD} ({error})") from error
    check_base(model.denoiser, recorded, f"what lies in {folder}", base, any_base)
    adapter = CoherenceAdapter(model, gsf, sca, window).to(model.device) if gsf or sca else None
    if adapter is not None:
        try:
            adapter.load_state_dict(
                {name.removeprefix("adapter."): w for name, w in weights.items() if name.startswith("adapter.")}
            )
        except RuntimeError as error:
            raise BadInput(f"the adapter in {folder} does not fit {model.name}: {str(error).splitlines()[-1].strip()}") from error
        adapter.eval().requires_grad_(False)
    return Trained({n.removeprefix("unet."): w for n, w in weights.items() if n.startswith("unet.")}, adapter, about)
