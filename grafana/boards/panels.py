"""The kinds of panels: one function a kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders import bargauge, common, heatmap, logs, stat, timeseries
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from boards import targets
from boards.look import COUNT, SECONDS, TEXT, WIDE, About, by_thresholds, color, dressed
from boards.variables import LOGS, METRICS, data_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grafana_foundation_sdk.builders.dashboard import DashboardLink

# Counts beside each other are of windows of a minute at least: shorter steps than the windows
# of rates would count one run in several bars.
_APART: Final = "1m"


def number(about: About, query: str, *, without: str = "0") -> stat.Panel:
    """Show one number.

    Args:
        about: What it tells.
        query: Gives one series, or none.
        without: What is shown where it gives none.
    """
    panel = dressed(stat.Panel(), about, data_source(METRICS)).color_scheme(by_thresholds())
    if about.unit == COUNT:
        panel.decimals(0)
    return (
        panel.with_target(targets.now(query))
        .reduce_options(_last())
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.VALUE)
        .text_mode(looks.BigValueTextMode.VALUE)
        .no_value(without)
    )


def graph(
    about: About,
    queries: Mapping[str, str],
    *,
    exemplars: bool = False,
    links: Sequence[DashboardLink] = (),
) -> timeseries.Panel:
    """Draw lines over time.

    Args:
        about: What it tells.
        queries: By the legend of their series.
        exemplars: Whether dots lead to traces.
        links: From a series.
    """
    panel = _over_time(about, queries, exemplars=exemplars, links=links)
    panel.show_points(looks.VisibilityMode.AUTO).fill_opacity(8).line_width(2)
    if len(about.steps) > 1:
        style = common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
        panel.thresholds_style(style)
    return panel


def bars(
    about: About,
    queries: Mapping[str, str],
    *,
    colors: Mapping[str, str] | None = None,
    exemplars: bool = False,
) -> timeseries.Panel:
    """Draw counts over time as bars on each other.

    Args:
        about: What it tells.
        queries: By the legend of their series.
        colors: By legend.
        exemplars: Whether dots lead to traces.
    """
    panel = _over_time(about, queries, exemplars=exemplars).decimals(0).interval(_APART)
    panel.draw_style(looks.GraphDrawStyle.BARS).fill_opacity(80).line_width(0)
    panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    for name, value in (colors or {}).items():
        panel.override_by_name(name, [color(value)])
    return panel


def buckets(about: About, query: str) -> heatmap.Panel:
    """Draw a histogram over time, with dots that lead to traces."""
    panel = dressed(heatmap.Panel(), about, data_source(METRICS))
    scheme = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(32)
    return (
        panel.with_target(targets.as_heatmap(query))
        .interval(_APART)
        .calculate(False)
        .color(scheme)
        .cell_values(heatmap.CellValues().unit(COUNT).decimals(0))
        .y_axis(heatmap.YAxisConfig().unit(SECONDS))
        .exemplars_color("rgba(255,120,10,0.9)")
        .show_y_histogram()
    )


def ranking(
    about: About, query: str, legend: str, *, links: Sequence[DashboardLink] = ()
) -> bargauge.Panel:
    """Show values beside each other, as bars.

    Args:
        about: What they tell.
        query: Gives a series a bar.
        legend: What each bar is called.
        links: From a bar.
    """
    panel = dressed(bargauge.Panel(), about, data_source(METRICS)).color_scheme(by_thresholds())
    return (
        panel.with_target(targets.now(query, legend=legend))
        .reduce_options(_last())
        .orientation(looks.VizOrientation.HORIZONTAL)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .min(0)
        .no_value("none")
        .data_links(list(links))
    )


def log_lines(title: str, description: str, query: str) -> logs.Panel:
    """Show log lines, newest first."""
    about = About(title, description, TEXT, WIDE)
    panel = dressed(logs.Panel(), about, data_source(LOGS)).with_target(targets.lines(query))
    panel.show_time(True).enable_log_details(True).wrap_log_message(True)
    return panel.sort_order(looks.LogsSortOrder.DESCENDING)


def _over_time(
    about: About,
    queries: Mapping[str, str],
    *,
    exemplars: bool,
    links: Sequence[DashboardLink] = (),
) -> timeseries.Panel:
    panel = dressed(timeseries.Panel(), about, data_source(METRICS)).min(0)
    for number_of, (legend, query) in enumerate(queries.items()):
        ref = chr(ord("A") + number_of)
        panel.with_target(targets.over_time(query, ref, legend, exemplars=exemplars))
    legend_below = common.VizLegendOptions().show_legend(True)
    legend_below.display_mode(looks.LegendDisplayMode.LIST)
    legend_below.placement(looks.LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI)
    tooltip.sort(looks.SortOrder.DESCENDING)
    return panel.legend(legend_below).tooltip(tooltip).data_links(list(links))


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
