"""Draws a board from its JSON, so that people see what it holds before they import it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from boards.canvas import MONO, Canvas, fitted, width_of
from boards.icons import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from boards.canvas import Place

_COLUMN: Final = 46.0
_ROW: Final = 34.0
_GAP: Final = 8.0
_MARGIN: Final = 16.0
_WIDTH: Final = 24 * _COLUMN + 2 * _MARGIN
_HEAD: Final = 108.0
_PAD: Final = 12.0

_PAPER: Final = "#f4f5f5"
_PANEL: Final = "#ffffff"
_EDGE: Final = "#d8d9da"
_INK: Final = "#24292e"
_SOFT: Final = "#5d6773"
_CODE: Final = "#3d5a80"
_ACCENT: Final = "#e8590c"

# What the variables pick out of a metric's series, and what stands for it in a drawing.
_MATCHERS: Final = re.compile(r'(?<=\w)\{(?:\w+=~?"\$\w+",?)+\}')
_SHORT: Final = "{…}"

# Likewise for the increase of a counter with what its series began with.
_COUNTED: Final = re.compile(r'increase\((\w+\{…\}\[[^]]+\])\) or label_replace\(.*?, "", ""\)')

# A panel with no room for more shows its queries, not its description.
_FEW_LINES: Final = 6

_UNITS: Final = {"s": "seconds", "percentunit": "percent", "short": "count", "string": "text"}


def drawn(board: dict[str, Any]) -> str:
    """Return a board's drawing as SVG: each panel with its title, kind, unit and queries."""
    canvas = Canvas(_WIDTH, f"{board['title']}: its panels, drawn from its JSON")
    _draw_head(canvas, board)
    bottom = _HEAD
    for panel in _panels(board):
        place = _place(panel["gridPos"])
        _draw_row(canvas, panel, place) if panel["type"] == "row" else _draw(canvas, panel, place)
        bottom = max(bottom, place[1] + place[3])
    note = (
        f"Drawn from {board['uid']}.json: a plan of the board, not a screenshot of Grafana. "
        f"{_SHORT}: what the variables pick; counted(): see README.md."
    )
    canvas.text((_WIDTH / 2, bottom + 30), note, _SOFT, 13, anchor="middle")
    return canvas.to_svg(bottom + 48, _PAPER)


def _panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def _place(grid: Mapping[str, int]) -> Place:
    left = _MARGIN + grid["x"] * _COLUMN + _GAP / 2
    top = _HEAD + grid["y"] * _ROW
    return left, top, grid["w"] * _COLUMN - _GAP, grid["h"] * _ROW - _GAP


def _draw_head(canvas: Canvas, board: dict[str, Any]) -> None:
    left = _MARGIN + _GAP / 2
    canvas.text((left, 36), board["title"], _INK, 21, bold=True)
    canvas.text((left, 58), board["description"], _SOFT, 13)
    for variable in board["templating"]["list"]:
        text = f"{variable['label']}: {_value(variable)}"
        width = width_of(text, 12) + 20
        canvas.box((left, 70, width, 24), _PANEL, _EDGE)
        canvas.text((left + 10, 86), text, _INK, 12)
        left += width + _GAP


def _value(variable: dict[str, Any]) -> str:
    current = variable.get("current", {}).get("text", "pick one")
    return ", ".join(current) if isinstance(current, list) else str(current)


def _draw_row(canvas: Canvas, row: dict[str, Any], place: Place) -> None:
    left, top, _, height = place
    mark = "▸" if row["collapsed"] else "▾"
    title = f"{mark}  {row['title']}"
    canvas.text((left, top + height - 6), title, _INK, 15, bold=True)


def _draw(canvas: Canvas, panel: dict[str, Any], place: Place) -> None:
    left, top, width, height = place
    canvas.box(place, _PANEL, _EDGE)
    kind = kind_of(panel["type"])
    canvas.path(kind.sign, (left + width - _PAD - 18, top + 10), _ACCENT)
    canvas.text((left + _PAD, top + 22), panel["title"], _INK, 14, bold=True)
    unit = panel["fieldConfig"]["defaults"]["unit"]
    told = f"{kind.name}, {_UNITS.get(unit, unit)}"
    canvas.text((left + _PAD, top + 39), told, _SOFT, 12)
    _draw_texts(canvas, panel, (left + _PAD, top + 58, width - 2 * _PAD, height - 58))


def _draw_texts(canvas: Canvas, panel: dict[str, Any], place: Place) -> None:
    left, top, width, height = place
    room = int((height - 4) // 15)
    told = fitted(panel["description"], width, 12, 3) if room > _FEW_LINES else ()
    for line in told:
        canvas.text((left, top), line, _INK, 12)
        top += 16
    for line in _lines(_asked(panel), width, room - len(told)):
        canvas.text((left, top + 2), line, _CODE, 11, font=MONO)
        top += 15


def _lines(queries: Sequence[str], width: float, room: int) -> Iterator[str]:
    # Each query gets as many lines as are left for it when all others get one.
    for number, query in enumerate(queries, start=1):
        lines = fitted(query, width, 11, room - (len(queries) - number), MONO)
        yield from lines
        room -= len(lines)


def _asked(panel: dict[str, Any]) -> list[str]:
    names: dict[str, str] = {}
    for transformation in panel.get("transformations", ()):
        names |= transformation["options"].get("renameByName", {})
    return [_query(target, names) for target in panel["targets"]]


def _query(target: dict[str, Any], names: Mapping[str, str]) -> str:
    if "expr" not in target:
        words = ("service", "operation", "tags")
        return f"traces: {', '.join(f'{word}={target[word]}' for word in words if word in target)}"
    legend = names.get(f"Value #{target['refId']}") or target.get("legendFormat", "__auto")
    query = _COUNTED.sub(r"counted(\1)", _MATCHERS.sub(_SHORT, target["expr"]))
    return query if legend.startswith("__") else f"{legend}: {query}"
