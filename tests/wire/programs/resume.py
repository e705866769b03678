"""A user's program: a workflow with checkpoints in a folder, that completes once it may.

Takes the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dotflow import DotFlow, action
from dotflow.providers import StorageFile
from dotflow_otel import observe

folder = Path(sys.argv[1])


@action
def read() -> int:
    """Succeed."""
    return 7


@action
def load() -> None:
    """Fail until there is a table."""
    if not (folder / "table").exists():
        raise LookupError("no such table")


config = observe(service_name="shop", level="ERROR", storage=StorageFile(path=folder))
flow = DotFlow(config=config, workflow_id="nightly", name="nightly")
flow.task.add([read, load])
flow.start(resume=True)
