"""Locks at a fork: another thread may hold any of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

HELD = """
import json, os, sys, threading
from held_locks import locks_of

things = json.loads(sys.argv[1])
locks = {}
for name, source in things.items():
    found = {}
    exec(source, found)
    locks[name] = locks_of(found["thing"])
held = threading.Event()

def hold():
    for each in sum(locks.values(), []):
        each.acquire()
    held.set()
    threading.Event().wait(60)

threading.Thread(target=hold, daemon=True).start()
held.wait(60)
there, back = os.pipe()
child = os.fork()
if not child:
    free = {name: [each.acquire(timeout=5) for each in of_it] for name, of_it in locks.items()}
    os.write(back, json.dumps(free).encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(there, 65536).decode())
print(json.dumps({name: [each.acquire(blocking=False) for each in of_it]
    for name, of_it in locks.items()}), flush=True)
os._exit(0)  # the exit of an interpreter would wait for what is held
"""

THINGS = {
    "one of its own": """
from types import SimpleNamespace
from dotflow.core.process import fork_safe_lock
thing = SimpleNamespace(lock=fork_safe_lock())
""",
    "errors": "import dotflow.core.hooks as thing",
    "lists of tasks' errors": "import dotflow.core.model as thing",
    "pickling": "import dotflow.workers.pickling as thing",
    "pools": "import dotflow.workers.usage as thing",
    "an executor": "from dotflow.providers import ExecutorLocal; thing = ExecutorLocal()",
    "a storage": "from dotflow.providers import StorageDefault; thing = StorageDefault()",
    "users of workers": "from dotflow.workers.usage import worker_usage as thing",
    "requests": "import dotflow.providers.delivery as thing",
    "set-up": "import dotflow_otel.sdk.setting_up as thing",
    "what forks are told to": "import dotflow.core.process as thing",
    "Prometheus' series": "import dotflow_otel.metrics.instruments_prometheus as thing",
    "OpenTelemetry's series": "import dotflow_otel.metrics.otel as thing",
    "a file of lines": """
from pathlib import Path
from dotflow_otel.logs.output import LogFile
thing = LogFile(Path("none"))
""",
    "labels": "from dotflow_otel.metrics.instruments import BoundedLabels; thing = BoundedLabels()",
    "a bounded buffer": (
        "from dotflow_otel.relay.buffers import BoundedBuffer; thing = BoundedBuffer()"
    ),
    "buffers": "from dotflow_otel.relay.buffers import BufferRegistry; thing = BufferRegistry()",
    "late spans": "from dotflow_otel.relay.remote_attempt import orphan_spans as thing",
    "what a worker logs": """
from dotflow_otel.relay.log_relay import log_relay_here
thing = log_relay_here()
""",
    "the provider of a worker": """
from dotflow_otel.relay.span_relay import relay_here
thing = relay_here()
""",
    "pushes": """
from prometheus_client import CollectorRegistry
from dotflow_otel import PushGateway
from dotflow_otel.metrics.push import PushAtEnd
thing = PushAtEnd(PushGateway("localhost:9", "job"), CollectorRegistry(), print)
""",
}


def test_a_lock_is_free_in_a_forked_child() -> None:
    """A lock that another thread holds at a fork is free in the child, and held in the parent."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", HELD, json.dumps(THINGS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    in_child, in_parent = map(json.loads, done.stdout.splitlines())
    assert list(in_child) == list(THINGS)
    for name in THINGS:
        assert in_child[name], name  # it has a lock
        assert set(in_child[name]) == {True}, name
        assert set(in_parent[name]) == {False}, name
