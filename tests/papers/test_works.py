"""One paper under several ids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from diffolio.papers.importing import read_issue
from diffolio.papers.record import Author, Record
from diffolio.papers.store import Library
from diffolio.papers.works import Proposal, find_works, propose
from tests.papers.seeds import seed

TEXT = (
    "Small boats are hard to steer in strong wind. We present a controller that predicts the next wave from one camera and "
    "turns the rudder before it arrives. It needs no map, runs on a phone and reduces the steering error by two fifths compared "
    "to a classical baseline, in tests with twelve boats on three lakes."
)
OTHER = (
    "Bread rises at different speeds in different kitchens. We ask whether a network can tell from the sound of the dough when "
    "it is ready to be baked, and find that it can in three of four kitchens, with a memory footprint below that of a picture. "
    "The recordings and the labels are released together with the training program."
)
ONE = Record("2401.00001", "api", "Steering Small Boats", TEXT, (Author("Ada Example"), Author("Bo Sample")))


def other(**changes: object) -> Record:
    return replace(ONE, id="2402.00002", **changes)  # type: ignore[arg-type]


def said(two: Record, one: Record = ONE) -> str:
    found = propose([one, two])
    return "nothing" if not found else "merge" if found[0].merged else f"propose {found[0].kind}"


def test_equal_title_abstract_and_authors_are_one_work() -> None:
    (work,) = propose([ONE, other()])
    assert work == Proposal(("2401.00001", "2402.00002"), "same", 0.99, "same title, abstract and authors", merged=True)


def test_case_spaces_tex_accents_and_joined_words_do_not_matter() -> None:
    two = other(
        title="STEERING   small \\emph{Boats}",
        abstract=TEXT.replace("We present", "Wepresent").replace("needs", "n\u00e9\u00e9ds"),
    )
    assert said(two) == "merge"


def test_unknown_authors_merge_with_less_confidence() -> None:
    (work,) = propose([ONE, other(authors=None)])
    assert work.merged and work.confidence == 0.9


def test_a_shared_author_is_enough_as_digests_cut_lists() -> None:
    assert said(other(authors=(Author("Ada Example"),))) == "merge"


def test_other_authors_are_never_merged() -> None:
    assert said(other(authors=(Author("Cem Different"),))) == "propose same"


def test_near_ones_are_proposed() -> None:
    assert said(other(title="A Wholly New Heading")) == "propose abstract"
    assert said(other(abstract=TEXT[:-60] + " now with four lakes.")) == "propose title"
    assert said(other(abstract=None)) == "propose title"
    assert said(other(title="Steering Small Boats Well", abstract=TEXT.replace("two fifths", "a half"))) == "propose near"


def test_what_is_not_one_work() -> None:
    assert said(other(title="Hearing Bread", abstract=OTHER)) == "nothing"
    assert said(other(abstract=OTHER)) == "nothing"
    assert said(other(title="Hearing Bread", abstract=OTHER, authors=(Author("X Y"),))) == "nothing"
    assert said(other(title="Steering Small Boats Well", authors=(Author("X Y"),))) == "nothing"


def test_withdrawn_and_short_texts_prove_nothing() -> None:
    short = "This paper has been withdrawn by the author due to an error."
    assert said(other(abstract=short), replace(ONE, abstract=short)) == "nothing"
    long = TEXT + " This paper has been withdrawn."
    assert said(other(abstract=long), replace(ONE, abstract=long)) != "merge"
    assert said(other(title="Erratum", abstract="x"), replace(ONE, title="Erratum", abstract="x")) == "nothing"


def test_three_ids_are_one_work() -> None:
    (work,) = propose([ONE, other(), replace(ONE, id="2403.00003")])
    assert work.ids == ("2401.00001", "2402.00002", "2403.00003")


def test_among_looks_only_at_what_it_touches() -> None:
    rows = [
        ONE,
        other(),
        replace(ONE, id="2403.00003", title="Bread", abstract=OTHER),
        replace(ONE, id="2403.00004", title="Bread", abstract=OTHER),
    ]
    assert [p.ids for p in propose(rows, ["2403.00003"])] == [("2403.00003", "2403.00004")]


def test_a_crowd_under_one_heading_is_no_work() -> None:
    rows = [
        replace(ONE, id=f"2404.{n:05}", title="Reply to the comment", abstract=f"{n} {OTHER[:100]} {n}") for n in range(1, 200)
    ]
    assert propose(rows) == []


def test_a_library_keeps_and_forgets_works(tmp_path: Path) -> None:
    with Library.open(tmp_path / "library.sqlite") as library:
        library.add_records([ONE, other(), replace(ONE, id="2403.00003", title="Hearing Bread", abstract=OTHER)])
        (work,) = find_works(library, ["2402.00002"])
        assert (work.status, work.papers) == ("merged", ("2401.00001", "2402.00002"))
        assert find_works(library) == [work]  # looking again finds the same one
        library.set_work(work.id, "undone")
        assert [again.status for again in find_works(library)] == ["undone"]
        paper = library.paper("2401.00001")
        assert paper is not None and paper.works[0].status == "undone"


def test_both_ways_of_looking_find_the_same(tmp_path: Path) -> None:
    rows = [
        replace(ONE, id=f"2404.{n:05}", title=f"Boats and their number {n}", abstract=f"Lake {n}: {TEXT}") for n in range(1, 60)
    ]
    rows += [replace(row, id=row.id.replace("2404", "2405")) for row in rows[::7]]
    found = []
    for ids in (None, [row.id for row in rows]):
        with Library.open(tmp_path / f"{ids is None}.sqlite") as library:
            library.add_records(rows)
            found.append({work.papers for work in find_works(library, ids) if work.status == "merged"})
    assert found[0] == found[1] and len(found[0]) == 9


def test_the_seeds_hold_125_works() -> None:
    entries = [entry for name in ("000", "001", "002", "003", "004") for entry in read_issue(seed(name)).entries]
    rows = [Record(e.id, "digest", e.title, e.abstract, tuple(map(Author, e.authors or ())) or None) for e in entries]
    merged = [work for work in propose(rows) if work.merged]
    assert len(rows) == 126 and [work.ids for work in merged] == [("2502.04363", "2503.23796")]
