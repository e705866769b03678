"""What every test starts from."""

from __future__ import annotations

import os

# What a developer's shell sets for programs must not reach the tests, nor what they start.
OURS = ("DOTFLOW_OUTPUT_PATH", "SERVER_BASE_URL", "SERVER_USER_TOKEN", "WORKFLOW_ID")
CARRIED = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")
for name in OURS + CARRIED:
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[name]
