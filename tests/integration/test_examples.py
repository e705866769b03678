"""Every example runs as a newcomer would run it, and shows what it promises."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

PRINTED = {
    "first.py": "[[12.8, 10.6, 11.7], 11.7]\n",
    "parallel.py": "2012 366\n2013 365\n2014 365\n2015 365\n",
    "resume.py": (
        "reading orders\n"
        "['Completed', 'Failed']\n"
        "['Completed', 'Completed']\n"
        "[[10, 20, 30], [9.0, 18.0, 27.0]]\n"
    ),
}


def run(name: str, folder: Path, *arguments: str, **variables: str) -> str:
    """Run an example in a folder; give what it prints."""
    # A collector of the developer's must get no spans of tests.
    ours = {"PYTHONPATH": str(ROOT), "OTEL_TRACES_EXPORTER": "none", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        cwd=folder,
        env={**os.environ, **ours, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", PRINTED)
def test_example_prints(name: str, tmp_path: Path) -> None:
    """An example prints exactly what it is said to."""
    assert run(name, tmp_path) == PRINTED[name]


def test_telemetry_example(tmp_path: Path) -> None:
    """The metrics that the example fetched over HTTP tell of its one task."""
    expected = 'dotflow_task_completed_total{task="charge",workflow="billing"} 1.0'
    assert expected in run("telemetry.py", tmp_path).splitlines()


def test_cluster_example(tmp_path: Path) -> None:
    """The workflow runs on a Dask cluster, its own spans are in the trace, and nothing is left."""
    lines = run("cluster.py", tmp_path, TMPDIR=str(tmp_path)).splitlines()
    assert lines[:7] == [
        "10000 primes 1229",
        "10000 density 0.1229",
        "100000 primes 9592",
        "100000 density 0.0959",
        "1000000 primes 78498",
        "1000000 density 0.0785",
        "dotflow_task_completed_total 6.0",
    ]
    names = [" ".join(line.split()[1:3]) for line in lines[7:]]
    chain = ["task primes", "attempt #1", "sieve", "task density", "attempt #1"]
    assert [re.sub(" [0-9.]+$", "", name) for name in names] == ["workflow primes", *chain * 3]
    # Dask keeps a folder there for its workers' files.
    assert [path.name for path in tmp_path.iterdir() if path.name != "dask-scratch-space"] == []


@pytest.mark.parametrize(
    ("number", "started"), [(signal.SIGINT, 3), (signal.SIGTERM, 1), (signal.SIGTERM, 2)]
)
def test_cluster_example_ends_its_processes(number: int, started: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM leave none of them, also while they are being started."""
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "cluster.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as example:
        until = time.monotonic() + 30
        while len(psutil.Process(example.pid).children()) < started:
            assert time.monotonic() < until
        example.send_signal(number)
        assert example.wait(60) != 0
    left = [each for each in psutil.process_iter(["cmdline"]) if _names(each, tmp_path)]
    for process in left:
        process.kill()
    assert left == []


def _names(process: psutil.Process, folder: Path) -> bool:
    # Each of them was told of a file in there.
    return str(folder) in " ".join(process.info["cmdline"] or ())


