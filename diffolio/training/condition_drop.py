"""Which of several conditions a training sample sees, so that any subset of them can be given afterwards.

A model that always sees all of its conditions fails when one is missing. So each sample of a batch sees all of them, none, or
each by its own coin (Composer: Huang et al., 2023, arXiv:2302.09778; Uni-ControlNet: Zhao et al., 2023, arXiv:2305.16322):

    u < keep_all: all;   u < keep_all + drop_all: none;   else condition i is dropped with probability p_i,   u ~ U(0, 1)

InstructPix2Pix (Brooks et al., 2023, arXiv:2211.09800), which drops the text, the picture or both with 5% each, is the other
case here: :class:`JointDrop`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput, BadKnob, unknown

Keep = dict[str, Tensor]


@dataclass(frozen=True)
class DropSchedule:
    """Independent drops. ``drop`` is the probability by name; the shares of samples that keep or lose everything come first."""

    drop: Mapping[str, float]
    keep_all: float = 0.1
    drop_all: float = 0.1

    def __post_init__(self) -> None:
        _check_probabilities({**self.drop, "keep_all": self.keep_all, "drop_all": self.drop_all})
        if self.keep_all + self.drop_all > 1:
            raise BadKnob(
                f"keep_all {self.keep_all} and drop_all {self.drop_all}: they are shares of one whole, at most 1 together"
            )

    def draw(self, batch: int, generator: torch.Generator) -> Keep:
        """For each condition which samples keep it: bool (batch,) by name, on the CPU."""
        fate = torch.rand(batch, generator=generator)
        everything, nothing = fate < self.keep_all, (fate >= self.keep_all) & (fate < self.keep_all + self.drop_all)
        coins = {name: torch.rand(batch, generator=generator) >= p for name, p in self.drop.items()}
        return {name: (kept | everything) & ~nothing for name, kept in coins.items()}

    def share_kept(self, name: str) -> float:
        """How often the condition ``name`` is seen."""
        if name not in self.drop:
            raise unknown("condition", name, self.drop)
        return self.keep_all + (1 - self.keep_all - self.drop_all) * (1 - self.drop[name])


@dataclass(frozen=True)
class JointDrop:
    """Exclusive drops: a sample loses exactly one of the named groups of conditions, or none.

    ``groups`` are (probability, names): InstructPix2Pix is ``((0.05, ("image",)), (0.05, ("text",)), (0.05, ("image", "text")))``.
    """

    groups: Sequence[tuple[float, tuple[str, ...]]]

    def __post_init__(self) -> None:
        _check_probabilities({"+".join(names): p for p, names in self.groups})
        if (total := sum(p for p, _ in self.groups)) > 1 + 1e-9:
            raise BadKnob(f"the groups' probabilities sum to {total:g}: at most one group is lost, so give at most 1")

    def draw(self, batch: int, generator: torch.Generator) -> Keep:
        """For each condition which samples keep it: bool (batch,) by name, on the CPU."""
        fate = torch.rand(batch, generator=generator)
        keep = {name: torch.ones(batch, dtype=torch.bool) for _, names in self.groups for name in names}
        low = 0.0
        for probability, names in self.groups:
            lost = (fate >= low) & (fate < low + probability)
            for name in names:
                keep[name] &= ~lost
            low += probability
        return keep


def kept(values: Mapping[str, Tensor], keep: Mapping[str, Tensor], absent: float = 0.0) -> dict[str, Tensor]:
    """Values (B, ...) by name with the samples that do not keep them set to ``absent``; a name that ``keep`` lacks is kept."""
    return {name: keep_samples(value, keep[name], absent) if name in keep else value for name, value in values.items()}


def keep_samples(value: Tensor, keep: Tensor, absent: float | Tensor = 0.0) -> Tensor:
    """``value`` (B, ...) where ``keep`` (B,) is true, ``absent`` (a number, or a tensor that broadcasts) elsewhere."""
    if keep.shape != value.shape[:1]:
        raise BadInput(f"keep of shape {tuple(keep.shape)} for {len(value)} samples: give one truth value for each")
    chosen = keep.to(value.device).reshape(-1, *[1] * (value.dim() - 1))
    return torch.where(chosen, value, torch.as_tensor(absent, dtype=value.dtype, device=value.device))


def _check_probabilities(probabilities: Mapping[str, float]) -> None:
    for name, p in probabilities.items():
        if not 0 <= p <= 1:
            raise BadKnob(f"probability {p} for {name}: give a number from 0 to 1")
