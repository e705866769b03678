"""Metrics that are pushed: to whom, as whose, and what happens when nobody takes them."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from backends.ports import closed_port
from late_threads import needs_late_threads
from log_records import own_records
from prometheus_client import REGISTRY, CollectorRegistry

from dotflow import Config, DotFlow, action
from dotflow.core.exception import DotflowError, InvalidOption
from dotflow.core.run import Run
from dotflow.testing import Recording
from dotflow_otel import MetricsPrometheus, PushFailed, PushGateway, push_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE = 'dotflow_workflow_started_total{mode="sequential",workflow="billing"} 1.0'


class Push(NamedTuple):
    """What a receiver was sent."""

    method: str
    path: str
    content_type: str
    text: str


class Receiver:
    """Takes pushes in, as a Pushgateway does; or refuses them, or lets them wait."""

    def __init__(self) -> None:
        self.pushes: list[Push] = []
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                text = self.rfile.read(length).decode()
                receiver.asked.set()
                receiver.may_answer.wait(20)
                kind = self.headers["Content-Type"]
                receiver.pushes.append(Push(self.command, self.path, kind, text))
                self.send_response(receiver.status)
                self.end_headers()

            do_PUT = do_POST  # noqa: N815 - the name is the standard library's

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def close(self) -> None:
        """End."""
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a receiver of pushes."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    """Return a registry that knows of one run."""
    made = CollectorRegistry()
    MetricsPrometheus(made).run_started(Run("r", "w", "billing", "sequential", 1, 1.0))
    return made


@pytest.fixture
def nobody() -> Iterator[str]:
    """Return an address where nobody listens."""
    with closed_port() as address:
        yield address


@action
def step() -> None:
    """Do nothing."""


def run_once(metrics: MetricsPrometheus) -> float:
    """Run a workflow; give how long that took."""
    config = Config(metrics=metrics, log=Recording().providers["log"])
    flow = DotFlow(config=config, name="billing")
    flow.task.add(step)
    began = time.monotonic()
    flow.start()
    return time.monotonic() - began


# --- on demand --------------------------------------------------------------------------


def test_push(receiver: Receiver, registry: CollectorRegistry) -> None:
    """The registry arrives as the job's, and replaces nothing but what it has."""
    push_metrics(receiver.address, "nightly", registry)
    (push,) = receiver.pushes
    assert (push.method, push.path) == ("POST", "/metrics/job/nightly")
    assert push.content_type.startswith("text/plain")
    assert LINE in push.text.splitlines()


def test_grouping_key(receiver: Receiver, registry: CollectorRegistry) -> None:
    """Further labels tell the jobs apart; an address may be a URL."""
    key = {"instance": "eu-1", "shop": "a/b"}
    push_metrics(f"http://{receiver.address}/", "nightly", registry, grouping_key=key)
    assert receiver.pushes[0].path == "/metrics/job/nightly/instance/eu-1/shop@base64/YS9i"


def test_default_registry(receiver: Receiver) -> None:
    """Without a registry prometheus-client's own is pushed."""
    MetricsPrometheus()
    push_metrics(receiver.address, "nightly")
    assert "python_info" in receiver.pushes[0].text
    assert REGISTRY.get_sample_value("dotflow_workers") is not None
    assert "dotflow_workers " in receiver.pushes[0].text


def test_handler(registry: CollectorRegistry) -> None:
    """A handler of the application's own sends the request."""
    sent: list[tuple[str, str, float]] = []

    def handler(
        url: str, method: str, timeout: float, headers: list[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        return lambda: sent.append((url, method, timeout))

    push_metrics("gateway:9091", "nightly", registry, timeout=2, handler=handler)
    assert sent == [("http://gateway:9091/metrics/job/nightly", "POST", 2)]


def test_nobody_listens(nobody: str, registry: CollectorRegistry) -> None:
    """Where nobody listens the error names the gateway, the job, the reason and the mend."""
    with pytest.raises(PushFailed) as raised:
        push_metrics(nobody, "nightly", registry)
    told = str(raised.value)
    assert isinstance(raised.value, OSError)
    assert isinstance(raised.value, DotflowError)
    assert f"'nightly' could not be pushed to '{nobody}'" in told
    assert "refused" in told
    assert "See that a Pushgateway listens there" in told


def test_a_refusal(receiver: Receiver, registry: CollectorRegistry) -> None:
    """What the gateway refuses is such an error too, with its answer."""
    receiver.status = 400
    with pytest.raises(PushFailed, match="400"):
        push_metrics(receiver.address, "nightly", registry)


def test_a_gateway_that_does_not_answer(receiver: Receiver, registry: CollectorRegistry) -> None:
    """A push ends within its bound, whatever the gateway does."""
    receiver.may_answer.clear()
    began = time.monotonic()
    with pytest.raises(PushFailed, match=r"no answer within 0\.2 s|timed out"):
        push_metrics(receiver.address, "nightly", registry, timeout=0.2)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"gateway": " ", "job": "a"}, "gateway=' '"),
        ({"gateway": "host:9091", "job": ""}, "job=''"),
        ({"gateway": "host:9091", "job": "a", "timeout": 0}, "timeout=0"),
        ({"gateway": "http://me:secret@host:9091", "job": "a"}, "gateway='http://...@host:9091'"),
        ({"gateway": "me:secret@host:9091", "job": "a"}, "gateway='...@host:9091'"),
        (
            {"gateway": "http://me:se/secret@host:9091/x", "job": "a"},
            "gateway='http://...@host:9091'",
        ),
        ({"gateway": " http://me:secret@host:9091", "job": "a"}, "gateway='http://...@host:9091'"),
        ({"gateway": "http://host:9091?token=secret", "job": "a"}, "gateway='http://host:9091'"),
        ({"gateway": "http://host:9091/x#secret", "job": "a"}, "gateway='http://host:9091'"),
        ({"gateway": "http://host?t=a@secret", "job": "a"}, "gateway='http://...@'"),
        ({"gateway": "http://me:secret?secret@host", "job": "a"}, "gateway='http://...@'"),
    ],
)
def test_bad_options(options: dict[str, Any], named: str) -> None:
    """An option that cannot be is an error that names it and its value, but no password."""
    with pytest.raises(InvalidOption) as raised:
        push_metrics(**options)
    assert str(raised.value).startswith(named)
    assert "secret" not in str(raised.value)


