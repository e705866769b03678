"""Puts variables, links and rows of panels together to a board."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    Panel,
    RowPanel,
    VariableModel,
)

from boards.links import TITLES, to_board
from dotflow.core.exception import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence

Panels = list[Builder[Panel]]

_COLUMNS: Final = 24
# A variable of a board, not one that Grafana itself gives: those begin with two underscores.
_VARIABLE: Final = re.compile(r"\$\{?(?!__)([A-Za-z]\w*)")


class Section(NamedTuple):
    """A row of a board: a title, and panels from left to right and then down.

    Attributes:
        title: What stands above the panels.
        panels: As many to a line as fill its 24 columns.
        closed: Whether its panels are not shown, nor asked for, before it is opened.
    """

    title: str
    panels: Panels
    closed: bool = False


class Board(NamedTuple):
    """What a board is made of.

    Attributes:
        uid: What links and alerts call it by.
        description: What it answers.
        variables: At the top of it.
        sections: From top to bottom.
        span: The time that it shows at first, back from now.
    """

    uid: str
    description: str
    variables: Sequence[Builder[VariableModel]]
    sections: Sequence[Section]
    span: str = "6h"

    def build(self) -> dict[str, Any]:
        """Return the JSON that Grafana imports.

        Raises:
            InvalidOption: The panels of a row do not fill its lines, or something uses a
                variable that the board does not have.
        """
        board = self._head()
        for variable in self.variables:
            board.with_variable(variable)
        for uid in TITLES:
            if uid != self.uid:
                board.link(to_board(uid))
        for section in self.sections:
            _add(board, section)
        built = board.build()
        _number(built)
        plain: dict[str, Any] = json.loads(json.dumps(built, cls=JSONEncoder))
        _check_variables(plain)
        return plain

    def _head(self) -> builders.Dashboard:
        return (
            builders.Dashboard(f"dotflow / {TITLES[self.uid]}")
            .uid(self.uid)
            .description(self.description)
            .tags(["dotflow"])
            .editable()
            .tooltip(DashboardCursorSync.CROSSHAIR)
            .time(f"now-{self.span}", "now")
            .refresh("1m")
        )


def _add(board: builders.Dashboard, section: Section) -> None:
    _check_lines(section)
    row = builders.Row(section.title).collapsed(section.closed)
    if section.closed:
        for panel in section.panels:
            row.with_panel(panel)
        board.with_row(row)
        return
    board.with_row(row)
    for panel in section.panels:
        board.with_panel(panel)


def _check_lines(section: Section) -> None:
    filled = 0
    height = 0
    for place in (panel.build().grid_pos for panel in section.panels):
        if place is None or (filled and place.h != height):
            raise InvalidOption("section", section.title, "the panels of a line are equally high")
        filled, height = filled + place.w, place.h
        if filled == _COLUMNS:
            filled = 0
        elif filled > _COLUMNS:
            break
    if filled:
        expected = f"its panels fill lines of {_COLUMNS} columns, and one has {filled}"
        raise InvalidOption("section", section.title, expected)


def _number(board: Dashboard) -> None:
    number = 0
    for panel in board.panels or ():
        for each in (panel, *(panel.panels if isinstance(panel, RowPanel) else ())):
            number += 1
            each.id_val = number


def _check_variables(board: dict[str, Any]) -> None:
    known = [variable["name"] for variable in board["templating"]["list"]]
    for where, part in _parts(board):
        for name in _VARIABLE.findall(json.dumps(part)):
            if name not in known:
                expected = f"the board has {', '.join(known)}; it is used by {where}"
                raise InvalidOption("variable", name, expected)


def _parts(board: dict[str, Any]) -> Sequence[tuple[str, Any]]:
    variables = [(f"the variable {each['name']!r}", each) for each in board["templating"]["list"]]
    links = [(f"the link {each['title']!r}", each) for each in board["links"]]
    return variables + links + [(f"the panel {each['title']!r}", each) for each in board["panels"]]
