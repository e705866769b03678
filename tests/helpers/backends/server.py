"""A server of the Prometheus family as a process of its own, on loopback, with any free port."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from backends.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LISTEN: Final = "--web.listen-address=127.0.0.1:0"
# All three log where they listen in the same words, since they share the code.
_LISTENING: Final = re.compile(r'msg="?Listening on"? address=(?P<address>127\.0\.0\.1:\d+)')


class Server:
    """A server that runs while it is entered. It is ended by its process id.

    Args:
        command: What starts it.
        folder: Where its log goes.

    Attributes:
        address: `host:port`, once entered.
        url: The same as a URL, once entered.
    """

    address: str
    url: str

    def __init__(self, command: Sequence[str | Path], folder: Path) -> None:
        self._command = command
        self._folder = folder
        self._log = folder / "log"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(self._command), cwd=self._folder, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self.address = eventually(self._listens_at, f"{self._command[0]} to listen")
            self.url = f"http://{self.address}"
            eventually(lambda: self.get("/-/ready"), f"{self._command[0]} to be ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def get(self, path: str, **parameters: str | float | Sequence[str]) -> str:
        """Return what the server answers.

        Raises:
            urllib.error.HTTPError: It refused; an `OSError`.
        """
        query = urlencode(parameters, doseq=True)
        return self._answer(Request(f"{self.url}{path}?{query}"))  # noqa: S310 - on loopback

    def get_json(self, path: str, **parameters: str | float | Sequence[str]) -> Any:
        """Return the JSON that the server answers."""
        return json.loads(self.get(path, **parameters))

    def post(self, path: str) -> str:
        """Post nothing, and give what the server answers."""
        return self._answer(Request(f"{self.url}{path}", method="POST"))  # noqa: S310

    @property
    def log(self) -> str:
        """What the server has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _answer(self, request: Request) -> str:
        try:
            with urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
                text: str = response.read().decode()
        except HTTPError as error:
            # It holds the connection open, and what was wrong in its body.
            with error:
                error.msg += f": {error.read().decode(errors='replace')}"
            raise
        return text

    def _listens_at(self) -> str:
        found = _LISTENING.search(self.log)
        if found is not None:
            return found["address"]
        # An AssertionError ends the waiting: this server will never listen.
        assert self._process.poll() is None, self.log
        return ""
