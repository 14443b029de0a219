"""What a method is: a frozen dataclass of knobs with a paper, a family and a kind.

Methods are found by their place, ``methods/<family>/<name>.py``; no list is edited to add one. What the command line and
the page show of a method (paper, knobs, ranges, docstring) is read from its source without importing it, so that listing
needs no torch; the module is imported when the method is used.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from diffolio.cards import EDITOR_TAKES, KINDS, Card, KnobCard, card, cards
from diffolio.errors import BadInput, BadKnob, Unsupported, unknown
from diffolio.knobs import Range, accepts, check, hints, knob, parse_value

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from diffolio.edits import Edit, Picture
    from diffolio.models import Model
    from diffolio.results import Job, Result

__all__ = ["Card", "Editor", "KnobCard", "Method", "Range", "Recipe", "Stack", "Technique", "Tool", "card", "cards", "get", "knob",
           "make", "method", "parse_value", "stack"]  # fmt: skip

EDITS = ("object", "add", "delete", "content", "pose", "colour", "material", "background", "style")
"""What an edit may change: the kinds of edit of PIE-Bench (Ju et al., 2023, arXiv:2310.01506), "random" left out."""


@dataclass(frozen=True)
class Method:
    """Base of the three kinds. Knobs are checked when a method is made."""

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    family: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    works_on: ClassVar[frozenset[str]] = frozenset()
    exclusive: ClassVar[frozenset[str]] = frozenset()
    edits: ClassVar[frozenset[str]] = frozenset()
    takes: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        types_of = hints(type(self))
        for knob_field in dataclasses.fields(self):
            value = getattr(self, knob_field.name)
            if isinstance(value, int) and not isinstance(value, bool) and accepts(1.0, types_of[knob_field.name]):
                object.__setattr__(self, knob_field.name, value := float(value))
            check(self.name or type(self).__name__, knob_field, value, types_of[knob_field.name])

    def knobs(self) -> dict[str, Any]:
        """The knobs and their values, for records."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def check(self, model: Model) -> None:
        """Refuse a model whose architecture this method does not work on. An empty ``works_on`` means any."""
        if self.works_on and not self.works_on & set(model.kinds):
            raise Unsupported(
                f"{self.name} works on {', '.join(sorted(self.works_on))}; "
                f"{model.name} is a {type(model.pipeline).__name__} ({', '.join(sorted(model.kinds))})"
            )


class Technique(Method):
    """A method without training: changes how a running model samples, inside ``with technique.on(model):``."""

    def on(self, model: Model) -> AbstractContextManager[Model]:
        """Put the technique on a model; on exit the model is as before, bit for bit."""
        raise NotImplementedError

    def neutral(self) -> Technique:
        """The same technique with knobs at which the output equals the plain model's."""
        raise NotImplementedError

    def run(self, job: Job) -> Result:
        """Sample with and without, from the same seeds."""
        from diffolio.results import compare

        return compare(self, job)


class Tool(Method):
    """A method that takes data and gives a result."""

    def run(self, job: Job) -> Result:
        """What ``diffolio run NAME`` does: baseline beside method where there is one."""
        raise NotImplementedError


class Editor(Tool):
    """A tool that changes pictures: ``edit = SPDInv(...); edit(model, image, source, target) -> Edit``, the same for every one.

    A subclass writes ``change``. What stands around it is shared and found in ``diffolio.edits``: checks, fitting of photographs,
    costs, scores, and ``diffolio run``.
    """

    def __call__(
        self, model: Model, image: Picture, source: str | Sequence[str] = "", target: str | Sequence[str] = "",
        mask: Tensor | None = None, *, seed: int = 0, **inputs: Any,
    ) -> Edit:  # fmt: skip
        """Edit pictures (B, 3, H, W) or (3, H, W) in [0, 1], or one photograph: a path or a pillow picture of any size.

        ``source`` says what the pictures show, ``target`` what they should: one for all, or one each. ``mask``, bool (B, H, W) or
        (H, W): where the edit may act. BadInput says what does not fit.
        """
        from diffolio.edits import perform

        return perform(self, model, image, source, target, mask, seed, inputs)

    def change(
        self, model: Model, images: Tensor, sources: list[str], targets: list[str], mask: Tensor | None = None, *, seed: int = 0,
        **inputs: Any,
    ) -> Edit:  # fmt: skip
        """The edit itself, of checked pictures (B, 3, H, W) with a prompt each; sample i draws from ``seed + i``."""
        raise NotImplementedError

    @property
    def required(self) -> frozenset[str]:
        """Those of ``needs`` that an edit with these knobs cannot do without."""
        return self.needs

    def examine(self, model: Model, edit: Edit) -> None:
        """Add to an edit what is no part of it and not counted as its cost: a reconstruction, residuals."""

    def baseline(self) -> Editor | None:
        """What ``diffolio run`` shows beside this editor."""
        return None

    def run(self, job: Job) -> Result:
        """Edit the job's picture, or drawn ones, beside the baseline."""
        from diffolio.edits import run

        return run(self, job)


