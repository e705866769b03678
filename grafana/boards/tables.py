"""Panels of rows: one a workflow, task or service, or one a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from boards import links, targets
from boards.look import COUNT, TEXT, About, Steps, dressed, setting, thresholds
from boards.variables import METRICS, TRACES, data_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grafana_foundation_sdk.builders.dashboard import DashboardLink


class Column(NamedTuple):
    """A column of numbers.

    Attributes:
        title: What is shown above it.
        query: Gives a series a row.
        unit: One of Grafana's units.
        steps: Colours by value; without them the text is plain.
    """

    title: str
    query: str
    unit: str = COUNT
    steps: Steps = ()


def rows(
    about: About,
    keys: Mapping[str, str],
    columns: Sequence[Column],
    drill: Sequence[DashboardLink],
    first: str,
) -> table.Panel:
    """Show a row for each value of some labels.

    Args:
        about: What the rows tell.
        keys: The titles of the labels' columns, each of one word, by label.
        columns: What is shown of each row.
        drill: Links from the labels' columns.
        first: The title of the column by which rows are sorted, the highest first.
    """
    panel = dressed(table.Panel(), about, data_source(METRICS))
    names = dict(keys)
    for number, column in enumerate(columns):
        ref = chr(ord("A") + number)
        names[f"Value #{ref}"] = column.title
        panel.with_target(targets.as_table(column.query, ref))
        panel.override_by_name(column.title, _look_of(column))
    for title in keys.values():
        panel.override_by_name(title, [_linked(drill), setting("unit", TEXT)])
    order = {name: place for place, name in enumerate(names)}
    renamed = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
    panel.with_transformation(DataTransformerConfig("merge", options={}))
    panel.with_transformation(DataTransformerConfig("organize", options=renamed))
    return panel.sort_by([common.TableSortByFieldState().display_name(first).desc(True)])


def traces(about: About, service: str, operation: str, tags: str = "") -> table.Panel:
    """Show traces, newest first, each a link to itself.

    Args:
        about: What they tell.
        service: Whose traces.
        operation: The name of a span in them.
        tags: What that span's attributes must be, as `key=value`.
    """
    panel = dressed(table.Panel(), about, data_source(TRACES))
    panel.with_target(targets.Traces(service, operation, tags))
    to_trace = _linked([links.to_trace("${__value.raw}")])
    return panel.override_by_regexp("(?i)trace ?id", [to_trace]).no_value("no trace")


def _linked(drill: Sequence[DashboardLink]) -> DynamicConfigValue:
    built = [link.build() for link in drill]
    return setting("links", [{"title": link.title, "url": link.url} for link in built])


def _look_of(column: Column) -> list[DynamicConfigValue]:
    # A counter that has no series yet has counted nothing; a ratio of nothing is none.
    counts = column.unit == COUNT
    look = [setting("unit", column.unit), setting("noValue", "0" if counts else "none")]
    if counts:
        look.append(setting("decimals", 0))
    if column.steps:
        look.append(setting("thresholds", thresholds(column.steps).build()))
        look.append(setting("custom.cellOptions", {"type": "color-text"}))
    return look
