"""A web service: a request starts a workflow in the background, whose step calls another service.

    gunicorn --config gunicorn.conf.py app:app

`STOCK_URL` is the address of the other service, `stock.py`.
"""

from __future__ import annotations

import os
from typing import Any

import httpx
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from dotflow import Context, DotFlow, action
from dotflow_otel import metrics_app, observe

# Under `preload_app` this is done once, before the workers are forked: each of these has its own
# threads to export with, its own `service.instance.id`, and counts from nothing.
CONFIG = observe(service_name="orders")

app = FastAPI()
app.mount("/metrics", metrics_app())
FastAPIInstrumentor.instrument_app(app, excluded_urls="metrics")
HTTPXClientInstrumentor().instrument()

# One for all steps, in whatever thread: each client that is made reads the system's certificates,
# which takes 20 ms of a processor. It connects when it is first used, so after the fork.
STOCK = httpx.Client(base_url=os.environ["STOCK_URL"], timeout=5)


@action(retry=2, retry_delay=0.1, timeout=10)
def reserve(initial_context: Context) -> int:
    """Ask the other service for what was ordered: the trace goes along in the request."""
    article = initial_context.storage
    answer = STOCK.post(f"/stock/{article}")
    return int(answer.raise_for_status().json()["left"])


@action
def confirm(previous_context: Context) -> str:
    """Tell how much is left."""
    return f"{previous_context.storage} left"


@app.post("/orders/{article}", status_code=202)
async def order(article: str) -> dict[str, Any]:
    """Start the workflow and answer at once: it goes on in a thread of its own."""
    flow = DotFlow(config=CONFIG, name="orders")
    flow.task.add([reserve, confirm], initial_context=article)
    await flow.start_async(mode="background")
    return {"workflow_id": str(flow.workflow_id)}
