"""A nightly job: it counts what is due, pushes its metrics, sends its trace, and is gone.

    python examples/batch/job.py FOLDER

FOLDER holds files of JSON, an invoice in each. The environment says where telemetry goes:
`OTEL_EXPORTER_OTLP_ENDPOINT` for the trace, `PUSHGATEWAY` (such as `localhost:9091`) for the
metrics.
The exit code is 0 where the run completed, 1 where it failed, and 143 where it was terminated.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from dotflow import Config, Context, DotFlow, action
from dotflow.signals import exit_on_sigterm
from dotflow_otel import LogStructlog, MetricsPrometheus, PushGateway, TracerOpenTelemetry, setup


@action(retry=2, retry_delay=0.1)
def read(initial_context: Context) -> list[dict[str, float]]:
    """Read all invoices."""
    paths = sorted(Path(initial_context.storage).iterdir())
    return [json.loads(path.read_text()) for path in paths]


@action
def add_up(previous_context: Context) -> float:
    """Add up what is due."""
    return sum(invoice["due"] for invoice in previous_context.storage)


def main(folder: str) -> int:
    """Run the job; return its exit code."""
    exit_on_sigterm()
    # Two seconds for the backend at the exit: a job that has done its work does not wait for it.
    setup("invoices", timeout=2)
    address = os.environ.get("PUSHGATEWAY")
    gateway = PushGateway(address, "invoices", timeout=2) if address else None
    metrics = MetricsPrometheus(push_to=gateway)
    config = Config(tracer=TracerOpenTelemetry(), metrics=metrics, log=LogStructlog())
    flow = DotFlow(config=config, name="invoices")
    flow.task.add([read, add_up], initial_context=folder)
    manager = flow.start()
    if manager.failed:
        return 1
    print(f"due: {flow.result_storage()[-1]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
