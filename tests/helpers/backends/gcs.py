"""A Google Cloud Storage on loopback: fake-gcs-server, as a process of its own."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.request import Request, urlopen

from backends.ports import free_port
from backends.waiting import PATIENCE, eventually
from needed import tool

if TYPE_CHECKING:
    from collections.abc import Iterator

_STORES: Final = Path(__file__).resolve().parents[3] / "build" / "stores"


def _programs() -> Iterator[Path]:
    return _STORES.glob("lib/*/site-packages/fake_gcs_server_*/vendor/*/bin/fake-gcs-server-*")


class Gcs:
    """A server that runs while it is entered, with no buckets.

    Args:
        folder: Where its log goes.

    Attributes:
        url: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        program = tool("fake-gcs-server", next(_programs(), None), "make tools")
        port = free_port()
        self._log = folder / "log"
        self._command = [
            *(program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
            *("-backend", "memory"),
        ]
        self.url = f"http://127.0.0.1:{port}"
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, cwd=self._log.parent
            )
        eventually(self._listens, "fake-gcs-server to listen")
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)

    def _listens(self) -> bool:
        log = self._log.read_text()
        assert self._process.poll() is None, log
        return "server started at" in log

    def options(self, url: str | None = None) -> dict[str, Any]:
        """Return what gcsfs needs to reach it, or what stands in front of it."""
        return {"endpoint_url": url or self.url, "token": "anon"}

    def bucket(self) -> str:
        """Make a bucket, and return its name."""
        name = f"bucket-{next(self._numbers)}"
        request = Request(  # noqa: S310 - on loopback
            f"{self.url}/storage/v1/b?project=dotflow",
            json.dumps({"name": name}).encode(),
            {"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            answer.read()
        return name
