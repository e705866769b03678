"""The variables at the top of the boards."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from boards.queries import INSTANCE, JOB, Queries
from dotflow.core.exception import InvalidOption
from dotflow_otel import conventions as names

METRICS: Final = "datasource"
TRACES: Final = "traces"
LOGS: Final = "logs"
OBJECTIVE: Final = "objective"

# The kinds of data source behind the three variables, and what their pickers are called.
_KINDS: Final = {
    METRICS: ("prometheus", "Metrics"),
    TRACES: ("jaeger", "Traces"),
    LOGS: ("loki", "Logs"),
}
_TITLES: Final = {
    JOB: "Service",
    INSTANCE: "Instance",
    "workflow": "Workflow",
    "task": "Task",
    "mode": "Mode",
}
_ALL: Final = "$__all"

# What Grafana's own editor of such variables writes.
_LABEL_VALUES: Final = 1
_REF: Final = "PrometheusVariableQueryEditor-VariableQuery"


def data_source(variable: str) -> DataSourceRef:
    """Refer to the data source that the reader has picked.

    Args:
        variable: `datasource`, `traces` or `logs`.

    Raises:
        InvalidOption: There is no such variable.
    """
    return DataSourceRef(type_val=_kind(variable)[0], uid=f"${{{variable}}}")


def pick_source(variable: str) -> build.DatasourceVariable:
    """Let the reader pick a data source.

    Raises:
        InvalidOption: There is no such variable.
    """
    kind, title = _kind(variable)
    return build.DatasourceVariable(variable).label(title).type(kind)


def pick_label(
    label: str, within: tuple[str, ...] = (), *, multi: bool = True, single: tuple[str, ...] = ()
) -> build.QueryVariable:
    """Let the reader pick values of a label.

    Args:
        label: The label, which is also the variable's name.
        within: Labels of variables with several values, that narrow the choice down.
        multi: Whether several values, and all, may be picked.
        single: As `within`, of variables with one value.

    Raises:
        InvalidOption: No metric of runs or tasks has the label.
    """
    metric = names.TASK_STARTED if label == "task" else names.WORKFLOW_STARTED
    if label not in _TITLES:
        raise InvalidOption("label", label, f"use one of {', '.join(_TITLES)}")
    query = f"label_values({Queries(within, single).select(metric)}, {label})"
    picked = (
        build.QueryVariable(label)
        .label(_TITLES[label])
        .datasource(data_source(METRICS))
        .query({"qryType": _LABEL_VALUES, "query": query, "refId": _REF})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )
    return _with_all(picked) if multi else picked


def pick_objective() -> build.CustomVariable:
    """Let the reader pick the share of runs that shall complete, in percent."""
    values = ("90", "95", "99", "99.5", "99.9")
    return (
        build.CustomVariable(OBJECTIVE)
        .label("Objective (%)")
        .description("The share of runs that shall complete. The rest is the error budget.")
        .values(",".join(values))
        .current(VariableOption(selected=True, text="99", value="99"))
        .options([VariableOption(value == "99", value, value) for value in values])
    )


def _with_all(picked: build.QueryVariable) -> build.QueryVariable:
    everything = VariableOption(selected=True, text=["All"], value=[_ALL])
    return picked.multi(True).include_all(True).all_value(".*").current(everything)


def _kind(variable: str) -> tuple[str, str]:
    if variable not in _KINDS:
        expected = f"the variables of data sources are {', '.join(_KINDS)}"
        raise InvalidOption("variable", variable, expected)
    return _KINDS[variable]
