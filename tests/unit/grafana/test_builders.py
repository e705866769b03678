"""What builds the boards says what is wrong, before Grafana shows an empty panel."""

from __future__ import annotations

import pytest

from boards import variables
from boards.board import Board, Panels, Section
from boards.look import COUNT, HALF, NUMBER, About
from boards.panels import graph, log_lines, number
from boards.queries import Queries, share
from boards.shared import failed_share
from dotflow.core.exception import InvalidOption
from dotflow_otel import conventions as names

QUERIES = Queries(("job", "mode"), ("workflow",))
ABOUT = About("Runs", "How many.", COUNT, NUMBER)


# --- queries ----------------------------------------------------------------------------


def test_selectors_hold_the_variables_that_fit() -> None:
    """A selector has the board's variables whose labels its metric has; one value is compared."""
    of_runs = QUERIES.select(names.WORKFLOW_STARTED)
    assert (
        of_runs == 'dotflow_workflow_started_total{workflow="$workflow",job=~"$job",mode=~"$mode"}'
    )
    assert QUERIES.select(names.WORKERS) == 'dotflow_workers{job=~"$job"}'
    assert Queries(()).select(names.WORKERS) == "dotflow_workers"


def test_further_labels_are_compared() -> None:
    """A query may ask for one value of a label."""
    selector = Queries(()).select(names.WORKFLOW_DURATION, status="failed")
    assert selector == 'dotflow_workflow_duration_seconds{status="failed"}'


def test_counted_adds_what_a_series_began_with() -> None:
    """The increase, and beside it the first value of series that began in the window."""
    assert Queries(()).counted(names.TELEMETRY_DROPPED, "signal") == (
        "sum by (signal) (increase(dotflow_telemetry_dropped_total[$__range]) or "
        "label_replace(min_over_time(dotflow_telemetry_dropped_total[$__range]) unless "
        "last_over_time(dotflow_telemetry_dropped_total[1d] offset $__range), "
        '"began", "in the window", "", ""))'
    )


def test_ages() -> None:
    """Of what goes on the oldest that is there; of what was, the newest in the time shown."""
    assert Queries(()).age(names.WORKFLOW_OLDEST_START, "workflow") == (
        "time() - min by (workflow) (dotflow_workflow_oldest_start_timestamp_seconds > 0)"
    )
    assert Queries(()).since_last(names.WORKFLOW_LAST_SUCCESS, "workflow") == (
        "time() - max by (workflow) "
        "(last_over_time(dotflow_workflow_last_success_timestamp_seconds[$__range]) > 0)"
    )


def test_share_is_of_itself_and_the_rest() -> None:
    """Nothing, where nothing happened: not a division by 0."""
    assert share("a", "b", "c") == "a / ((a + b + c) > 0)"
    assert failed_share(Queries(()), window="1h").endswith(" > 0)")


def test_an_unknown_metric_is_refused() -> None:
    """A metric that is not in the table is named, with where the table is."""
    other = names.Metric("dotflow_colour", names.GAUGE, "Its colour.")
    with pytest.raises(InvalidOption, match=r"metric='dotflow_colour' .*dotflow_otel.conventions"):
        QUERIES.select(other)


def test_an_unknown_label_is_refused() -> None:
    """A label that the metric lacks is named, with those that it has."""
    expected = (
        r"label='task' .*dotflow_workflow_failed_total has the labels job, instance, workflow"
    )
    with pytest.raises(InvalidOption, match=expected):
        QUERIES.counted(names.WORKFLOW_FAILED, "task")
    with pytest.raises(InvalidOption, match="label='status'"):
        QUERIES.select(names.WORKFLOW_FAILED, status="failed")
    with pytest.raises(InvalidOption, match="label='task'"):
        QUERIES.quantile(0.5, names.WORKFLOW_DURATION, "task")


def test_a_metric_of_the_wrong_kind_is_refused() -> None:
    """Rates are of counters, quantiles of histograms."""
    with pytest.raises(InvalidOption, match=r"dotflow_workers.*a rate is made of a counter"):
        QUERIES.increase(names.WORKERS)
    with pytest.raises(InvalidOption, match="buckets are of a histogram"):
        QUERIES.quantile(0.95, names.WORKFLOW_FAILED)


# --- variables --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [variables.data_source, variables.pick_source])
def test_an_unknown_data_source_variable_is_refused(make: object) -> None:
    """The message names the variables that there are."""
    assert callable(make)
    with pytest.raises(InvalidOption, match=r"variable='tempo' .*datasource, traces, logs"):
        make("tempo")


def test_an_unknown_label_has_no_variable() -> None:
    """The message names the labels that can be picked."""
    with pytest.raises(InvalidOption, match=r"label='colour' .*job, instance, workflow"):
        variables.pick_label("colour")


# --- boards -----------------------------------------------------------------------------


def _board(*sections: Section) -> Board:
    sources = [variables.pick_source(variables.METRICS), variables.pick_label("job")]
    return Board("dotflow-overview", "How many.", sources, sections)


def _line() -> Panels:
    return [number(ABOUT, Queries(("job",)).total(names.WORKERS)) for _ in range(6)]


def test_a_board_is_built() -> None:
    """A row and its panels, numbered, from left to right."""
    built = _board(Section("Now", _line())).build()
    assert [panel["id"] for panel in built["panels"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [panel["gridPos"]["x"] for panel in built["panels"]] == [0, 0, 4, 8, 12, 16, 20]


def test_a_query_with_an_unknown_variable_is_refused() -> None:
    """The message names the variable, those that the board has, and the panel."""
    panels = [number(ABOUT, Queries(("instance",)).total(names.WORKERS)) for _ in range(6)]
    expected = r"variable='instance' .*the board has datasource, job; .*the panel 'Runs'"
    with pytest.raises(InvalidOption, match=expected):
        _board(Section("Now", panels)).build()


def test_a_data_source_that_the_board_does_not_pick_is_refused() -> None:
    """So it is with the variables of data sources, in closed rows too."""
    logs = log_lines("Logs", "What was logged.", "{}")
    with pytest.raises(InvalidOption, match=r"variable='logs' .*datasource, job"):
        _board(Section("Now", _line()), Section("Logs", [logs], closed=True)).build()


def test_a_line_with_a_hole_is_refused() -> None:
    """The message names the row, and how much of the line is filled."""
    with pytest.raises(InvalidOption, match=r"section='Now' .*24 columns, and one has 20"):
        _board(Section("Now", _line()[:5])).build()


def test_a_line_of_uneven_heights_is_refused() -> None:
    """Panels beside each other are equally high."""
    high = graph(About("High", "Higher.", COUNT, HALF), {"workers": "dotflow_workers"})
    with pytest.raises(InvalidOption, match=r"section='Now' .*equally high"):
        _board(Section("Now", [*_line()[:3], high])).build()
