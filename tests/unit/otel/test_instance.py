"""Every process is an instance of its service of its own, to whom its telemetry is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from uuid import UUID

import pytest

ROOT = Path(__file__).parents[3]


def resource(*before: str, **variables: str) -> dict[str, str]:
    """Set up in a new process; give the attributes of the resource.

    Args:
        before: Lines that run first.
        variables: Of the environment.
    """
    source = """
        import json
        from opentelemetry import trace
        from dotflow_otel import setup

        setup("billing")
        print(json.dumps(dict(trace.get_tracer_provider().resource.attributes)))
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*before, textwrap.dedent(source)])],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


# As SDKs do that know of no instance.
OLDER = """
from opentelemetry.sdk.resources import Resource
create = Resource.create
def without_instance(attributes):
    found = dict(create(attributes).attributes)
    if found["service.instance.id"] != "told":
        del found["service.instance.id"]
    return Resource(found)
if "service.instance.id" in create({}).attributes:
    Resource.create = without_instance
"""


@pytest.mark.parametrize("before", [(), (OLDER,)], ids=["as installed", "older"])
def test_a_process_is_an_instance(before: tuple[str, ...]) -> None:
    """Two processes of a service have an id each, whatever the SDK."""
    ids = [resource(*before)["service.instance.id"] for _ in range(2)]
    assert len({UUID(each) for each in ids}) == 2


@pytest.mark.parametrize("before", [(), (OLDER,)], ids=["as installed", "older"])
def test_an_instance_that_is_told(before: tuple[str, ...]) -> None:
    """The id of `OTEL_RESOURCE_ATTRIBUTES` stands, beside the service's name."""
    told = resource(*before, OTEL_RESOURCE_ATTRIBUTES="service.instance.id=told")
    assert (told["service.instance.id"], told["service.name"]) == ("told", "billing")


FORKED = """
import json, os
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from dotflow import Config, DotFlow, action
from dotflow.providers import LogDefault
from dotflow_otel import MetricsOpenTelemetry, TracerOpenTelemetry, setup

setup("billing")
exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
config = Config(
    tracer=TracerOpenTelemetry(), metrics=MetricsOpenTelemetry(reader), log=LogDefault("ERROR")
)

@action
def step():
    pass

def ids():
    exporter.clear()
    flow = DotFlow(config=config)
    flow.task.add(step)
    flow.start()
    spans = [span.resource for span in exporter.get_finished_spans()]
    measured = [each.resource for each in reader.get_metrics_data().resource_metrics]
    return [
        sorted({each.attributes["service.instance.id"] for each in resources})
        for resources in (spans, measured)
    ], {each.attributes["service.name"] for each in spans} == {"billing"}

print(json.dumps(ids()), flush=True)
child = os.fork()
if not child:
    print(json.dumps(ids()), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(json.dumps(ids()), flush=True)
"""


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("before", ["", OLDER], ids=["as installed", "older"])
def test_a_forked_process_is_an_instance(before: str, told: bool) -> None:
    """It has an id of its own in each signal, unless a variable tells one; its parent's stays."""
    variables = {"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=told"} if told else {}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", before + FORKED],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OTEL_TRACES_EXPORTER": "none",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    first, forked, after = map(json.loads, done.stdout.splitlines())
    assert first == after
    assert [len(each) for each in (*first[0], *forked[0])] == [1] * 4
    assert (first[1], forked[1]) == (True, True)
    if told:
        return
    assert not {*first[0][0], *first[0][1]} & {*forked[0][0], *forked[0][1]}
