"""For pytest: the fixture `telemetry`.

Every run of pytest imports this, so nothing else is imported before the fixture is used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from dotflow_otel.testing import RecordedTelemetry


@pytest.fixture
def telemetry() -> Iterator[RecordedTelemetry]:
    """Record spans, metrics and log events of runs with `telemetry.config`."""
    from dotflow_otel import record_telemetry  # noqa: PLC0415 - see above

    with record_telemetry() as recorded:
        yield recorded


# The old style of wrapper: whoever has an older pytest must not be kept from starting it.
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - the signature of the hook
) -> Generator[None, Any, None]:
    """Show the recorded spans of a test that failed."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when == "call" and report.failed:
        recorded = _recorded(getattr(item, "funcargs", {}).get("telemetry"))
        if recorded:
            report.sections.append(("Recorded spans", recorded))


def _recorded(value: object) -> str:
    # Another fixture may have the name; without the module it is another one.
    testing = sys.modules.get("dotflow_otel.testing")
    if testing is None or not isinstance(value, testing.RecordedTelemetry):
        return ""
    return str(value.waterfall())
