"""The service of `examples/service`, whose event loops tell for how long they were held up.

    gunicorn --config gunicorn.conf.py beating:app

Each worker writes a file of JSON into the folder `BEATS` when it ends: the attributes of `Heart`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from app import app as served

BEAT = 0.005  # seconds


class Heart:
    """Beats in an event loop: for as long as a beat comes late, nothing else could run there.

    Attributes:
        beats: How often it has beaten.
        held: By how many seconds the latest of all beats came late.
        computed: For how many of these the loop's own thread had computed.
    """

    def __init__(self) -> None:
        self.beats = 0
        self.held = 0.0
        self.computed = 0.0

    async def beat(self) -> None:
        """Beat until cancelled."""
        while True:
            before, computed = time.monotonic(), time.thread_time()
            await asyncio.sleep(BEAT)
            held = time.monotonic() - before - BEAT
            self.beats += 1
            if held > self.held:
                self.held, self.computed = held, time.thread_time() - computed

    def tell(self) -> None:
        """Write the file of this process."""
        Path(os.environ["BEATS"], f"{os.getpid()}.json").write_text(json.dumps(vars(self)))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve, and have a heart beat from the start to the shutdown."""
    if scope["type"] != "lifespan":
        await served(scope, receive, send)
        return
    heart = Heart()
    beating = asyncio.create_task(heart.beat())
    await served(scope, receive, send)
    beating.cancel()
    with suppress(asyncio.CancelledError):
        await beating
    heart.tell()
