"""A service that says nothing of telemetry: a request runs a workflow that calls it again."""

from __future__ import annotations

import socket
import sys
from threading import Thread

import httpx
import uvicorn
from fastapi import FastAPI

from dotflow import Context, DotFlow, action

MODE = sys.argv[1]

app = FastAPI()


@action
def fetch(initial_context: Context) -> int:
    """Ask the service how much is left."""
    return int(httpx.get(initial_context.storage).json()["left"])


@app.get("/orders")
def orders() -> dict[str, int]:
    """Run the workflow."""
    flow = DotFlow(name="orders")
    flow.task.add(fetch, initial_context=f"http://127.0.0.1:{PORT}/stock")
    flow.start(mode=MODE)
    return {"left": flow.result_storage()[0]}


@app.get("/stock")
def stock() -> dict[str, int]:
    """Tell how much is left."""
    return {"left": 3}


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    PORT = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = Thread(target=server.run, args=([listener],))
    thread.start()
    print(httpx.get(f"http://127.0.0.1:{PORT}/orders", timeout=30).text)
    server.should_exit = True
    thread.join()
