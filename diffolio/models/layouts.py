"""A layout as a condition: a label map, what its classes are in words, and a caption; and which token belongs to which region."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.text import DiffolioWarning

if TYPE_CHECKING:
    from diffolio.models.model import Model

UNLABELLED = 255
EVERYWHERE = -1


@dataclass(frozen=True, eq=False)
class Layout:
    """``labels``: class ids (H, W), integers in 0 .. 255, as large as the picture is to be; 255 is no class and needs no word.

    ``words``: what each class of the map is; those of classes that the map lacks are not read. ``caption``: how the things stand to each
    other; without one the classes' words are all that is said.
    """

    labels: Tensor
    words: Mapping[int, str]
    caption: str = ""

    def __post_init__(self) -> None:
        labels = self.labels
        if not isinstance(labels, Tensor) or labels.dim() != 2 or labels.is_floating_point() or labels.dtype == torch.bool:
            given = f"{tuple(labels.shape)} {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
            raise BadInput(f"a label map of {given}: give class ids (H, W), integers from 0 to 255")
        low, high = (int(value) for value in torch.aminmax(labels))
        if low < 0 or high > 255:
            raise BadInput(f"class ids from {low} to {high}: a label map has 8 bits, give ids from 0 to 255")
        missing = [c for c in self.classes if not self.words.get(c, "").strip()]
        if missing:
            raise BadInput(f"classes {missing} of the label map have no word: give words={{{missing[0]}: '...'}}")

    @property
    def classes(self) -> list[int]:
        """Those that are in the map, ascending."""
        return [c for c in torch.unique(self.labels).tolist() if c != UNLABELLED]

    @property
    def class_words(self) -> str:
        return " ".join(self.words[c].strip() for c in self.classes)

    @property
    def text(self) -> str:
        """The words of the classes in ascending order, then the caption."""
        return f"{self.class_words} {self.caption}".strip()

    def regions(self) -> list[tuple[int, int, int]]:
        """Of each class its id and where its words begin and end in ``text``."""
        found, at = [], 0
        for c in self.classes:
            end = at + len(self.words[c].strip())
            found.append((c, at, end))
            at = end + 1
        return found


@dataclass(frozen=True, eq=False)
class Layouts:
    """What a network reads of several layouts: ``labels`` (B, 1, H, W) in [0, 1] (ids / 255), and ``tokens`` (B, L), the class whose
    region each text token belongs to, -1 for tokens of none. ``texts`` and ``captions`` are what is to be encoded."""

    labels: Tensor
    tokens: Tensor
    texts: list[str]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def index(self, chosen: Sequence[int]) -> Layouts:
        pick = torch.as_tensor(chosen, device=self.labels.device)
        return Layouts(self.labels[pick], self.tokens[pick], [self.texts[i] for i in chosen], [self.captions[i] for i in chosen])


def read_layouts(model: Model, layouts: Sequence[Layout]) -> Layouts:
    """The layouts as ``model`` reads them. BadInput for maps of different sizes, of a size that its network cannot halve, or for
    words that its text encoder does not read to their end; a DiffolioWarning for an empty caption."""
    if not layouts:
        raise BadInput("no layout was given")
    sizes = {tuple(layout.labels.shape) for layout in layouts}
    unit = model.factor * 2 ** (len(getattr(model.denoiser.config, "block_out_channels", (1,))) - 1)
    if len(sizes) > 1:
        raise BadInput(f"label maps of {len(sizes)} different sizes: give maps of one size at once")
    (size,) = sizes
    if any(side % unit for side in size):
        raise BadInput(f"a label map of {size[1]}x{size[0]} pixels: {model.name} needs multiples of {unit}, its deepest cell")
    empty = [i for i, layout in enumerate(layouts) if not layout.caption.strip()]
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(layouts)} layouts have no caption: the words of their classes are all that is said",
            DiffolioWarning,
            stacklevel=3,
        )
    labels = torch.stack([layout.labels for layout in layouts])[:, None].float() / 255
    tokens = torch.stack([token_classes(model, layout) for layout in layouts])
    captions = [layout.caption.strip() or layout.class_words for layout in layouts]
    return Layouts(labels.to(model.device), tokens.to(model.device), [layout.text for layout in layouts], captions)


def token_classes(model: Model, layout: Layout) -> Tensor:
    """The class (L,) of every place of the text sequence: that of the words it stands in, however many tokens these have."""
    reader = model._architecture.readers(model.pipeline)[0]
    classes = torch.full((reader.limit,), EVERYWHERE)
    offsets = reader.offsets(layout.text)
    for c, start, stop in layout.regions():
        places = [i for i, (begin, end) in enumerate(offsets) if begin < stop and end > start and end > begin]
        if places[-1] >= reader.limit - 1:
            raise BadInput(
                f"the words of the label map's classes take more than the {reader.limit} tokens that the {reader.name} reads "
                f"(from {layout.words[c]!r} on they are cut off): give shorter words or fewer classes"
            )
        classes[places] = c
    return classes
