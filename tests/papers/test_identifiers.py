import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.errors import BadInput
from diffolio.papers.identifiers import ARCHIVES, base_of, key_of, month_key, parse_id


@pytest.mark.parametrize(
    ("text", "base", "version"),
    [
        ("2403.12963", "2403.12963", None),
        ("arXiv:2403.12963v2", "2403.12963", 2),
        ("arxiv: 2403.12963", "2403.12963", None),
        ("http://arxiv.org/abs/2403.12963v1", "2403.12963", 1),
        ("https://arxiv.org/pdf/2403.12963v3.pdf", "2403.12963", 3),
        ("https://www.arxiv.org/html/2403.12963", "2403.12963", None),
        ("https://doi.org/10.48550/arXiv.2403.12963", "2403.12963", None),
        ("10.48550/arXiv.2403.12963", "2403.12963", None),
        ("oai:arXiv.org:2403.12963v1", "2403.12963", 1),
        ("https://huggingface.co/papers/2403.12963", "2403.12963", None),
        ("https://www.alphaxiv.org/abs/2403.12963?tab=x", "2403.12963", None),
        ("0704.0001", "0704.0001", None),
        ("hep-th/9901001", "hep-th/9901001", None),
        ("math.CA/0611800v2", "math/0611800", 2),
        ("https://arxiv.org/abs/hep-th/9901001", "hep-th/9901001", None),
        ("cond-mat.mtrl-sci/0101001", "cond-mat/0101001", None),
    ],
)
def test_every_way_of_writing_an_id_is_read(text, base, version):
    assert (parse_id(text).base, parse_id(text).version) == (base, version)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2413.00001", "month 13"),
        ("2403.1296", "5 digits"),
        ("1412.00001", "4 digits"),
        ("2403.12963v0", "version"),
        ("2403.12963x", "version"),
        ("2403.129631", "5 digits"),
        ("9901.0001", "April 2007"),
        ("hep-xx/9901001", "archive"),
        ("hep-th/0801001", "March 2007"),
        ("hep-th/9913001", "month 13"),
        ("https://github.com/a/2403.12963", "neither"),
        ("", "neither"),
        ("diffusion", "neither"),
        ("2403.00000", "begin at 1"),
    ],
)
def test_a_bad_id_is_refused_with_the_reason(text, reason):
    with pytest.raises(BadInput, match=reason):
        parse_id(text)


months = st.tuples(st.integers(2007, 2090), st.integers(1, 12)).filter(lambda ym: ym >= (2007, 4))


@settings(derandomize=True, max_examples=300)
@given(months, st.integers(1, 9999))
def test_the_key_is_a_bijection_for_new_ids(month, serial):
    year, month = month
    digits = 4 if (year, month) < (2015, 1) else 5
    base = f"{year % 100:02}{month:02}.{serial:0{digits}}"
    assert base_of(key_of(base)) == base
    assert month_key(year, month) <= key_of(base) < month_key(year, month + 1)


@settings(derandomize=True, max_examples=300)
@given(st.sampled_from(ARCHIVES), st.integers(1991, 2007), st.integers(1, 12), st.integers(1, 999))
def test_the_key_is_a_bijection_for_old_ids(archive, year, month, serial):
    if (year, month) > (2007, 3):
        month = 1
    base = f"{archive}/{year % 100:02}{month:02}{serial:03}"
    assert base_of(key_of(base)) == base
    assert month_key(year, month) <= key_of(base) < month_key(year, month + 1)


def test_keys_follow_the_month_across_the_schemes():
    order = ["hep-th/9108001", "math/0703001", "0704.0001", "0912.1234", "1412.0001", "1501.00001", "2403.12963"]
    assert sorted(order, key=key_of) == order
