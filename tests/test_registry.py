"""Methods: knobs, cards read from source, techniques that stack and conflict."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from diffolio import registry
from diffolio.errors import BadInput, BadKnob, Conflict, UnknownName, Unsupported
from diffolio.registry import Technique, knob, method, stack


@method(paper="0000.00001", family="acceleration", works_on={"unet"}, exclusive={"guidance"})
@dataclass(frozen=True)
class Example(Technique):
    """An example."""

    strength: float = knob(0.5, between=(0.0, 1.0), means="how much")
    rounds: int = knob(3, at_least=1, means="how often")
    mode: str = knob("soft", choices=("soft", "hard"), means="how")
    size: int | None = knob(None, at_least=8, means="how large, or the model's own")

    def neutral(self):
        return Example(strength=0.0)

    @contextmanager
    def on(self, model):
        model.entered.append(self.strength)
        try:
            yield model
        finally:
            model.entered.pop()


class Places:
    def __init__(self):
        self.held = {}

    @contextmanager
    def claim(self, place, by):
        if place in self.held:
            raise Conflict(f"{by} and {self.held[place]} both need {place}")
        self.held[place] = by
        try:
            yield
        finally:
            del self.held[place]


class FakeModel:
    name, pipeline, kinds = "fake", object(), frozenset({"unet", "sd"})

    def __init__(self):
        self.entered, self.seams = [], Places()


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"strength": 1.5}, "at least 0 and at most 1"),
        ({"strength": float("nan")}, "not a finite number"),
        ({"strength": "much"}, "give float"),
        ({"strength": True}, "type bool"),
        ({"rounds": 0}, "at least 1"),
        ({"rounds": 2.5}, "give int"),
        ({"mode": "medium"}, "one of soft, hard"),
        ({"size": 4}, "at least 8"),
    ],
)
def test_bad_knobs_are_refused_with_their_range(knobs, words):
    with pytest.raises(BadKnob, match=words):
        Example(**knobs)


def test_whole_numbers_serve_as_floats():
    made = Example(strength=1)
    assert made.strength == 1.0
    assert isinstance(made.strength, float)
    assert made.knobs() == {"strength": 1.0, "rounds": 3, "mode": "soft", "size": None}


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("0.25", float, 0.25), ("4", int, 4), ("yes", bool, True), ("none", int | None, None), ("7", int | None, 7),
        ("a, b", tuple[str, ...], ("a", "b")), ("1,2", tuple[int, ...], (1, 2)), ("word", str, "word"),
    ],
)  # fmt: skip
def test_values_from_the_command_line(text, hint, value):
    assert registry.parse_value("x", "y", text, hint) == value


def test_values_that_cannot_be_read():
    with pytest.raises(BadKnob, match="cannot be read as int"):
        registry.parse_value("x", "y", "four", int)


def test_exclusive_places_conflict_and_are_given_back():
    model = FakeModel()
    with pytest.raises(Conflict, match="guidance"), stack(Example(), Example(strength=0.1)).on(model):
        pass
    assert model.entered == []
    assert model.seams.held == {}
    with Example(strength=0.2).on(model) as same:
        assert same is model
        assert model.entered == [0.2]
    assert model.seams.held == {}


def test_places_are_given_back_after_an_exception():
    model = FakeModel()
    with pytest.raises(ZeroDivisionError), Example().on(model):
        1 / 0  # noqa: B018
    assert model.entered == []
    assert model.seams.held == {}


def test_an_architecture_that_does_not_fit_is_named():
    model = FakeModel()
    model.kinds = frozenset({"transformer", "sd3"})
    with pytest.raises(Unsupported, match="works on unet"), Example().on(model):
        pass


def test_only_techniques_stack():
    with pytest.raises(BadInput, match="only techniques"):
        stack("not a technique")
    with pytest.raises(BadInput, match="at least one"):
        stack()


def test_unknown_names_come_with_the_nearest():
    assert registry.cards(), "no method was found"
    known = next(iter(registry.cards()))
    with pytest.raises(UnknownName, match=known):
        registry.card(known + "x")
    with pytest.raises(BadKnob, match="unknown knob"):
        registry.make(known, {"no_such_knob": "1"})


def test_cards_tell_what_the_classes_hold():
    for name, card in registry.cards().items():
        cls = registry.get(name)
        made = cls()
        assert (cls.name, cls.family, cls.kind, cls.paper) == (name, card.family, card.kind, card.paper)
        assert set(made.knobs()) == {k.name for k in card.knobs}, "every field is a knob"
        for k in card.knobs:
            assert getattr(made, k.name) == k.default
            assert k.range.means, f"{name}.{k.name} does not say what it means"
        assert card.idea
        assert card.summary
        assert card.works_on == tuple(sorted(cls.works_on))
