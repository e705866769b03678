"""What the messages of failed assertions have in common.

The assertions themselves set `__tracebackhide__`: pytest then shows the line of the test that
failed, and not those in here.
"""

from __future__ import annotations

from difflib import get_close_matches, ndiff
from textwrap import indent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def near(name: str, known: Iterable[str]) -> list[str]:
    """Give the names that one may have been meant, the likeliest first."""
    return get_close_matches(name, sorted(set(known)), n=3)


def or_list(found: Iterable[str]) -> str:
    """Give names in quotes, with `or` before the last."""
    *first, last = map(repr, found)
    return f"{', '.join(first)} or {last}" if first else last


def facts(values: Mapping[str, Any]) -> str:
    """Give names and values as they are written in a call."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def block(title: str, text: str) -> str:
    """Give a text below its title, indented."""
    return f"{title}\n{indent(text, '  ')}"


def difference(expected: str, found: str) -> str:
    """Give two texts as one, its lines marked: `-` expected only, `+` found only."""
    lines = ndiff(expected.splitlines(), found.splitlines())
    return "\n".join(line.rstrip() for line in lines if not line.startswith("?"))