def test_a_failure_tells_no_path(nobody: str, registry: CollectorRegistry) -> None:
    """A push that fails names the scheme, host and port: a path may hold a secret too."""
    with pytest.raises(PushFailed) as raised:
        push_metrics(f" http://{nobody}/secret/ ", "nightly", registry)
    assert f"could not be pushed to 'http://{nobody}': " in str(raised.value)
    assert "secret" not in str(raised.value)


# --- at the end of a run ----------------------------------------------------------------


def test_push_at_the_end_of_a_run(receiver: Receiver) -> None:
    """Metrics that are given a gateway are pushed when a run has ended, complete."""
    metrics = MetricsPrometheus(
        CollectorRegistry(), push_to=PushGateway(receiver.address, job="nightly")
    )
    run_once(metrics)
    assert metrics.flush()
    (push,) = receiver.pushes
    assert push.path == "/metrics/job/nightly"
    lines = push.text.splitlines()
    assert LINE in lines
    assert LINE.replace("started", "completed") in lines
    assert 'dotflow_workflow_in_progress{mode="sequential",workflow="billing"} 0.0' in lines


def test_runs_share_a_push(receiver: Receiver) -> None:
    """Runs that end while one is pushed share the next push, which has all of them."""
    receiver.may_answer.clear()
    metrics = MetricsPrometheus(
        CollectorRegistry(), push_to=PushGateway(receiver.address, job="nightly")
    )
    run_once(metrics)
    assert receiver.asked.wait(10)
    for _ in range(5):
        run_once(metrics)
    assert not metrics.flush(0.05)
    receiver.may_answer.set()
    assert metrics.flush()
    assert len(receiver.pushes) == 2
    assert LINE.replace("1.0", "6.0") in receiver.pushes[-1].text.splitlines()


def test_a_dead_gateway_does_not_hurt(nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    """A push that fails is logged at first and always counted; the runs know nothing of it."""
    registry = CollectorRegistry()
    metrics = MetricsPrometheus(registry, push_to=PushGateway(nobody, job="nightly"))
    with caplog.at_level(logging.WARNING, "dotflow_otel"):
        for _ in range(3):
            run_once(metrics)
            assert metrics.flush()
    (record,) = own_records(caplog)
    assert f"could not be pushed to '{nobody}'" in record.getMessage()
    labels = {"provider": "MetricsPrometheus", "hook": "push"}
    assert registry.get_sample_value("dotflow_telemetry_errors_total", labels) == 3


def test_a_hanging_gateway_does_not_hold_a_run_up(receiver: Receiver) -> None:
    """A run ends while its push still waits for an answer."""
    receiver.may_answer.clear()
    metrics = MetricsPrometheus(
        CollectorRegistry(), push_to=PushGateway(receiver.address, job="nightly", timeout=20)
    )
    assert run_once(metrics) < 5
    assert receiver.asked.wait(10)
    assert receiver.pushes == []
    receiver.may_answer.set()
    assert metrics.flush()


PROGRAM = """
    import sys
    from dotflow import Config, DotFlow, action
    from dotflow.testing import Recording
    from dotflow_otel import MetricsPrometheus, PushGateway

    @action
    def step(): pass

    gateway = PushGateway(sys.argv[1], job="nightly", timeout=float(sys.argv[2]))
    config = Config(
        metrics=MetricsPrometheus(push_to=gateway), log=Recording().providers["log"]
    )
    flow = DotFlow(config=config, name="billing")
    flow.task.add(step)
    flow.start(mode=sys.argv[3])
"""


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a short job that pushes, and ends at once."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )


@needs_late_threads
@pytest.mark.parametrize("mode", ["sequential", "background", "parallel"])
def test_a_short_job(mode: str, receiver: Receiver) -> None:
    """The exit of a job that ends right after its run waits for the push."""
    done = program(receiver.address, "10", mode)
    assert done.stderr == ""
    assert LINE.replace("sequential", mode) in receiver.pushes[-1].text.splitlines()
    assert 'dotflow_task_completed_total{task="step",workflow="billing"} 1.0' in (
        receiver.pushes[-1].text.splitlines()
    )


def test_exit_is_bounded(receiver: Receiver) -> None:
    """A gateway that does not answer holds the exit up no longer than a push may take."""
    receiver.may_answer.clear()
    began = time.monotonic()
    program(receiver.address, "0.3", "sequential")
    assert time.monotonic() - began < 10
    assert receiver.asked.is_set()
