"""What every test starts from."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from figures import Figures, total

if TYPE_CHECKING:
    from collections.abc import Generator

    from _pytest.terminal import TerminalReporter

# What a developer's shell sets for programs must not reach the tests, nor what they start.
OURS = (
    "DOTFLOW_HISTORY",
    "DOTFLOW_OUTPUT_PATH",
    "SERVER_BASE_URL",
    "SERVER_USER_TOKEN",
    "WORKFLOW_ID",
)
CARRIED = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")
for name in OURS + CARRIED:
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[name]

# A script's background jobs ignore this signal, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TESTS: Final = Path(__file__).parent

# The markers of pyproject.toml, by the folders and files whose tests have them.
MARKED: Final = {
    "backends": ("backends",),
    "dask": (
        "contract/test_executor_dask.py",
        "contract/test_executor_dask_losses.py",
        "contract/test_executor_refusals.py",
        "unit/test_dask_once.py",
        "unit/test_dask_silence.py",
    ),
    # Quick one by one, but many that start programs and workers.
    "programs": (
        "contract/test_command_line_history.py",
        "contract/test_odd_objects.py",
        "contract/test_started_by_import.py",
        "contract/test_ways_to_run.py",
        "integration/test_history.py",
        "integration/test_multiprocess.py",
        "integration/test_pytest_plugin.py",
        "integration/test_relay_live.py",
        "integration/test_relay_pacing.py",
        "integration/test_telemetry_deferred.py",
        "integration/test_worker_metrics.py",
        "typing",
        "unit/otel/test_odd_records.py",
    ),
    "slow": (
        "backends/test_schedule_example.py",
        "benchmarks",
        "contract/test_flow_control.py",
        "contract/test_nested_runs_between.py",
        "faults",
        "integration/test_clocks.py",
        "integration/test_command_line.py",
        "integration/test_command_line_history.py",
        "integration/test_command_line_recover.py",
        "integration/test_examples.py",
        "integration/test_history_commands.py",
        "integration/test_history_lost.py",
        "integration/test_ledger.py",
        "integration/test_pages.py",
        "integration/test_progress.py",
        "integration/test_readme.py",
        "integration/test_telemetry_setup.py",
        "unit/test_waiting_threads.py",
        "wire",
    ),
}

# Workers and programs that tests start are measured for coverage too where they run what the
# tests' own process does not. That takes time, so it is not done elsewhere; nor where a test is
# about what a program imports.
MEASURED: Final = ("integration", "unit/otel")
UNMEASURED: Final = (
    "integration/test_command_line.py",
    "integration/test_examples.py",
    "integration/test_history.py",
    "integration/test_ledger.py",
    "integration/test_pages.py",
    "integration/test_progress.py",
    "integration/test_readme.py",
    "unit/otel/test_log.py",
)
# What coverage starts itself by in a new interpreter.
COVERAGE: Final = "COVERAGE_PROCESS_CONFIG"
_coverage: Final[list[str]] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have the processes that a test starts measured, or not."""
    if not _coverage and COVERAGE in os.environ:
        _coverage.append(os.environ[COVERAGE])
    for config in _coverage:
        if _is_in(item.path, MEASURED) and not _is_in(item.path, UNMEASURED):
            os.environ[COVERAGE] = config
        else:
            os.environ.pop(COVERAGE, None)


def _is_in(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(TESTS / place) for place in places)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the file that it is in, and what needs Dask by its executor."""
    for item in items:
        for marker, places in MARKED.items():
            if _is_in(item.path, places):
                item.add_marker(marker)
        if _executor(item).startswith("dask"):
            item.add_marker("dask")


def _executor(item: pytest.Item) -> str:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return str(parameters.get("executor", ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let reports leave a process of several: what tests log may be no UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """Return what counts the figures of a test; the end of the run shows their sums."""
    return Figures(request.node.user_properties)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the figures of the tests of faults."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if isinstance(report, pytest.TestReport) and report.when == "call"
    ]
    sums = total(reports)
    if sums:
        terminalreporter.section("figures of the fault tests")
        for name, count in sums.items():
            terminalreporter.line(f"{name + ':':24}{count:>9,}")
