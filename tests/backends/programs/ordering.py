"""Clients of `examples/service`: they order at a steady rate, then much at once.

    python ordering.py URL RATE SECONDS BURST

RATE is in requests a second. It prints how often each status came, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack
from itertools import cycle

import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from dotflow_otel import setup

CLIENTS = 4  # each has connections of its own


async def main(url: str, rate: float, seconds: float, burst: int) -> None:
    """Send all requests, each in its time, whatever becomes of those before."""
    async with AsyncExitStack() as entered, asyncio.TaskGroup() as sending:
        made = [httpx.AsyncClient(base_url=url, timeout=30) for _ in range(CLIENTS)]
        clients = cycle([await entered.enter_async_context(client) for client in made])

        def order() -> asyncio.Task[httpx.Response]:
            return sending.create_task(next(clients).post("/orders/apples"))

        sent = []
        for _ in range(round(rate * seconds)):
            sent.append(order())
            await asyncio.sleep(1 / rate)
        sent += [order() for _ in range(burst)]
        answers = await asyncio.gather(*sent)
    print(json.dumps(Counter(answer.status_code for answer in answers)))


if __name__ == "__main__":
    setup("client")
    HTTPXClientInstrumentor().instrument()
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
