"""A board's JSON, read as Grafana reads it: panels, queries, variables filled in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER: Final = Path(__file__).parents[2] / "grafana"
BOARDS: Final = ("dotflow-overview", "dotflow-workflow", "dotflow-fleet")

# What Grafana fills in itself, for a board that shows an hour.
WINDOWS: Final = {"__rate_interval": "1m", "__interval": "15s", "__range": "1h"}
_VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")


class Query(NamedTuple):
    """One query of one panel."""

    board: str
    panel: dict[str, Any]
    target: dict[str, Any]

    @property
    def expression(self) -> str:
        """The query, with variables."""
        expression: str = self.target["expr"]
        return expression

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the query with its variables filled in."""
        return fill(self.expression, values)

    @property
    def legend_labels(self) -> set[str]:
        """The labels that the legend, or the row of a table, shows."""
        return set(re.findall(r"\{\{(\w+)\}\}", self.target.get("legendFormat", "")))


def read(uid: str) -> dict[str, Any]:
    """Return the JSON of a board, from the file that people import."""
    board: dict[str, Any] = json.loads((FOLDER / "dashboards" / f"{uid}.json").read_text("utf-8"))
    return board


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the panels of a board, those in closed rows as well, the rows themselves not."""
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", ())


def queries(kind: str = "prometheus") -> list[Query]:
    """Return all queries of a kind of data source, on all boards."""
    return [
        Query(uid, panel, target)
        for uid in BOARDS
        for panel in panels(read(uid))
        for target in panel["targets"]
        if target["datasource"]["type"] == kind
    ]


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill variables in.

    Raises:
        KeyError: A variable has no value.
    """
    every = {**WINDOWS, **values}
    return _VARIABLE.sub(lambda found: every[found[1]], text)
