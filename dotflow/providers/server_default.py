"""The server that is told of workflows, where one is configured."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from dotflow.abc.noop import noop
from dotflow.abc.server import Server
from dotflow.core.arguments import check_seconds, strict_arguments

if TYPE_CHECKING:
    from dotflow.core.model import Task
    from dotflow.providers.delivery import Delivery
    from dotflow.providers.server_endpoint import Endpoint, Request

_logger: Final = logging.getLogger("dotflow")

_HOOKS: Final = ("create_workflow", "update_workflow", "create_task", "update_task")
_CONFIG: Final = "~/.dotflow/config.json"


class ServerDefault(Server):
    """Reports to a server by HTTP: in order, in the background, and never in the run's way.

    Active only where the server's address and a token are known: from `SERVER_BASE_URL`
    and `SERVER_USER_TOKEN`, or else `cloud.base_url` and `cloud.token` in
    `~/.dotflow/config.json`. Otherwise every method does nothing.

    A request holds what was so when the hook was called: the body is made then, since the
    steps that follow may change the values, and sent later. What waits goes out over one
    connection, in order, as the server has an address for each workflow and task and none for
    several. Where a connection fails, or the answer is 408, 429, 502, 503 or 504, the same
    request is sent again, up to five times, with 0.5 seconds between the first two, then twice
    as many, and never before the time that `Retry-After` names; so the server may get one twice
    whose answer was lost. Redirects are not followed, for they would hand on the token. Other
    errors, and the last one, are logged. At most 10,000 requests or 64 MB wait: what comes then is
    dropped and counted, which is logged once.

    Args:
        flush_timeout: Seconds that the exit of the interpreter may wait for requests.

    Attributes:
        MAX_RESULT_SIZE: A limit on the length of a task's result, in characters.
        TIMEOUT: Seconds that the server may take to answer.

    Raises:
        InvalidOption: `flush_timeout` is no number of seconds.
    """

    MAX_RESULT_SIZE = 5_000_000
    TIMEOUT = 15.0

    @strict_arguments
    def __init__(self, flush_timeout: float = 5.0) -> None:
        check_seconds("flush_timeout", flush_timeout, zero=True)
        self._delivery: Delivery[Request] | None = None
        endpoint = _configured(self.TIMEOUT)
        if endpoint is None:
            self._mark_inactive()
            return
        # Here, because most programs have no server.
        from dotflow.providers.delivery import Delivery  # noqa: PLC0415

        self._delivery = Delivery(
            endpoint.send, on_idle=endpoint.close, flush_timeout=flush_timeout
        )

    def create_workflow(self, workflow: Any) -> None:
        """Report a new workflow, a `DotFlow`."""
        if self._delivery is not None:
            self._delivery.put(_request("POST", (), workflow.result()))

    def update_workflow(self, workflow: Any, status: str = "") -> None:
        """Report the status of the workflow with the id `workflow`."""
        if self._delivery is not None:
            self._delivery.put(_request("PATCH", (workflow,), {"status": status}))

    def create_task(self, task: Task) -> None:
        """Report a new task."""
        if self._delivery is not None:
            body = task.result(max=self.MAX_RESULT_SIZE)
            self._delivery.put(_request("POST", (task.workflow_id, "tasks"), body))

    def update_task(self, task: Task) -> None:
        """Report how a task ended."""
        if self._delivery is not None:
            body = task.result(max=self.MAX_RESULT_SIZE)
            path = (task.workflow_id, "tasks", task.task_id)
            self._delivery.put(_request("PATCH", path, body))

    @property
    def dropped(self) -> int:
        """How many requests were dropped, because too many waited."""
        return 0 if self._delivery is None else self._delivery.dropped

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait at most `timeout` seconds for the requests; return whether all are through.

        Raises:
            InvalidOption: `timeout` is no number of seconds.
        """
        check_seconds("timeout", timeout, zero=True)
        return self._delivery is None or self._delivery.flush(timeout)

    def _mark_inactive(self) -> None:
        # The engine calls no hook that is marked as doing nothing; an override is kept.
        for hook in _HOOKS:
            if getattr(type(self), hook) is getattr(ServerDefault, hook):
                setattr(self, hook, _nothing)


@noop
def _nothing(*_: object, **__: object) -> None:
    """Do nothing."""


def _request(method: str, path: tuple[object, ...], body: dict[str, Any]) -> Request:
    from json import dumps  # noqa: PLC0415 - `import dotflow` does without it

    from dotflow.providers.server_endpoint import Request  # noqa: PLC0415 - as above

    parts = ("cli", "workflows", *map(str, path))
    return Request(method, parts, dumps(body, default=str).encode())


def _configured(timeout: float) -> Endpoint | None:
    base_url = os.environ.get("SERVER_BASE_URL", "")
    token = os.environ.get("SERVER_USER_TOKEN", "")
    if not (base_url and token):
        cloud = _cloud()
        base_url = base_url or str(cloud.get("base_url") or "")
        token = token or str(cloud.get("token") or "")
    base_url, token = base_url.strip(), token.strip()
    if not (base_url and token):
        return None
    # Anything else cannot be sent in a header, and the error would show it.
    if not (token.isascii() and token.isprintable()):
        _logger.warning("The server's token holds characters that no token has: not used")
        return None
    # Here, because most programs have no server.
    from dotflow.providers.server_endpoint import Endpoint  # noqa: PLC0415

    try:
        return Endpoint(base_url, token, timeout)
    except ValueError as error:
        _logger.warning("The server's base url is not used: %s", error)
        return None


def _cloud() -> dict[str, Any]:
    # Unlike pathlib's, this one does not raise where there is no home.
    path = os.path.expanduser(_CONFIG)  # noqa: PTH111
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
            text = file.read()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _logger.warning("%s cannot be read, so no server is told: %s", path, error)
        return {}
    return _parsed(path, text)


def _parsed(path: str, text: str) -> dict[str, Any]:
    from json import loads  # noqa: PLC0415 - `import dotflow` does without it

    try:
        config = loads(text)
    except ValueError as error:
        _logger.warning("%s is no JSON, so no server is told: %s", path, error)
        return {}
    cloud = config.get("cloud", {}) if isinstance(config, dict) else None
    if not isinstance(cloud, dict):
        _logger.warning('%s must hold {"cloud": {...}}, so no server is told', path)
        return {}
    return cloud
