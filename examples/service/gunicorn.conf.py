"""Settings of gunicorn: two workers, whose metrics any of them shows, and an end in order."""

from __future__ import annotations

import gc
import os
from typing import Any

from dotflow.signals import exit_on_sigterm
from dotflow_otel import worker_exited

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = 2
worker_class = "uvicorn.workers.UvicornWorker"
preload_app = os.environ.get("PRELOAD") == "1"
# At SIGTERM a worker takes no further request, ends those that it has, waits for the workflows that
# go on, and delivers its telemetry. Whoever sends the signal has to wait for longer than this.
graceful_timeout = 30


def post_worker_init(_worker: Any) -> None:
    """Have a worker end by an exit, and its event loop not be held up by the garbage collector."""
    # uvicorn, when it has shut down, raises the signal once more.
    exit_on_sigterm()
    # What was imported is no garbage. To look through all of it takes 50 ms, in which no thread of
    # the worker does anything else: from now on it is left out.
    gc.collect()
    gc.freeze()


def child_exit(_server: Any, worker: Any) -> None:
    """Keep what a worker has counted, and forget what it had in progress."""
    worker_exited(worker.pid)
