"""Texts of users as they can be written to a log or a terminal: nobody takes them for ours.

A name or message may hold line breaks, with which it would make lines of its own in a log, and
what a terminal takes as orders: escape sequences, or marks that turn the direction of writing.
It imports nothing of the engine, for `dotflow --help` needs it.
"""

from __future__ import annotations

from typing import Final

_INDENT: Final = "  "


def printable(text: str) -> str:
    """Return text on one line, without what a terminal would take as an order."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def printable_lines(text: str) -> str:
    """Return text of several lines, as a traceback, none of which begins as one of a log.

    Lines of logs begin with a time, so those that begin with a digit are indented. Tabs stay.
    """
    lines = (_printable_cells(line) for line in text.split("\n"))
    return "\n".join(f"{_INDENT}{line}" if line[:1].isdigit() else line for line in lines)


def _printable_cells(line: str) -> str:
    return line if line.isprintable() else "\t".join(map(printable, line.split("\t")))


def _escaped(character: str) -> str:
    return " " if character == "\n" else character.encode("unicode_escape").decode("ascii")
