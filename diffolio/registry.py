"""What a method is: a frozen dataclass of knobs with a paper, a family and a kind.

Methods are found by their place, ``methods/<family>/<name>.py``; no list is edited to add one. What the command line and
the page show of a method (paper, knobs, ranges, docstring) is read from its source without importing it, so that listing
needs no torch; the module is imported when the method is used.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from diffolio.errors import BadInput, BadKnob, Unsupported, unknown
from diffolio.knobs import Range, accepts, check, hints, knob, parse_value

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.results import Job, Result

__all__ = ["Card", "KnobCard", "Method", "Range", "Recipe", "Stack", "Technique", "Tool", "card", "cards", "get", "knob", "make",
           "method", "parse_value", "stack"]  # fmt: skip

METHODS = Path(__file__).parent / "methods"
KINDS = {"Technique": "technique", "Tool": "tool", "Recipe": "recipe"}


@dataclass(frozen=True)
class Method:
    """Base of the three kinds. Knobs are checked when a method is made."""

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    family: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    works_on: ClassVar[frozenset[str]] = frozenset()
    exclusive: ClassVar[frozenset[str]] = frozenset()

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


class Recipe(Method):
    """A method that trains: an objective, what is trainable, and how the outcome is sampled."""

    def fit(self, model: Model, data: Any, budget: Any, **options: Any) -> Any:
        raise NotImplementedError

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
):  # type: ignore[no-untyped-def]
    """Register a class as the runnable form of a paper.

    ``works_on`` names the kinds of model it attaches to (see ``Model.kinds``; empty: any), ``exclusive`` the places in a
    model that no other technique may hold at the same time.
    """

    def register(cls: type[M]) -> type[M]:
        cls.name = cls.__module__.rsplit(".", 1)[-1]
        cls.paper, cls.family = paper, family
        cls.works_on, cls.exclusive = frozenset(works_on), frozenset(exclusive)
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


# What is known without importing a method -------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnobCard:
    name: str
    type: str
    default: Any
    range: Range


@dataclass(frozen=True)
class Card:
    """A method as its source tells it."""

    name: str
    family: str
    kind: str
    paper: str
    works_on: tuple[str, ...]
    class_name: str
    idea: str  # the module's docstring
    summary: str  # the class's docstring
    knobs: tuple[KnobCard, ...]
    path: Path

    @property
    def headline(self) -> str:
        return self.idea.strip().splitlines()[0] if self.idea else ""


@functools.cache
def cards() -> dict[str, Card]:
    """Every method by name, sorted; read from source."""
    found = (_card(path) for path in sorted(METHODS.glob("*/*.py")) if path.stem != "__init__")
    return {card.name: card for card in sorted((c for c in found if c), key=lambda c: c.name)}


def card(name: str) -> Card:
    """The card of a method; names may be written with - or _."""
    key = name.replace("-", "_")
    if key not in cards():
        raise unknown("method", name, cards(), hint="`diffolio list` shows what there is.")
    return cards()[key]


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


def _card(path: Path) -> Card | None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        call = next((d for d in node.decorator_list if isinstance(d, ast.Call) and getattr(d.func, "id", "") == "method"), None)
        if call is None:
            continue
        given = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
        kind = next(KINDS[b.id] for b in node.bases if isinstance(b, ast.Name) and b.id in KINDS)
        knobs = tuple(_knob_card(item) for item in node.body if isinstance(item, ast.AnnAssign) and _is_knob(item))
        return Card(
            path.stem, given["family"], kind, given["paper"], tuple(sorted(given.get("works_on", ()))), node.name,
            ast.get_docstring(tree) or "", ast.get_docstring(node) or "", knobs, path,
        )  # fmt: skip
    return None


def _is_knob(item: ast.AnnAssign) -> bool:
    return isinstance(item.value, ast.Call) and getattr(item.value.func, "id", "") == "knob"


def _knob_card(item: ast.AnnAssign) -> KnobCard:
    assert isinstance(item.value, ast.Call) and isinstance(item.target, ast.Name)
    said = {k.arg: ast.literal_eval(k.value) for k in item.value.keywords if k.arg}
    made = knob(None, **said).metadata["range"]
    return KnobCard(item.target.id, ast.unparse(item.annotation), ast.literal_eval(item.value.args[0]), made)
