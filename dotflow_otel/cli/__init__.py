"""The commands of telemetry, for the program `dotflow`."""

from __future__ import annotations

from typing import Final

# As `dotflow.cli.commands.Command`, which is not imported for it.
COMMANDS: Final = {
    "runs": ("dotflow_otel.cli.runs:runs", "List the runs of the history."),
    "trace": ("dotflow_otel.cli.trace:trace", "Show where the time of a run went."),
    "why": ("dotflow_otel.cli.trace:why", "Tell why a run failed, was slow, or was lost."),
    "logs": ("dotflow_otel.cli.logs:logs", "Print the log lines of a run."),
    "report": ("dotflow_otel.cli.report:report", "Write a page of a run, as one file."),
    "ui": ("dotflow_otel.cli.report:ui", "Serve pages of all runs on this machine."),
    "recover": ("dotflow_otel.cli.runs:recover", "Send the traces of runs that were killed."),
    "grafana": ("dotflow_otel.cli.grafana:grafana", "Write the dashboards and alert rules."),
}