@pytest.fixture(scope="module")
def weather(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Run the demo once, for all tests of it."""
    folder = tmp_path_factory.mktemp("weather")
    return run("weather.py", folder, str(folder)), folder


def test_demo_reads_all_days(weather: tuple[str, Path]) -> None:
    """All 1,461 days are kept and 48 months end in the database, their days all told."""
    output, folder = weather
    assert output.startswith("1,461 days kept, 0 rows rejected.")
    with closing(sqlite3.connect(folder / "weather.db")) as connection:
        months = connection.execute("SELECT count(*), sum(days) FROM months")
        assert months.fetchone() == (48, 1461)


def test_demo_shows_the_waterfall(weather: tuple[str, Path]) -> None:
    """The trace has both runs, their tasks, a step's own span and the two failed attempts."""
    output, _ = weather
    names = [line.strip() for line in output.splitlines()]
    for name in ("workflow weather", "workflow months", "task load", "insert months"):
        assert sum(line.startswith(name) for line in names) == 1, name
    assert sum(line.startswith("task by_month") for line in names) == 4
    assert sum(bool(re.match(r"attempt \d failed", line)) for line in names) == 2


def test_demo_shows_metrics_and_logs(weather: tuple[str, Path]) -> None:
    """Metrics come from a real endpoint on loopback; logs carry the trace's id."""
    output, _ = weather
    assert re.search(r"GET http://127\.0\.0\.1:\d+/metrics", output)
    assert 'dotflow_workflow_completed_total{mode="sequential",workflow="weather"} 1.0' in output
    (trace,) = re.findall(r"^Trace  ([0-9a-f]{32}),", output, re.MULTILINE)
    assert output.count(f'trace_id="{trace}"') >= 3
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make demo" in output


def test_demo_fits_a_narrow_terminal(weather: tuple[str, Path]) -> None:
    """No line is wider than a terminal of 80 columns, and none carries colours into a pipe."""
    output, _ = weather
    assert [line for line in output.splitlines() if len(line) > 80] == []
    assert "\x1b" not in output


def test_demo_can_be_repeated(weather: tuple[str, Path]) -> None:
    """A second run in the same folder does the same again, also where only ASCII can be shown."""
    _, folder = weather
    again = run("weather.py", folder, str(folder), PYTHONIOENCODING="ascii")
    assert again.startswith("1,461 days kept, 0 rows rejected.")
    assert len(re.findall(r"attempt \d failed .* =", again)) == 2
    assert "?" not in again


def test_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    """Without an argument nothing is left; without the SDK it says why there is no trace."""
    output = run("weather.py", tmp_path, TMPDIR=str(tmp_path), OTEL_SDK_DISABLED="true")
    assert "no span was recorded" in output
    assert 'dotflow_workflow_completed_total{mode="sequential",workflow="weather"} 1.0' in output
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector that takes OTLP over HTTP: where it listens, and what it got."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_demo_reaches_jaeger(
    tmp_path: Path, collector: tuple[str, list[ExportTraceServiceRequest]]
) -> None:
    """With the endpoint that the demo names set, the trace that it shows arrives there whole."""
    endpoint, received = collector
    output = run(
        "weather.py",
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        OTEL_TRACES_EXPORTER="",
        NO_PROXY="127.0.0.1",
    )
    assert f"The trace is sent to {endpoint}." in output
    (shown,) = re.findall(r"^Trace  ([0-9a-f]{32}),", output, re.MULTILINE)
    resources = [spans for request in received for spans in request.resource_spans]
    spans = [span for each in resources for scope in each.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {shown}
    assert {_attribute(each.resource, "service.name") for each in resources} == {"weather"}
    names = [span.name for span in spans]
    assert names.count("workflow weather") == names.count("insert months") == 1
    assert names.count("task by_month") == names.count("task share_of_year") == 4
    assert len({span.span_id for span in spans}) == len(spans)


def _attribute(resource: Any, key: str) -> str:
    (value,) = [each.value.string_value for each in resource.attributes if each.key == key]
    return str(value)


ROW = {
    "date": "2012/01/01",
    "precipitation": "0.0",
    "temp_max": "12.8",
    "temp_min": "5.0",
    "wind": "4.7",
    "weather": "drizzle",
}


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Any]:
    """The demo as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        spec = importlib.util.spec_from_file_location("weather", EXAMPLES / "weather.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"date": "2012/02/30"}, "day is out of range for month"),
        ({"precipitation": ""}, "could not convert string to float: ''"),
        ({"precipitation": "-1"}, "-1.0 mm of rain"),
        ({"temp_max": "4.9"}, "lowest 5.0 above highest 4.9"),
        ({"temp_max": "nan"}, "lowest 5.0 above highest nan"),
        ({"temp_max": "99"}, "5.0 to 99.0 degrees"),
        ({"wind": "inf"}, "wind of inf m/s"),
        ({"weather": "hail"}, "unknown weather 'hail'"),
    ],
)
def test_bad_row_is_rejected(pipeline: Any, change: dict[str, str], reason: str) -> None:
    """A row that cannot be right is left out, with its line and the reason."""
    checked = pipeline.check([{**ROW, **change}])
    assert checked.days == []
    (rejected,) = checked.rejected
    assert rejected.startswith("line 2: ")
    assert reason in rejected


def test_doubtful_days_are_kept_and_counted(pipeline: Any) -> None:
    """A second row of one date is rejected; contradictions and gaps are counted."""
    rows = [
        ROW,
        {**ROW, "weather": "sun"},
        {**ROW, "date": "2012/01/03", "weather": "sun", "precipitation": "2.5"},
    ]
    checked = pipeline.check(rows)
    assert [day.date for day in checked.days] == [date(2012, 1, 1), date(2012, 1, 3)]
    assert checked.rejected == ["line 3: its date occurs twice"]
    assert checked.doubtful == {"sun, and rain fell": 1, "a gap in the dates": 1}
