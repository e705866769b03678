"""A user's program with the same history as one that was killed: `recovers.py HISTORY`.

Prints what its metrics count as lost, by workflow, as JSON.
"""

from __future__ import annotations

import json
import sys

from prometheus_client import CollectorRegistry

from dotflow_otel import observe

registry = CollectorRegistry()
config = observe("later", history=sys.argv[1], registry=registry)


def lost() -> dict[str, float]:
    """Read the counter of lost runs."""
    return {
        sample.labels["workflow"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "dotflow_workflow_lost_total"
    }


if __name__ == "__main__":
    from dotflow_otel.history.recording import finish_recovery

    finish_recovery(30)
    print(json.dumps(lost()))
