"""What dotflow itself sends makes no spans: their URLs may hold a token."""

from __future__ import annotations

import subprocess
import sys

from opentelemetry import context
from opentelemetry.context import get_value

from dotflow.providers.delivery import Delivery
from dotflow.providers.server_endpoint import Request
from dotflow_otel.untraced import untraced

PLAIN = "suppress_instrumentation"
LONG = 10.0


def suppressed() -> list[object]:
    """What instrumentations of HTTP clients ask for, by either name."""
    return [get_value(PLAIN), get_value(context._SUPPRESS_INSTRUMENTATION_KEY)]  # noqa: SLF001


def test_instrumentations_are_suppressed_within() -> None:
    """Both keys that instrumentations know are set within, and only there."""
    assert suppressed() == [None, None]
    with untraced():
        assert suppressed() == [True, True]
    assert suppressed() == [None, None]


def test_deliveries_are_untraced() -> None:
    """Everything that the core sends in the background is sent that way, by the entry point."""
    found: list[object] = []
    delivery: Delivery[Request] = Delivery(lambda _: found.extend(suppressed()))
    delivery.put(Request("POST", (), b""))
    assert delivery.flush(LONG)
    assert found == [True, True]


def test_opentelemetry_is_not_imported_for_it() -> None:
    """Where nobody has imported OpenTelemetry, nobody makes a span, and it stays so."""
    code = (
        "import sys\n"
        "from dotflow_otel.untraced import untraced\n"
        "with untraced():\n"
        "    pass\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
