"""Which coloured pieces are one thing, and which thing stands in front.

Pieces of one colour are joined where one form explains them better than several do (a boat's hull and sail, a thing cut in
two by another). Where two things meet, each is tried as the one in front, with the other fitted anew behind it; the order
that leaves less of the picture unexplained stands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import ndimage

from diffolio.worlds.tabletop.fitting import Fit, fit, scene_error, silhouette_mask
from diffolio.worlds.tabletop.palette import COLOURS
from diffolio.worlds.tabletop.pixels import Piece, merged, pieces
from diffolio.worlds.tabletop.setting import NEIGHBOURS, Mask, Setting
from diffolio.worlds.tabletop.templates import KIND_COUNT, Array

JOIN, JOIN_HIDDEN = 0.66, 0.55  # overlap from which pieces of one colour may be one thing, seen whole or behind another
STAIN = {False: 0.2, True: 0.5}  # share of a thing's area below which a piece inside it is its stain; in outline: True
MOST_FOUND = 10
UNCLEAR = 0.2
MOST_JOINED = 5


@dataclass(frozen=True, eq=False)
class Guess:
    """A piece with its fit, while its neighbours are still being looked at."""

    piece: Piece
    fit: Fit | None
    behind: tuple[int, ...] = ()  # indices of the guesses that stand in front of it


def grouped(picture: Array, where: Setting, least: float) -> tuple[list[Guess], bool]:
    """Every piece alone or joined with others of its colour, fitted as a whole thing; and whether this is an outline drawing."""
    parts = pieces(picture, where, least)
    if where.clear < UNCLEAR:  # no table, so no thing can be sure: not worth joining
        parts = parts[:MOST_JOINED]
    alone = [Guess(piece, fit(picture, where, piece)) for piece in parts]
    outline = not where.night and not where.snow and _is_outline(picture, where, alone)
    guesses: list[Guess] = []
    for colour in range(len(COLOURS)):
        mine = [g for g in alone if g.piece.colour == colour]
        if not mine:
            continue
        mine = [g if _in_style(g, outline) else _fitted(picture, where, g.piece, outline) for g in mine]
        others = [piece for piece in parts if piece.colour != colour]
        guesses += _joined(picture, where, mine, others, outline) if len(mine) > 1 else mine
    guesses = _without_stains([g for g in guesses if g.piece.area >= least], picture.shape[:2], outline)
    return sorted(guesses, key=lambda g: -g.piece.area)[:MOST_FOUND], outline


def _in_style(guess: Guess, outline: bool) -> bool:
    return guess.fit is None or (guess.fit.form >= KIND_COUNT) == outline


def _is_outline(picture: Array, where: Setting, guesses: list[Guess]) -> bool:
    """A vote of the pieces, and of the pieces of one colour taken together (a boat's say little alone), by area and overlap."""
    voters = list(guesses)
    for colour in range(len(COLOURS)):
        mine = [g.piece for g in guesses if g.piece.colour == colour]
        if len(mine) < 2:
            continue
        group = merged(mine)
        voters.append(Guess(group, fit(picture, where, group)))
    votes = [(_overlap(g) ** 2 * g.piece.area) * (1 if g.fit.form >= KIND_COUNT else -1) for g in voters if g.fit is not None]
    return sum(votes) > 0


def _fitted(picture: Array, where: Setting, piece: Piece, outline: bool) -> Guess:
    return Guess(piece, fit(picture, where, piece, outline=outline))


def _joined(picture: Array, where: Setting, mine: list[Guess], others: list[Piece], outline: bool) -> list[Guess]:
    """Pieces of one colour, as one thing where one thing explains them better than several do: all, or else pair by pair."""
    while 1 < len(mine) <= MOST_JOINED:
        groups = [mine] if len(mine) == 2 else [mine, *(list(pair) for pair in combinations(mine, 2))]
        gains = []
        for group in groups:
            together, enough = _together(picture, where, group, others, outline)
            apart = float(np.average([_overlap(g) for g in group], weights=[g.piece.area for g in group]))
            gains.append((_overlap(together) - max(enough, apart), together, group))
            if group is mine and gains[0][0] > 0:
                return [together]
        gain, together, group = max(gains, key=lambda item: item[0])
        if gain <= 0:
            break
        mine = [g for g in mine if g not in group] + [together]
    return mine


def _together(picture: Array, where: Setting, group: list[Guess], others: list[Piece], outline: bool) -> tuple[Guess, float]:
    """Pieces of one colour as one guess, a thing seen whole or one cut in pieces by what touches it; and the least overlap."""
    together = _fitted(picture, where, merged([g.piece for g in group]), outline)
    unknown = _touching(together.piece, others)
    if unknown is None:
        return together, JOIN
    hidden = Guess(together.piece, fit(picture, where, together.piece, unknown, outline))
    return max((together, JOIN), (hidden, JOIN_HIDDEN), key=lambda option: _overlap(option[0]))


def _overlap(guess: Guess) -> float:
    return guess.fit.overlap if guess.fit is not None else 0.0


def _touching(piece: Piece, others: list[Piece]) -> Mask | None:
    """The pixels (H, W) of other pieces that touch this one, holes filled, or None where none does."""
    around = ndimage.binary_dilation(piece.mask, NEIGHBOURS, iterations=3)
    near = [ndimage.binary_fill_holes(other.mask) & ~piece.mask for other in others if (other.mask & around).any()]
    if not near:
        return None
    return ndimage.binary_dilation(np.logical_or.reduce(near), NEIGHBOURS)


def _without_stains(guesses: list[Guess], shape: tuple[int, int], outline: bool) -> list[Guess]:
    """Leave out small pieces that lie on, or where they meet between, well fitted things of other colours: details and edges
    that were badly drawn."""
    if len(guesses) < 2:
        return guesses
    enough = JOIN_HIDDEN if outline else JOIN
    hosts = [(g.piece, silhouette_mask(g.fit, shape, grow=2.0)) for g in guesses if g.fit is not None and g.fit.overlap > enough]

    def is_stain(piece: Piece) -> bool:
        others = [(host, mask) for host, mask in hosts if host.colour != piece.colour and host.area > piece.area]
        over = [mask for _, mask in others if piece.area < STAIN[outline] * mask.sum()]
        return bool(over) and (piece.mask & np.logical_or.reduce(over)).sum() > 0.7 * piece.area

    return [g for g in guesses if not is_stain(g.piece)]


def ordered(picture: Array, where: Setting, guesses: list[Guess], outline: bool) -> list[Guess]:
    """For every two things that meet, find which stands in front, and fit the one behind anew."""
    shape = picture.shape[:2]
    for first, second in combinations(range(len(guesses)), 2):
        a, b = guesses[first], guesses[second]
        if not _meet(a, b, shape, margin=1.0):
            continue
        options = []
        for front, rear in ((first, second), (second, first)):
            behind = _behind(picture, where, guesses[front], guesses[rear], front, outline)
            if behind is not None:
                options.append((_cost(picture, where, guesses[front], behind), rear, behind))
        if options:
            _, rear, behind = min(options, key=lambda option: option[0])
            if _meet(behind, guesses[first + second - rear], shape, margin=0.0):
                guesses = [behind if i == rear else g for i, g in enumerate(guesses)]
    return guesses


def _meet(a: Guess, b: Guess, shape: tuple[int, int], margin: float) -> bool:
    """Whether two fitted silhouettes, grown by ``margin`` pixels, share more than three pixels."""
    if a.fit is None or b.fit is None:
        return False
    if np.hypot(*(a.fit.pose[:2] - b.fit.pose[:2])) > 1.5 * (np.exp(a.fit.pose[2]) + np.exp(b.fit.pose[2])) + 2 * margin:
        return False
    return bool((silhouette_mask(a.fit, shape, margin) & silhouette_mask(b.fit, shape, margin)).sum() > 3)


def _behind(picture: Array, where: Setting, front: Guess, rear: Guess, index: int, outline: bool) -> Guess | None:
    """The rear guess fitted with the front one's silhouette as unknown."""
    assert front.fit is not None
    unknown = silhouette_mask(front.fit, picture.shape[:2], grow=1.0)
    if (rear.piece.mask & ~unknown).sum() < 5:
        return None
    again = fit(picture, where, rear.piece, unknown, outline)
    return None if again is None else replace(rear, fit=again, behind=(*rear.behind, index))


def _cost(picture: Array, where: Setting, front: Guess, rear: Guess) -> float:
    """What the two leave unexplained, drawn one over the other, summed over the picture."""
    return scene_error(picture, where, [(rear.fit, rear.piece), (front.fit, front.piece)])
