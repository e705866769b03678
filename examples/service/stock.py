"""The service that `app.py` calls: uvicorn stock:app."""

from __future__ import annotations

import asyncio
import os

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from dotflow.signals import exit_on_sigterm
from dotflow_otel import setup

setup("stock")
exit_on_sigterm()
app = FastAPI()
FastAPIInstrumentor.instrument_app(app)


@app.post("/stock/{article}")
async def take(article: str) -> dict[str, int]:
    """Take one of an article from the stock."""
    await asyncio.sleep(float(os.environ.get("STOCK_SECONDS", "0")))
    return {"left": len(article)}
