"""The service of `examples/service` under gunicorn, with a real Prometheus and OTLP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.request import Request, urlopen

import pytest
from backends.prometheus import Prometheus
from backends.service import PROGRAMS, ROOT
from backends.waiting import eventually
from wire.receivers import OwnReceiver
from wire.spans import Node, roots, string

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE: Final = ROOT / "examples" / "service"
LISTENS: Final = re.compile(r"(?:Listening at: |Uvicorn running on )(http://\S+)")
ORDERS: Final = 40
TREE: Final = (
    "POST /orders/{article}",
    [
        (
            "workflow orders",
            [
                ("task reserve", [("attempt", [("POST", ["POST /stock/{article}"])])]),
                "task confirm",
            ],
        )
    ],
)


class Ending:
    """Asks a server to end, once: while the interpreter ends, a second SIGTERM would kill it.

    Args:
        process: The server.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._is_asked = False

    def ask(self) -> None:
        """Send SIGTERM, unless that was done."""
        if not self._is_asked:
            self._is_asked = True
            self._process.send_signal(signal.SIGTERM)


@contextmanager
def running(
    command: list[str], log: Path, *, urgent: bool = False, **variables: str
) -> Iterator[tuple[str, Ending]]:
    """Run a server; return its address, and what ends it by SIGTERM, in order, at the latest here.

    Args:
        command: What is run, as a module of Python.
        log: Where its output goes.
        urgent: Whether it has the processors before all others of this machine, where it may.
        **variables: What is added to its environment.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", *command],
            cwd=SERVICE,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{PROGRAMS}", **variables},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        if urgent:
            with suppress(PermissionError):
                os.sched_setscheduler(process.pid, os.SCHED_RR, os.sched_param(1))
        found = eventually(lambda: LISTENS.search(log.read_text()), f"{command[0]} to listen")
        ending = Ending(process)
        yield found[1], ending
        ending.ask()
        assert process.wait(40) in {0, 143}, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


class Shop:
    """The service with what is around it.

    Args:
        url: Its address.
        ending: Ends gunicorn's master.
        receiver: Where its telemetry goes.
        sent: The variables by which a program sends its own there.
    """

    def __init__(
        self, url: str, ending: Ending, receiver: OwnReceiver, sent: dict[str, str]
    ) -> None:
        self.url = url
        self.ending = ending
        self.receiver = receiver
        self.sent = sent
        self._ordered = 0

    def end(self) -> None:
        """End the service by SIGTERM, and wait until it takes no requests."""
        self.ending.ask()
        eventually(lambda: not _answers(self.url), "the service to end")

    def order(self) -> str:
        """Order something, as a client with a trace of its own; return the id of the trace."""
        self._ordered += 1
        trace = f"{self._ordered:032x}"
        request = Request(f"{self.url}/orders/apples", method="POST")  # noqa: S310 - http
        request.add_header("traceparent", f"00-{trace}-{7:016x}-01")
        with urlopen(request, timeout=20) as answer:  # noqa: S310
            assert answer.status == 202
        return trace


@contextmanager
def shop(
    folder: Path, preload: str, stock_seconds: str = "0", *, beats: Path | None = None
) -> Iterator[Shop]:
    """Run both services.

    Args:
        folder: Where their files go.
        preload: Whether the program is imported before the fork: `1` or `0`.
        stock_seconds: How long the second service takes.
        beats: Where the workers tell for how long their event loops were held up: by what they
            do themselves, as they have the processors first.
    """
    (folder / "metrics").mkdir()
    with OwnReceiver() as receiver:
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint("http/protobuf")}
        stock = ["uvicorn", "stock:app", "--port", "0"]
        with running(stock, folder / "stock.log", STOCK_SECONDS=stock_seconds, **sent) as (
            stock_url,
            _,
        ):
            ours = {
                "BIND": "127.0.0.1:0",
                "PRELOAD": preload,
                "STOCK_URL": stock_url,
                "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
                "BEATS": str(beats),
            }
            program = "app:app" if beats is None else "beating:app"
            command = ["gunicorn", "--config", "gunicorn.conf.py", program]
            urgent = beats is not None
            with running(command, folder / "orders.log", urgent=urgent, **ours, **sent) as (
                url,
                ending,
            ):
                eventually(lambda: _answers(url), "the service to answer")
                yield Shop(url, ending, receiver, sent)


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def trees(nodes: list[Node]) -> dict[str, object]:
    """Return the outline of each order by its trace, without the messages of single requests."""
    return {node.span.trace_id.hex(): _outline(node) for node in nodes if _is_order(node)}


def whole(service: Shop, traces: list[str]) -> list[Node]:
    """Wait until each order is one whole trace, and nothing else has come; return their roots."""
    expected = dict.fromkeys(traces, TREE)
    requests: list[Any] = []
    nodes: list[Node] = []

    def are_there() -> bool:
        # The two services send when they do.
        requests.extend(service.receiver.take().traces)
        nodes[:] = roots(requests)
        return trees(nodes) == expected

    eventually(are_there, "whole traces")
    assert len(nodes) == len(traces)
    return nodes


def _is_order(node: Node) -> bool:
    return node.name == "POST /orders/{article}"


def _outline(node: Node) -> object:
    below = [
        _outline(each) for each in node.children if not each.name.endswith((" send", " receive"))
    ]
    return (node.name, below) if below else node.name


@pytest.mark.parametrize("preload", ["0", "1"])
def test_orders(preload: str, tmp_path: Path) -> None:
    """Each order is one trace through both services; Prometheus has the sum of both workers."""
    with (
        Prometheus(tmp_path / "prometheus") as prometheus,
        shop(tmp_path, preload) as service,
    ):
        prometheus.scrape(f"{service.url}/metrics", "orders")
        traces = [service.order() for _ in range(ORDERS)]
        for name in ("started", "completed"):
            prometheus.awaited(f"sum(dotflow_workflow_{name}_total) == {ORDERS}")
        prometheus.awaited("sum(dotflow_workflow_in_progress) == 0")
        assert len(prometheus.query("dotflow_workflow_completed_total")) == 1
        service.end()
        nodes = whole(service, traces)
    services = {
        (node.name, node.resource["service.name"])
        for root in nodes
        for node in root.walk()
        if node.name in {"workflow orders", "POST /stock/{article}"}
    }
    assert services == {
        ("workflow orders", string("orders")),
        ("POST /stock/{article}", string("stock")),
    }


@pytest.mark.parametrize("preload", ["0", "1"])
def test_a_restart_loses_nothing(preload: str, tmp_path: Path) -> None:
    """Workflows that go on at SIGTERM end, and their traces are whole."""
    with shop(tmp_path, preload, stock_seconds="1.5") as service:
        traces = [service.order() for _ in range(4)]
        service.ending.ask()
        whole(service, traces)


# 500 requests a minute for a while, then so many more at once.
RATE, SECONDS, BURST = 8.4, 15, 50
# For how many seconds the event loop of a worker may be held up.
HELD: Final = 0.05


@pytest.mark.slow
def test_500_requests_a_minute(tmp_path: Path) -> None:
    """Each has its whole trace, from the client's span on; none fails, none holds a loop up.

    How late an event loop comes to what is due there is measured in the workers, by the clock, from
    their start to their shutdown. They have the processors before all other processes, if the test
    may arrange that (as root), so that it is what the workers do themselves which counts: they
    wait for one another and for their own threads, but not for other tests.
    """
    beats = tmp_path / "beats"
    beats.mkdir()
    ordered = round(RATE * SECONDS) + BURST
    with shop(tmp_path, "0", beats=beats) as service:
        clients = subprocess.run(
            [
                *(sys.executable, PROGRAMS / "ordering.py", service.url),
                *(str(RATE), str(SECONDS), str(BURST)),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), **service.sent},
            stdout=subprocess.PIPE,
            timeout=120,
            check=True,
        )
        assert json.loads(clients.stdout) == {"202": ordered}
        service.end()
        requests: list[Any] = []

        def are_there() -> bool:
            requests.extend(service.receiver.take().traces)
            return [_outline(root) for root in roots(requests)] == [("POST", [TREE])] * ordered

        eventually(are_there, "whole traces")
    hearts = [json.loads(file.read_text()) for file in beats.iterdir()]
    assert len(hearts) == 2
    for heart in hearts:
        print(
            f"an event loop was held up for {heart['held'] * 1000:.1f} ms at most, of which its"
            f" thread computed {heart['computed'] * 1000:.1f} ms; {heart['beats']} beats"
        )
        assert heart["beats"] > SECONDS
        assert heart["held"] < HELD
