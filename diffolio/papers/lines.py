"""Text files line by line in bounded memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from diffolio.errors import BadInput

LONGEST = 16 << 20  # bytes of one line


def numbered_lines(data: bytes | BinaryIO) -> Iterator[tuple[int, str]]:
    """Every line of UTF-8 text with its number, from 1. Raises BadInput on other encodings and lines above LONGEST."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    number = 0
    while raw := stream.readline(LONGEST + 1):
        number += 1
        if len(raw) > LONGEST:
            raise BadInput(f"line {number} is longer than {LONGEST >> 20} MB: this is no list of papers")
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"line {number} is not UTF-8 (byte {error.start + 1} of the line): convert the file first") from error
