"""A schedule that survives restarts: at each tick, what was ordered is billed.

    python examples/schedule/billing.py FOLDER

FOLDER/orders holds files of JSON, an order in each; the bills go to FOLDER/bills. The environment
says the rest: `CRON` when, `OVERLAP` what becomes of a tick that comes during a run, `PRICES`
where the prices are, `METRICS` where Prometheus finds the metrics.
The exit code is 143 where it was terminated, and 130 after Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from dotflow import Context, DotFlow, action
from dotflow.providers import SchedulerCron, StorageFile
from dotflow_otel import observe, serve_metrics

Order = dict[str, Any]


@action
def collect(initial_context: Context) -> list[Order]:
    """Read what was ordered: what comes later is for the next run."""
    paths = sorted(Path(initial_context.storage, "orders").glob("*.json"))
    return [{"order": path.name, **json.loads(path.read_text())} for path in paths]


@action(retry=2, retry_delay=0.1, timeout=60)
def price(previous_context: Context) -> list[Order]:
    """Ask for the prices, and add up what is due."""
    with urlopen(os.environ["PRICES"]) as answer:  # noqa: S310 - a URL of our own
        prices = json.load(answer)
    orders = previous_context.storage
    return [{**order, "due": prices[order["article"]] * order["count"]} for order in orders]


@action
def bill(previous_context: Context, initial_context: Context) -> int:
    """Write the bills. One is named as its order, so that a step run twice writes it once."""
    folder = Path(initial_context.storage)
    (folder / "bills").mkdir(exist_ok=True)
    for order in previous_context.storage:
        (folder / "bills" / order["order"]).write_text(json.dumps(order))
        (folder / "orders" / order["order"]).unlink(missing_ok=True)
    return len(previous_context.storage)


def main(folder: Path) -> int:
    """Bill at each tick, until the process is told to end; return its exit code."""
    scheduler = SchedulerCron(
        os.environ.get("CRON", "*/15 * * * *"), overlap=os.environ.get("OVERLAP", "skip")
    )
    # The checkpoints are for the next process, if this one is killed; the history is for whoever
    # wants to know what the killed one did: the next process sends its spans.
    config = observe(
        service_name="billing",
        scheduler=scheduler,
        storage=StorageFile(path=folder / "checkpoints"),
        history=folder / "history.db",
    )
    # The id is the same in every process: by it a run finds the checkpoints of the one before.
    flow = DotFlow(config=config, workflow_id="billing", name="billing")
    flow.task.add([collect, price, bill], initial_context=str(folder))
    host, _, port = os.environ.get("METRICS", "127.0.0.1:9464").rpartition(":")
    with serve_metrics(int(port), host) as server:
        print(f"bills at {scheduler.cron}, metrics at {server.url}", flush=True)
        # SIGTERM and Ctrl-C end it here, once the run that goes on has ended.
        flow.schedule(resume=True)
    return 128 + (scheduler.stopped_by or 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
