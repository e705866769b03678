"""Locks at a fork: another thread may hold any of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HELD = """
import os, sys, threading
{made}
held, ended = threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        ended.wait(60)

threading.Thread(target=hold, daemon=True).start()
held.wait(60)
child = os.fork()
if not child:
    os._exit(0 if lock.acquire(timeout=5) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(lock.acquire(blocking=False))
ended.set()
"""

MADE = {
    "one of its own": """
from dotflow.core.process import fork_safe_lock
lock = fork_safe_lock()
""",
    "errors": "from dotflow.core.hooks import _reporting as lock",
    "lists of tasks' errors": "from dotflow.core.model import _making as lock",
    "pickling": "from dotflow.workers.pickling import _by_value_lock as lock",
    "pools": "from dotflow.workers.usage import _lock as lock",
    "an executor": """
from dotflow.providers import ExecutorLocal
lock = ExecutorLocal()._lock
""",
    "a storage": """
from dotflow.providers import StorageDefault
lock = StorageDefault()._lock
""",
    "users of workers": """
from dotflow.workers.usage import worker_usage
lock = worker_usage._lock
""",
    "requests": "from dotflow.providers.delivery import _all_lock as lock",
    "set-up": "from dotflow_otel.sdk.setting_up import _lock as lock",
    "what forks are told to": "from dotflow_otel._process import _lock as lock",
    "Prometheus' series": "from dotflow_otel.metrics.instruments_prometheus import _lock as lock",
    "OpenTelemetry's series": "from dotflow_otel.metrics.otel import _lock as lock",
    "a file of lines": """
from pathlib import Path
from dotflow_otel.logs.output import _LogFile
lock = _LogFile(Path("none"))._lock
""",
    "labels": """
from dotflow_otel.metrics.instruments import BoundedLabels
lock = BoundedLabels()._lock
""",
    "a backlog": """
from dotflow_otel.relay.buffers import Backlog
lock = Backlog()._lock
""",
    "boxes": """
from dotflow_otel.relay.buffers import Boxes
lock = Boxes()._lock
""",
    "late spans": """
from dotflow_otel.relay.remote_attempt import latecomers
lock = latecomers._lock
""",
    "what a worker logs": """
from dotflow_otel.relay.log_relay import log_relay_here
lock = log_relay_here()._lock
""",
    "the provider of a worker": """
from dotflow_otel.relay.span_relay import relay_here
lock = relay_here()._looking
""",
    "pushes": """
from prometheus_client import CollectorRegistry
from dotflow_otel import PushGateway
from dotflow_otel.metrics.push import PushAtEnd
pushing = PushAtEnd(PushGateway("localhost:9", "job"), CollectorRegistry(), print)
lock = pushing._changed
""",
}


@pytest.mark.parametrize("name", MADE)
def test_a_lock_is_free_in_a_forked_child(name: str) -> None:
    """A lock that another thread holds at a fork is free in the child, and held in the parent."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HELD.format(made=MADE[name])],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("0\nFalse\n", "")
