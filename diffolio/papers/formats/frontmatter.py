"""YAML front matter of a foreign file: read with limits, without tags, anchors or deep nesting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffolio.errors import BadInput

LARGEST = 32_768  # characters
DEEPEST = 8


def front_matter(text: str, warn: Callable[[str], None]) -> dict[str, str]:
    """The plain values by key; lists and mappings are left out. What is not YAML is read line by line with a warning.

    Raises BadInput on front matter above LARGEST or with anchors, aliases, tags or more than DEEPEST levels.
    """
    import yaml

    if len(text) > LARGEST:
        raise BadInput(f"the front matter has {len(text):,} characters; at most {LARGEST:,} are read")
    if "\x00" in text:
        raise BadInput("the front matter holds NUL characters")
    told: dict[str, str] = {}
    depth, key = 0, None
    try:
        # Events alone: no object is made of what a foreign file says.
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1
            if getattr(event, "anchor", None) or isinstance(event, yaml.AliasEvent):
                raise BadInput(f"line {line} of the front matter has an anchor or alias: refused")
            if getattr(event, "tag", None):
                raise BadInput(f"line {line} of the front matter has the tag {event.tag!r}: refused")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
                key = None if depth == 1 else key
            elif isinstance(event, yaml.ScalarEvent) and depth == 1:
                if key is not None:
                    told[key] = event.value.strip()
                key = event.value if key is None else None
            if depth > DEEPEST:
                raise BadInput(f"line {line} of the front matter is nested deeper than {DEEPEST} levels: refused")
    except (yaml.YAMLError, RecursionError) as error:
        mark, why = getattr(error, "problem_mark", None), getattr(error, "problem", None) or type(error).__name__
        warn(f"the front matter is not YAML: {why}" + (f" in its line {mark.line + 1}" if mark else ""))
        pairs = (line.split(":", 1) for line in text.split("\n") if ":" in line and line[:1].isalpha())
        told = {name: value.strip() for name, value in pairs}
    return told


def print_front_matter(told: Mapping[str, Any]) -> str:
    """``told`` as YAML that any safe loader reads back."""
    import yaml

    return str(yaml.safe_dump(dict(told), allow_unicode=True, sort_keys=False, width=10**6))
