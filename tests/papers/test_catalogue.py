from diffolio import registry
from diffolio.papers.catalogue import by_id, catalogue


def test_all_papers_are_there_once():
    papers = catalogue()
    assert len(papers) == 125
    assert len({paper.name for paper in papers}) == 125
    assert len(by_id()) == 126, "one work was listed under two ids"
    assert all(paper.title and paper.family for paper in papers)


def test_every_method_is_a_paper_of_the_catalogue_in_its_family():
    for card in registry.cards().values():
        paper = by_id()[card.paper]
        assert (paper.name, paper.family) == (card.name, card.family)
