"""The two receivers that the tests of the wire run against, each over both protocols."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, Final, Self
from urllib.request import Request, urlopen

from google.protobuf.json_format import ParseDict
from wire.grpc_receiver import GrpcReceiver
from wire.http_receiver import HttpReceiver
from wire.otlp import REQUESTS, Conduct, Inbox, Received

_SCRIPT: Final = Path(__file__).with_name("elastic_receiver.cjs")
_PATIENCE: Final = 20.0  # seconds


class OwnReceiver:
    """Decodes with the official messages, in this process."""

    def __init__(self) -> None:
        self._by_protocol = {"grpc": GrpcReceiver(), "http/protobuf": HttpReceiver()}
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        for receiver in self._by_protocol.values():
            self._entered.enter_context(receiver)
        return self

    def __exit__(self, *error: object) -> None:
        self._entered.close()

    def endpoint(self, protocol: str) -> str:
        """Return the URL for a protocol."""
        return self._by_protocol[protocol].url

    def conduct(self, protocol: str) -> Conduct:
        """Return what tells how requests of a protocol are answered."""
        return self._by_protocol[protocol].conduct

    def take(self) -> Received:
        """Return what has come since the last call."""
        first, second = (receiver.inbox.take() for receiver in self._by_protocol.values())
        return Received(*(one + other for one, other in zip(first, second, strict=True)))


class ElasticReceiver:
    """Has Elastic's mock server decode, in a process of its own.

    Args:
        node: The program that runs JavaScript.
        modules: The folder that the server is installed in.
    """

    def __init__(self, node: str, modules: str) -> None:
        self._process = subprocess.Popen(
            [node, _SCRIPT],
            env={**os.environ, "NODE_PATH": modules},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._markers = 0

    def __enter__(self) -> Self:
        self._reader.start()
        self._urls = self._line()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def endpoint(self, protocol: str) -> str:
        """Return the URL for a protocol."""
        return str(self._urls[protocol.partition("/")[0]])

    def take(self) -> Received:
        """Return what has come since the last call."""
        self._send_marker()
        inbox = Inbox()
        while True:
            line = self._line()
            if line.get("marker") == self._markers:
                return inbox.take()
            # Another line than these is a complaint of the server's.
            assert line.keys() == {"signal", "request"}, line
            inbox.put(line["signal"], ParseDict(line["request"], REQUESTS[line["signal"]]()))

    def _send_marker(self) -> None:
        # The server writes its lines after its answers, in the order of the requests.
        self._markers += 1
        request = Request(  # noqa: S310 - on loopback
            f"{self._urls['http']}/v1/traces",
            json.dumps({"marker": self._markers}).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=_PATIENCE) as response:  # noqa: S310
            response.read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def _line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self._lines.get(timeout=_PATIENCE))
        return line
