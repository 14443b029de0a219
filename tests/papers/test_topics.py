"""Topics: what is stored, what is refused, and how well the shipped one finds the labelled papers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diffolio.errors import BadInput, UnknownName
from diffolio.papers.identifiers import base_of
from diffolio.papers.record import Record
from diffolio.papers.search import matching
from diffolio.papers.topics import DIFFUSION, Topic, add_topic, quality, remove_topic, topic, topics
from tests.papers.corpus import library_at
from tests.papers.seeds import NAMES, seed_path

LABELS = json.loads((Path(__file__).parent / "topic_labels.json").read_text(encoding="utf-8"))


def found(library, query):
    return {base_of(key) for key in matching(library, query)}


@pytest.fixture
def library(tmp_path):
    with library_at(tmp_path, []) as library:
        yield library


def add(library, **titles):
    library.add_records([Record(id=f"2401.{int(n[1:]):05}", source="api", title=title) for n, title in titles.items()])


def numbers(ids):
    return {int(id[-5:]) for id in ids}


def test_the_shipped_topic_tells_the_two_kinds_of_diffusion_apart(library):
    add(
        library,
        p1="Latent diffusion models of birds",
        p2="Heat diffusion on a plate",
        p3="Anomalous diffusion of tracers",
        p4="Reaction-diffusion patterns",
        p5="Turbulent diffusion in pipes",
        p6="Thermal diffusion of ions",
        p7="Diffusion MRI of the brain",
        p8="Diffusion tensor imaging at 7 T",
        p9="Denoising diffusion for reaction-diffusion systems",
        p10="Flow matching for molecules",
        p11="Adapting text-to-image models to maps",
        p12="A benchmark for text-to-image models",
        p13="Fast samplers for diffusionmodels",
        p14="Graph colouring",
        p15="An opinion score based on surveys",
        p16="Score-based generative modelling",
    )
    assert numbers(found(library, DIFFUSION.query)) == {1, 9, 10, 11, 13, 16}


def test_own_topics_are_stored_listed_and_removed(library):
    assert topics(library) == [DIFFUSION]
    library.set_query("not a topic", "cats")
    birds = add_topic(library, " Birds of prey ", "owl OR hawk", "title:robot")
    assert birds == Topic("Birds of prey", "owl OR hawk", "title:robot") == topic(library, "Birds of prey")
    assert topics(library) == [birds, DIFFUSION]
    add(library, p1="Hawk flight", p2="A hawk robot", p3="Owl ears", p4="Sparrows")
    assert numbers(found(library, birds.query)) == {1, 3}
    add_topic(library, "Birds of prey", "sparrow")
    assert numbers(found(library, topic(library, "Birds of prey").query)) == {4}
    remove_topic(library, "Birds of prey")
    assert topics(library) == [DIFFUSION] and "not a topic" in library.queries()


def test_a_shipped_topic_can_be_replaced_and_comes_back(library):
    add_topic(library, "diffusion", "diffusion")
    assert topic(library, "diffusion") == Topic("diffusion", "diffusion")
    remove_topic(library, "diffusion")
    assert topic(library, "diffusion") == DIFFUSION
    with pytest.raises(BadInput, match="part of Diffolio"):
        remove_topic(library, "diffusion")


@pytest.mark.parametrize("name", ["", "  ", "a/b", "..\\x", "../../etc/passwd", ".hidden", "x" * 61, "line\nbreak", "nul\0"])
def test_names_that_could_do_harm_are_refused(library, name):
    with pytest.raises(BadInput, match="cannot be the name of a topic"):
        add_topic(library, name, "owl")
    assert topics(library) == [DIFFUSION]


def test_queries_that_cannot_be_used_are_refused(library):
    with pytest.raises(BadInput, match="includes nothing"):
        add_topic(library, "empty", "  ")
    with pytest.raises(BadInput, match="titel"):
        add_topic(library, "typo", "titel:owl")
    with pytest.raises(BadInput, match="autor"):
        add_topic(library, "typo", "owl", "autor:smith")
    for half in ('"open quote', "(owl OR hawk", "owl) OR (hawk OR (x)"):
        with pytest.raises(BadInput, match="open quote or parenthesis|OR has nothing before it"):
            add_topic(library, "open", "owl", half)
    assert topics(library) == [DIFFUSION]


def test_an_unknown_topic_names_the_nearest(library):
    with pytest.raises(UnknownName, match="Did you mean diffusion"):
        topic(library, "difusion")
    with pytest.raises(UnknownName):
        remove_topic(library, "birds")


def test_quality_counts():
    told = quality({"a", "b", "x", "unlabelled"}, {"a", "b", "c"}, {"x", "y"})
    assert (told.wrong, told.missed) == (("x",), ("c",))
    assert told.precision == pytest.approx(2 / 3) and told.recall == pytest.approx(2 / 3)
    assert quality(set(), {"a"}, set()).recall == 0 == quality(set(), {"a"}, set()).precision


def test_the_labels_are_whole():
    assert len(LABELS["yes"]) + len(LABELS["no"]) == 126 == len({*LABELS["yes"], *LABELS["no"]})
    assert set(LABELS["borderline"]) <= {*LABELS["yes"], *LABELS["no"]}


def test_the_shipped_topic_on_the_labelled_papers(library):
    importing = pytest.importorskip("diffolio.papers.importing")
    importing.import_files(library, [seed_path(name) for name in NAMES])
    assert set(LABELS["yes"]) | set(LABELS["no"]) == {record.id for record in library.records()}
    told = quality(found(library, DIFFUSION.query), LABELS["yes"], LABELS["no"])
    assert told.precision >= 0.95 and told.recall >= 0.98, told
