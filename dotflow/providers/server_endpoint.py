"""The server that is notified of workflows: one connection, and another try where that may help."""

from __future__ import annotations

import logging
import os
import random
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection, InvalidURL
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from dotflow.core.timing import Latch, monotonic, system_time_ns

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.parse import SplitResult

_logger: Final = logging.getLogger("dotflow")

# How often a request is sent at most, and how many seconds are between the first two tries: twice
# as many between the next two, and so on, each less up to a half, by chance.
ATTEMPTS: Final = 5
BACKOFF: Final = 0.5

# The answers after which another try may help: too slow, too many, not now.
_TRIED_AGAIN: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

# An answer that is longer, in bytes, is not read: the connection is closed.
_LONGEST: Final = 65_536


class Request(NamedTuple):
    """A request, encoded when it was made, so that nothing can change it any more.

    Attributes:
        method: The verb.
        path: The parts of the path, not yet quoted.
        body: The encoded body.
    """

    method: str
    path: tuple[str, ...]
    body: bytes


class _Answer(NamedTuple):
    """How a try ended.

    Attributes:
        problem: What went wrong, for the log; None: nothing.
        may_help: Whether another try may help.
    """

    problem: str | None = None
    may_help: bool = False


class Endpoint:
    """Where requests go. It never logs the token, nor the address, which may hold one.

    A redirect is not followed: it would hand the token to whom the answer names. Proxies are those
    of the environment. Used by one thread at a time.

    Args:
        base_url: The address, with a path if it has one.
        token: Sent with each request.
        timeout: Seconds that the server may take to answer.

    Raises:
        ValueError: `base_url` cannot be used; the text does not show it.
    """

    def __init__(self, base_url: str, token: str, timeout: float) -> None:
        try:
            self._base = urlsplit(base_url.rstrip("/"))
            usable = self._base.scheme in ("http", "https") and self._base.hostname
            _ = self._base.port
        except ValueError:
            usable = None
        if not usable:
            raise ValueError("it must begin with http:// or https://, and name a host")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        parts = (base_url, self._base.netloc, self._base.path, self._base.query)
        self._secrets = tuple(part for part in (token, *parts) if len(part) > 1)
        self._timeout = timeout
        self._connection: HTTPConnection | None = None
        self._through: SplitResult | None = None
        self._owner = 0
        # Whether that was logged, since a request went well.
        self._is_in_trouble = False
        # When the server wants the next request, by the monotonic clock.
        self._next_at = 0.0

    def send(self, request: Request) -> None:
        """Send a request, several times if need be; log what went wrong."""
        for attempt in range(1, ATTEMPTS + 1):
            pause(self._next_at - monotonic())
            answer = self._try(request)
            if answer.problem is None:
                self._is_in_trouble = False
                return
            if not answer.may_help or attempt == ATTEMPTS:
                times = f", {attempt} times" if attempt > 1 else ""
                self._log(request, answer.problem + times)
                return
            if not self._is_in_trouble:
                self._is_in_trouble = True
                self._log(request, f"{answer.problem}; it is tried again")
            pause(BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311 - no secret

    def close(self) -> None:
        """Close the connection, until there is something to send again."""
        if self._connection is not None:
            # That of a parent stays open: it has a copy of it.
            self._connection.close()
            self._connection = None

    def _try(self, request: Request) -> _Answer:
        reused = self._connection is not None and self._connection.sock is not None
        try:
            response = self._sent(request)
        except (OSError, HTTPException) as error:
            self.close()
            # The server may have closed a connection that was not used for a while.
            if reused and isinstance(error, ConnectionError):
                return self._try(request)
            may_help = not isinstance(error, InvalidURL)
            return _Answer(f"failed ({type(error).__name__}: {error})", may_help)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one goes out
            self.close()
            return _Answer(f"failed ({type(error).__name__}: {error})")
        if response.status < HTTPStatus.MULTIPLE_CHOICES:
            return _Answer()
        self._heed(response)
        return _Answer(f"answered {response.status}", response.status in _TRIED_AGAIN)

    def _sent(self, request: Request) -> HTTPResponse:
        if self._connection is None or self._owner != os.getpid():
            self._connection = self._connected()
            self._owner = os.getpid()
        self._connection.request(
            request.method, self._target(request), request.body, self._all_headers()
        )
        response = self._connection.getresponse()
        # What is left of an answer would be taken for the next one.
        if response.length is None or response.length > _LONGEST:
            self.close()
        else:
            response.read()
        return response

    def _target(self, request: Request) -> str:
        path = "/".join((self._base.path, *(quote(part, safe="") for part in request.path)))
        if self._through is not None and self._base.scheme == "http":
            return f"http://{self._base.netloc}{path}"
        return path

    def _all_headers(self) -> dict[str, str]:
        if self._through is not None and self._base.scheme == "http":
            return {**self._headers, **_proxy_headers(self._through)}
        return self._headers

    def _connected(self) -> HTTPConnection:
        base = self._base
        self._through = _proxy(base)
        secure = base.scheme == "https"
        kind = HTTPSConnection if secure else HTTPConnection
        if self._through is None:
            return kind(str(base.hostname), base.port, timeout=self._timeout)
        through = kind(str(self._through.hostname), self._through.port, timeout=self._timeout)
        if secure:
            headers = _proxy_headers(self._through)
            through.set_tunnel(str(base.hostname), base.port, headers)
        return through

    def _heed(self, response: HTTPResponse) -> None:
        wait = _seconds(response.headers.get("Retry-After"))
        if wait is not None:
            self._next_at = monotonic() + wait

    def _log(self, request: Request, what: str) -> None:
        for secret in self._secrets:
            what = what.replace(secret, "***")
        _logger.warning("%s /%s: the server %s", request.method, "/".join(request.path), what)


def pause(seconds: float) -> None:
    """Wait so many seconds, whatever clocks do; none if they are below 0."""
    if seconds > 0:
        Latch().wait(min(seconds, TIMEOUT_MAX))


def _seconds(retry_after: str | None) -> float | None:
    """Return for how long a server wants no request: seconds, or up to a date."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - seldom needed

    if retry_after is None:
        return None
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - system_time_ns() / 1e9)
    except (ValueError, OverflowError):
        return None


def _proxy(base: SplitResult) -> SplitResult | None:
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - for a connection

    host = str(base.hostname)
    named = None if proxy_bypass(host) else getproxies().get(base.scheme)
    if not named:
        return None
    return urlsplit(named if "//" in named else f"//{named}")


def _proxy_headers(proxy: SplitResult) -> dict[str, str]:
    from base64 import b64encode  # noqa: PLC0415 - seldom needed

    if proxy.username is None:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"}
