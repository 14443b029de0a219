"""PIE-Bench from a folder on disk: ``mapping_file.json`` and ``annotation_images/``, as its authors hand it out.

Ju et al., 2023, arXiv:2310.01506 (700 photographs and paintings, ten kinds of edit). An entry of the mapping holds ``image_path``,
``original_prompt`` and ``editing_prompt`` (brackets mark the words that change), ``editing_type_id`` "0" to "9", and ``mask``, pairs of
start and length over the 512x512 picture row by row. The picture's outermost pixels count as edited: masks were drawn by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffolio.claims.benchmark.cases import Case
from diffolio.errors import BadInput
from diffolio.models.photos import fit_into, load_photo
from diffolio.registry import EDITS

KINDS = ("random", *EDITS)  # by editing_type_id


def pie_bench(
    folder: str | Path, size: int, multiple: int = 8, n: int | None = None, kinds: Sequence[str] = KINDS
) -> tuple[list[Case], list[str]]:
    """The cases, fitted to ``size`` pixels, and what was left out with the reason, one line each. ``n``: the first so many of each kind.

    BadInput if the folder is not laid out so, or holds nothing that can be read.
    """
    folder = Path(folder)
    mapping = _mapping(folder)
    root = folder / "annotation_images"
    if not root.is_dir():
        raise BadInput(f"{folder} has no annotation_images/: give the folder that holds it beside mapping_file.json")
    entries: dict[str, list[tuple[str, Any]]] = {kind: [] for kind in KINDS}
    skipped = []
    for key, entry in mapping.items():
        try:
            kind = KINDS[int(entry["editing_type_id"])]
        except (KeyError, ValueError, TypeError, IndexError):
            skipped.append(f"{key}: editing_type_id is not 0 to {len(KINDS) - 1}")
            continue
        if kind in kinds:
            entries[kind].append((key, entry))
    found = []
    for kind, group in entries.items():
        for key, entry in islice(group, n):
            try:
                found.append(_case(key, kind, entry, root, size, multiple))
            except (BadInput, KeyError, TypeError, ValueError) as error:
                skipped.append(f"{key}: {f'no {error}' if isinstance(error, KeyError) else error}")
    if not found:
        raise BadInput(f"nothing in {folder} can be read as PIE-Bench ({'; '.join(skipped[:3]) or 'no entry of these kinds'})")
    return found, skipped


def decode_mask(runs: Sequence[int], height: int = 512, width: int = 512) -> Tensor:
    """Pairs of start and length over a picture's pixels, row by row, as bool (height, width). BadInput for what lies outside."""
    flat = torch.tensor(list(runs), dtype=torch.int64)
    if len(flat) % 2 or bool((flat < 0).any()):
        raise BadInput(f"a mask of {len(flat)} numbers: give pairs of start and length")
    start, length = flat[::2], flat[1::2]
    if bool((start > height * width).any()):
        raise BadInput(f"a mask that starts behind the {width}x{height} picture")
    # Each run adds one where it starts and takes it off where it ends.
    edges = torch.zeros(height * width + 1, dtype=torch.int64)
    edges.scatter_add_(0, start, torch.ones_like(start))
    edges.scatter_add_(0, (start + length).clamp_max(height * width), -torch.ones_like(start))
    return (edges[:-1].cumsum(0) > 0).reshape(height, width)


def _mapping(folder: Path) -> dict[str, Any]:
    path = folder / "mapping_file.json"
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{folder} has no mapping_file.json: give PIE-Bench's folder as it is handed out") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error})") from error
    if not isinstance(mapping, dict):
        raise BadInput(f"{path} holds a {type(mapping).__name__}: PIE-Bench's is an object, one entry a picture")
    return mapping


def _case(key: str, kind: str, entry: dict[str, Any], root: Path, size: int, multiple: int) -> Case:
    path = (root / str(entry["image_path"])).resolve()
    if not path.is_relative_to(root.resolve()):
        raise BadInput(f"its picture {entry['image_path']} lies outside of {root.name}")
    prompts = [str(entry[name]).replace("[", "").replace("]", "").strip() for name in ("original_prompt", "editing_prompt")]
    if not all(prompts):
        raise BadInput("a prompt is empty")
    fitted = fit_into(load_photo(path), size, size, multiple)
    mask = decode_mask(entry["mask"], *fitted.photo.image.shape[-2:])
    if not bool(mask.any()):
        raise BadInput("its mask is empty")
    border = torch.ones_like(mask)
    border[1:-1, 1:-1] = False
    return Case(key, kind, fitted.image, prompts[0], prompts[1], fitted.mask(mask), unscored=fitted.mask(border))
