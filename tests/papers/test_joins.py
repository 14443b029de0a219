"""Words joined over deleted line ends."""

from __future__ import annotations

import random
import time

import pytest

from diffolio.papers.joins import FIRST, LONGEST, WIDTH, repair_joined
from diffolio.papers.tokens import Words, shipped, words_of
from tests.papers.seeds import seed

TEXTS = [
    "Small boats are hard to steer in strong wind, and most existing controllers ignore the waves around them. We present "
    "WaveHelm, a controller that predicts the next wave from a single camera and turns the rudder before it arrives. WaveHelm "
    "needs no map and runs at 30 frames per second on a phone. In tests with 12 boats it reduces the steering error by 41% "
    'compared to a classical baseline (p < 0.01), and sailors called it "calm". Code is available at '
    "https://example.org/wavehelm_code.",
    "Bread rises at different speeds in different kitchens. We study whether a small convolutional network can tell from the "
    "sound of the dough when it is ready to be baked. The proposed method, named CrumbNet, combines a spectrogram encoder with "
    "a state-of-the-art sequence model, i.e., a transformer with $O(n \\log n)$ attention, and is trained on 1,250 hours of "
    "recordings. Experiments demonstrate that CrumbNet outperforms human bakers in 3 of 4 kitchens, while its memory footprint "
    "remains below 20 MB. We also discuss the limitations of the approach and its energy consumption.",
    "Owls turn their heads further than any camera mount. Inspired by this observation, we design a 3D-printed gimbal whose "
    "range exceeds 270 degrees and whose weight stays under 80 grams. The gimbal's controller is learned from demonstrations "
    "and generalizes to unseen mounts. Extensive evaluation on two robots, a drone and a rover, shows faster target "
    "acquisition and smoother video than previous designs. The plans and the training data are publicly released for "
    "non-commercial use.",
]


def wrap(text: str) -> list[str]:
    """Lines as arXiv makes them."""
    lines = [""]
    for word in text.split():
        width = WIDTH if len(lines) > 1 else FIRST
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


@pytest.mark.parametrize("text", TEXTS)
def test_the_spaces_come_back(text: str) -> None:
    lines = wrap(text)
    joined = "".join(lines)
    found = repair_joined(joined)
    assert found.text == text
    assert "".join(found.text.split()) == "".join(joined.split())
    assert len(found.breaks) == len(lines) - 1 and 0 < found.confidence <= 1
    assert all(not joined[p - 1].isspace() and not joined[p].isspace() for p in found.breaks)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_that_was_not_joined_stays(text: str) -> None:
    assert repair_joined(text).text == text and repair_joined(text).breaks == ()
    for sentence in text.split(". "):
        assert repair_joined(sentence).text == sentence


def test_repairing_twice_changes_nothing_more() -> None:
    once = repair_joined("".join(wrap(TEXTS[0]))).text
    assert repair_joined(once).text == once


def test_an_indented_paragraph_ends_a_line_early() -> None:
    first, second = wrap(TEXTS[1]), wrap("xx" + TEXTS[2])  # the indent takes two columns
    second[0] = "  " + second[0].removeprefix("xx")
    assert repair_joined("".join(first + second)).text == f"{TEXTS[1]}  {TEXTS[2]}"


def test_an_address_is_not_broken_and_what_is_glued_to_it_comes_off() -> None:
    text = (
        TEXTS[0].removesuffix(".") + " and the data will be released to the public at https://example.org/data/boats.html soon."
    )
    assert repair_joined("".join(wrap(text))).text == text


def test_a_break_between_unknown_words_is_doubtful() -> None:
    lines = wrap(TEXTS[2])
    sure = repair_joined("".join(lines))
    left, right = lines[2].split()[-1], lines[3].split()[0]
    lines[2] = lines[2].removesuffix(left) + "xrtqzwvk"
    lines[3] = "zqvbnrtk" + lines[3].removeprefix(right)
    odd = repair_joined("".join(lines))
    assert odd.confidence < 0.5 and odd.confidence < sure.confidence
    assert len(odd.doubtful) == 1 and sure.doubtful == ()


@pytest.mark.parametrize(
    "text", ["", " ", "short text", "a" * 5_000, "a " * 5_000, "a" * 200, "$" * 2_000, "é" * 2_500, "\n" * 90]
)
def test_what_is_no_abstract_stays(text: str) -> None:
    assert repair_joined(text).text == text


def test_hard_texts_take_no_time() -> None:
    rng = random.Random(0)
    for alphabet in ("ab", "a ", "$\\{}( ", "https://.a ", "A1b2-"):
        text = "".join(rng.choice(alphabet) for _ in range(LONGEST))
        start = time.process_time()
        repair_joined(text)
        assert time.process_time() - start < 3.0


def test_own_counts_teach_own_words() -> None:
    words = ["plimber", "worgle", "tranfip", "sobbet", "krandle", "mif", "lunter", "gopple", "zandry", "fleem"]
    rng = random.Random(3)
    text = " ".join(rng.choice(words) for _ in range(80))
    counts = dict.fromkeys(words, 500)
    assert repair_joined("".join(wrap(text)), counts=counts).text == text


def test_words_are_counted_without_numbers_and_with_prefixes() -> None:
    assert words_of("A multi-view model, 3D and 42: GPT-4's") == ["a", "multi-", "view", "model", "3d", "and", "gpt-", "s"]


def test_the_shipped_counts() -> None:
    words = shipped()
    assert 15_000 <= len(words.counts) <= 25_000
    assert words.word("the") > words.word("diffusion") > words.word("qzxvw")
    assert isinstance(words, Words) and words.knows("Diffusion") and not words.knows("qzxvw")


def test_seed_001() -> None:
    lines = [line.strip() for line in seed("001").decode().split("\n") if line.startswith("  ") and len(line) > 400]
    assert len(lines) == 21
    found = [repair_joined(line) for line in lines]
    assert sum(len(text.breaks) for text in found) == 376
    words = " ".join(text.text for text in found)
    for right in (
        "restoration, most existing",
        "will be found at https://github.com",
        "3D Gaussian Splatting",
        "ControlNet architecture",
    ):
        assert right in words
    twins = [text.text for text in found if text.text.startswith("We present On-device Sora")]
    assert len(twins) == 2 and twins[0] == twins[1]


@pytest.mark.parametrize("name", ["002", "004"])
def test_the_seeds_without_joins_stay(name: str) -> None:
    for line in seed(name).decode().split("\n"):
        if line.startswith("  * ") and len(line) > 100:
            text = line.removeprefix("  * ").strip()
            assert repair_joined(text).text == text