class Recipe(Method):
    """A method that trains: an objective, what is trainable, and how the outcome is sampled."""

    def fit(self, model: Model, data: Any, budget: Any, **options: Any) -> Any:
        raise NotImplementedError

    def read(self, folder: Path, model: Model) -> Any:
        """What ``fit`` takes as data, from a user's folder: pictures with their captions, unless the recipe says otherwise."""
        from diffolio.training.data import captioned_folder

        return captioned_folder(folder)

    def run(self, job: Job) -> Result:
        """Sample from the bundled outcome of the recipe, beside its baseline."""
        raise NotImplementedError


M = TypeVar("M", bound=Method)


def method(
    *,
    paper: str,
    family: str,
    works_on: set[str] | frozenset[str] = frozenset(),
    exclusive: set[str] | frozenset[str] = frozenset(),
    edits: set[str] | frozenset[str] = frozenset(),
    takes: set[str] | frozenset[str] = frozenset(),
    needs: set[str] | frozenset[str] = frozenset(),
):  # type: ignore[no-untyped-def]
    """Register a class as the runnable form of a paper.

    ``works_on`` names the kinds of model it attaches to (see ``Model.kinds``; empty: any), ``exclusive`` the places in a
    model that no other technique may hold at the same time. ``takes`` names what it reads of a job beside prompts: "image",
    "mask", named inputs, and "alpha" if it keeps a photograph's (an ``Editor`` takes "image", "mask" and "target" anyway); ``needs``
    those of them without which it refuses. ``edits`` of ``EDITS`` are the changes that the edit benchmark asks of it.
    """
    if not set(edits) <= set(EDITS):
        raise BadInput(f"edits {sorted(edits)}: give some of {', '.join(EDITS)}")

    def register(cls: type[M]) -> type[M]:
        cls.name = cls.__module__.rsplit(".", 1)[-1]
        cls.paper, cls.family = paper, family
        cls.works_on, cls.exclusive = frozenset(works_on), frozenset(exclusive)
        cls.edits, cls.needs = frozenset(edits), frozenset(needs)
        cls.takes = frozenset(takes) | cls.needs | (EDITOR_TAKES if issubclass(cls, Editor) else frozenset())
        cls.kind = next(kind for base, kind in KINDS.items() if issubclass(cls, globals()[base]))
        if issubclass(cls, Technique):
            cls.on = _guarded(cls.on)  # type: ignore[method-assign]
        return cls

    return register


def _guarded(on: Any) -> Any:
    """``on`` with the checks that every technique shares: the architecture fits, and its places are free."""

    @functools.wraps(on)
    @contextmanager
    def guarded(self: Technique, model: Model) -> Iterator[Model]:
        self.check(model)
        with ExitStack() as held:
            for place in sorted(self.exclusive):
                held.enter_context(model.seams.claim(place, self.name))
            yield held.enter_context(on(self, model))

    return guarded


class Stack(Technique):
    """Several techniques as one, entered in the order given."""

    name = "stack"

    def __init__(self, *techniques: Technique) -> None:
        if not techniques:
            raise BadInput("an empty stack: give at least one technique")
        for technique in techniques:
            if not isinstance(technique, Technique):
                kind = getattr(technique, "kind", type(technique).__name__)
                raise BadInput(f"{getattr(technique, 'name', technique)} is a {kind}: only techniques stack")
        object.__setattr__(self, "techniques", techniques)

    techniques: tuple[Technique, ...]

    def knobs(self) -> dict[str, Any]:
        return {technique.name: technique.knobs() for technique in self.techniques}

    def neutral(self) -> Stack:
        return Stack(*(technique.neutral() for technique in self.techniques))

    @contextmanager
    def on(self, model: Model) -> Iterator[Model]:
        with ExitStack() as held:
            for technique in self.techniques:
                held.enter_context(technique.on(model))
            yield model


def stack(*techniques: Technique) -> Stack:
    """``with stack(FouriScale(), ImportanceToMe()).on(model):``"""
    return Stack(*techniques)


def get(name: str) -> type[Method]:
    """The class of a method (imports its module)."""
    found = card(name)
    module = importlib.import_module(f"diffolio.methods.{found.family}.{found.name}")
    return getattr(module, found.class_name)  # type: ignore[no-any-return]


def make(name: str, knobs: dict[str, str] | None = None) -> Method:
    """A method with knobs given as text, as on the command line."""
    found, values = card(name), {}
    types_of = hints(get(name))
    for key, text in (knobs or {}).items():
        if key not in types_of or key not in {k.name for k in found.knobs}:
            raise BadKnob(str(unknown(f"knob of {found.name}", key, [k.name for k in found.knobs])))
        values[key] = parse_value(found.name, key, text, types_of[key])
    return get(name)(**values)
