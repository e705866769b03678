"""A run that fails, and one that goes on where it stopped."""

import tempfile
from pathlib import Path

from dotflow import Config, Context, DotFlow, action
from dotflow.providers import StorageFile

temporary = tempfile.TemporaryDirectory(prefix="resume-")
folder = Path(temporary.name)
rates = folder / "rates.txt"


@action
def orders() -> list[int]:
    """Read what was ordered: the slow part, not to be done twice."""
    print("reading orders")
    return [10, 20, 30]


@action
def in_euro(previous_context: Context) -> list[float]:
    """Convert; fails while there is no rate."""
    rate = float(rates.read_text())
    return [order * rate for order in previous_context.storage]


def nightly() -> DotFlow:
    """Build the workflow, as each process would that runs it."""
    config = Config(storage=StorageFile(path=folder))
    flow = DotFlow(config=config, workflow_id="nightly")
    flow.task.add([orders, in_euro])
    return flow


flow = nightly()
flow.start(resume=True)
print([task.status for task in flow.result_task()])

rates.write_text("0.9")

flow = nightly()
flow.start(resume=True)
print([task.status for task in flow.result_task()])
print(flow.result_storage())
temporary.cleanup()
