"""Directions in a text encoder's space, added to the tokens of one subject of a prompt.

A delta has one vector per text encoder; a token's embedding is those of all encoders side by side (CLIP-L and CLIP-G of SDXL). Start and
end marks, padding, the null prompt and pooled embeddings are never touched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, UnknownName, Unsupported, nearest
from diffolio.models.condition import Condition

if TYPE_CHECKING:
    from diffolio.models.model import Model

PUBLISHED = {"tokenwise_delta.oai_clip_vit_l": "text_encoder", "tokenwise_delta.openclip_g": "text_encoder_2"}
"""The names in the authors' files."""


@dataclass(frozen=True, eq=False)
class Delta:
    """``vectors``: text encoder's name in the pipeline -> (width,); ``about``: how it was made."""

    vectors: dict[str, Tensor]
    about: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For records."""
        return {"norms": {name: float(v.norm()) for name, v in self.vectors.items()}, **self.about}

    def joined(self, model: Model) -> Tensor:
        """(D,) as the model's text sequence has it. BadInput if it was learned for encoders of other names or widths."""
        wanted, given = widths(model), {name: len(v) for name, v in self.vectors.items()}
        if any(given.get(name) != width for name, width in wanted.items()):
            raise BadInput(f"a delta for text encoders {given}, but {model.name} has {wanted}: learn one for this model")
        return torch.cat([self.vectors[name] for name in wanted]).to(model.device)

    def save(self, path: str | Path) -> Path:
        """Write float32 safetensors, whole or not at all."""
        from safetensors.torch import save_file

        path, vectors = Path(path), {name: v.detach().float().cpu().contiguous() for name, v in self.vectors.items()}
        fresh = path.with_name(f".{path.name}.part")
        try:
            save_file(vectors, fresh, metadata={"about": json.dumps(self.about)})
            fresh.replace(path)
        except (OSError, RuntimeError) as error:
            raise BadInput(f"cannot write {path} ({error}): name a folder that can be written") from error
        finally:
            fresh.unlink(missing_ok=True)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Delta:
        """A file that ``save`` wrote, or one that the authors published (.pt). BadInput for anything else."""
        from safetensors import safe_open

        try:
            if Path(path).suffix == ".pt":
                published = torch.load(path, map_location="cpu", weights_only=True)["delta"]
                return cls({PUBLISHED[name]: v.float() for name, v in published.items()}, {"published": Path(path).stem})
            with safe_open(str(path), "pt") as file:
                about = json.loads((file.metadata() or {}).get("about", "{}"))
                return cls({name: file.get_tensor(name) for name in file.keys()}, about)  # noqa: SIM118
        except Exception as error:  # every way in which a file can be something else
            raise BadInput(f"{path} cannot be read as a delta ({error}): give one that learn or naive saved") from error


def widths(model: Model) -> dict[str, int]:
    """The text encoders whose outputs stand side by side in a token's embedding, and their widths."""
    if "sd3" in model.kinds or not model._architecture.readers(model.pipeline):
        raise Unsupported(f"{model.name} has no text sequence whose tokens are embeddings side by side, as SD's and SDXL's have")
    names = [name for name in ("text_encoder", "text_encoder_2") if getattr(model.pipeline, name, None) is not None]
    configs = {name: getattr(model.pipeline, name).config for name in names}
    return {name: int(getattr(c, "hidden_size", None) or c.d_model) for name, c in configs.items()}


def subject_tokens(model: Model, prompt: str, subject: str) -> list[list[int]]:
    """For every text encoder, the positions of the tokens of ``subject``, a word or phrase of the prompt; "word#2" is its second.

    UnknownName if the prompt does not hold it, BadInput if it does so twice and no number is given, if a token also holds
    letters of another word, or if the encoder cuts it off.
    """
    word, _, number = subject.partition("#")
    if not word.strip() or (number and not number.isdigit()):
        raise BadInput(f"subject {subject!r}: give a word or phrase of the prompt, or word#2 for its second place")
    found = []
    for reader in model._architecture.readers(model.pipeline):
        text = reader.text(prompt)
        pattern = r"\s+".join(re.escape(part) for part in word.split())
        spans = [match.span() for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", text, re.IGNORECASE)]
        if not spans:
            close = nearest(word.strip(), re.findall(r"\w+", text))
            raise UnknownName(
                f"{word!r} is not in the prompt {prompt!r}." + (f" Did you mean {' or '.join(close)}?" if close else "")
            )
        if (len(spans) > 1 and not number) or not 1 <= int(number or 1) <= len(spans):
            raise BadInput(f"{word!r} stands {len(spans)} times in {prompt!r}: say which with {word}#1 to {word}#{len(spans)}")
        begin, end = spans[int(number or 1) - 1]
        touched = [(i, b, e) for i, (b, e) in enumerate(reader.offsets(prompt)) if b < end and e > begin and e > b]
        if any((b < begin and text[b:begin].strip()) or (e > end and text[end:e].strip()) for _, b, e in touched):
            raise BadInput(
                f"{word!r} shares a token with its neighbour in {prompt!r}: take the whole word, or part it with a space"
            )
        if touched[-1][0] >= reader.limit - 1:
            raise BadInput(f"{word!r} stands behind what the {reader.name} reads of {prompt!r}: move it forward")
        found.append([i for i, _, _ in touched])
    return found


def subject_places(model: Model, prompts: Sequence[str], subjects: Sequence[str], like: Tensor) -> Tensor:
    """1 where a subject's token stands in the part of its text encoder, else 0: as ``like``, the text states (B, L, D)."""
    edges = [0, *torch.tensor(list(widths(model).values())).cumsum(0).tolist()]
    places = torch.zeros_like(like)
    for i, (prompt, subject) in enumerate(zip(prompts, subjects, strict=True)):
        for encoder, tokens in enumerate(subject_tokens(model, prompt, subject)):
            places[i, tokens, edges[encoder] : edges[encoder + 1]] = 1
    return places


def moved(model: Model, states: Tensor, prompts: Sequence[str], controls: Sequence[tuple[Tensor, str, float]]) -> Tensor:
    """Text states (B, L, D) of the prompts with alpha * delta (D,) added to each subject's tokens; several add up.

    A control is (delta, subject, alpha).
    """
    change = torch.zeros_like(states)
    for delta, subject, alpha in controls:
        change = change + alpha * delta.to(states) * subject_places(model, prompts, [subject] * len(prompts), states)
    return states + change


def controlled(model: Model, condition: Condition, controls: Sequence[tuple[Tensor, str, float]]) -> Condition:
    """A condition whose conditional row is ``moved``."""
    states = moved(model, condition["cond"]["encoder_hidden_states"], condition.prompts, controls)
    return condition.with_row("cond", encoder_hidden_states=states)
