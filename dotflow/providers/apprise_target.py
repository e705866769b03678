"""A service that apprise can notify: sent in the background, and nothing said of its secrets."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from dotflow.core.exception import ModuleNotFound
from dotflow.core.process import once
from dotflow.providers.delivery import Delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger: Final = logging.getLogger("dotflow")

# What these log holds addresses, with the tokens in them.
_TALKATIVE: Final = (
    "apprise",
    "requests",
    "requests_oauthlib",
    "urllib3",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)

# Shorter pieces of an address are no secrets.
_SHORTEST: Final = 3

INFO: Final = "info"
SUCCESS: Final = "success"
WARNING: Final = "warning"
FAILURE: Final = "failure"


class Message(NamedTuple):
    """A notification, written when it was made.

    Attributes:
        title: One line.
        body: The text.
        kind: `info`, `success`, `warning` or `failure`.
        color: As `#4CAF50`, where the service shows one; None: apprise's own of that kind.
    """

    title: str
    body: str
    kind: str = INFO
    color: str | None = None


class BadTarget(Exception):
    """An address cannot be used. Its text holds no secret."""


class Target:
    """One service, with a queue and a thread of its own: none waits for another that hangs.

    Args:
        url: Its address in apprise's notation.
        place: Says in log lines which of several it is.
        body_format: That of the texts: `text`, `markdown` or `html`.
        timeout: Seconds that connecting, and then each part of the answer, may take.
        max_waiting: How many notifications may wait.
        flush_timeout: Seconds that the exit of the interpreter may wait for them.
        notify_url: Where the service is, if it is not where apprise looks for it.

    Raises:
        BadTarget: The address cannot be used.
        ModuleNotFound: apprise is not installed.
    """

    def __init__(
        self,
        url: str,
        place: str,
        *,
        body_format: str,
        timeout: float,
        max_waiting: int = 1000,
        flush_timeout: float = 5.0,
        notify_url: str | None = None,
    ) -> None:
        schema, found, _ = url.partition("://")
        if not (found and schema.isalnum() and schema.isascii()):
            raise BadTarget("an address begins with the name of a service, as json:// or tgram://")
        self.name = f"{schema}:// ({place})"
        self._secrets = _pieces(url)
        self._body_format = body_format
        self._service, self._asset = self._instantiated(schema, url)
        if not re.search(r"[?&][rc]to=", url):
            self._service.socket_connect_timeout = self._service.socket_read_timeout = timeout
        if notify_url is not None:
            self._service.notify_url = notify_url
            self._secrets = sorted({*self._secrets, *_pieces(notify_url)}, key=len, reverse=True)
        self.delivery: Delivery[Message] = Delivery(
            self._send,
            receiver=self.name,
            items="notifications",
            flush_timeout=flush_timeout,
            max_items=max_waiting,
        )

    def _instantiated(self, schema: str, url: str) -> tuple[Any, Any]:
        try:
            from apprise import Apprise, AppriseAsset  # noqa: PLC0415 - an extra
        except ModuleNotFoundError:
            raise ModuleNotFound("apprise", "dotflow[notify]") from None
        asset = AppriseAsset()
        asset.app_id = "dotflow"
        # A redirect would hand the token to whom the answer names.
        asset.http_redirects = False
        with _overheard() as messages:
            service = Apprise.instantiate(url, asset=asset)
        if service is None:
            why = self._masked("; ".join(messages)) or "it gave no reason"
            raise BadTarget(f"apprise cannot use this address of {schema}:// ({why})")
        return service, asset

    def _send(self, message: Message) -> None:
        problem = None
        with _overheard() as messages:
            try:
                if not self._notified(message):
                    problem = "; ".join(messages) or "it gave no reason"
            except Exception as error:  # noqa: BLE001 - its traceback might show the token
                problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            _logger.warning("%s: a notification was not sent: %s", self.name, self._masked(problem))

    def _notified(self, message: Message) -> bool:
        from apprise import NotifyType  # noqa: PLC0415 - an extra

        kind = NotifyType(message.kind)
        if message.color is not None:
            # One thread sends, so that this is the color of this message.
            self._asset.html_notify_map = {kind: message.color}
        # Not by `Apprise.notify`: that may use threads that the exit waits for without a bound.
        sent: bool = self._service.notify(
            title=message.title,
            body=message.body,
            notify_type=kind,
            body_format=self._body_format,
        )
        return sent

    def _masked(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _pieces(url: str) -> list[str]:
    """Return all that may be secret in an address, the longest first."""
    inside = url.partition("://")[2]
    found = {url, inside}
    for text in (inside, unquote(inside)):
        found.update(re.split(r"[/@:?&=+,#\s]", text))
        found.update(re.split(r"[/@?&=,#\s]", text))
    return sorted((each for each in found if len(each) >= _SHORTEST), key=len, reverse=True)


_thread: Final = threading.local()


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """Keep the warnings that apprise logs in this thread, and let none of them out."""
    _listen()
    messages: list[str] = []
    _thread.messages = messages
    try:
        yield messages
    finally:
        _thread.messages = None


class _Ear(logging.Filter):
    """Keeps what is logged in a thread of ours; lets all else through."""

    def filter(self, record: logging.LogRecord) -> bool:
        messages: list[str] | None = getattr(_thread, "messages", None)
        if messages is None:
            return True
        if record.name == "apprise" and record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return False


@once
def _listen() -> bool:
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_Ear())
    return True
