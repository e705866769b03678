"""Metrics as an application to mount in a web service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, overload

from prometheus_client import make_asgi_app, make_wsgi_app

from dotflow.core.signatures import strict_arguments
from dotflow_otel.metrics.checks import check_registry
from dotflow_otel.metrics.multiprocess import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

_ASGI_ARGUMENTS: Final = 3


class MetricsApp:
    """Shows metrics, to WSGI and to ASGI alike: the two call it with 2 and with 3 arguments.

    Attributes:
        wsgi: As a function for WSGI alone.

    Args:
        registry: What is shown.

    Raises:
        InvalidOption: `registry` is none.
    """

    @strict_arguments
    def __init__(self, registry: CollectorRegistry) -> None:
        check_registry(registry, "collect")
        self.wsgi: Final[Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]] = (
            make_wsgi_app(registry)
        )
        self._asgi = make_asgi_app(registry)

    async def asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI: for what looks at the function to tell the two apart."""
        await self._asgi(scope, receive, send)

    @overload
    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse, /
    ) -> Iterable[bytes]: ...
    @overload
    def __call__(self, scope: Message, receive: Receive, send: Send, /) -> Awaitable[None]: ...
    def __call__(self, *request: Any) -> Any:
        """Answer a request."""
        return self.asgi(*request) if len(request) == _ASGI_ARGUMENTS else self.wsgi(*request)


@strict_arguments
def metrics_app(registry: CollectorRegistry | None = None) -> MetricsApp:
    """Give metrics as an application to mount in a service, at any path.

    It is one for WSGI (Flask, Django) and for ASGI (FastAPI, Starlette) at once. A server
    that must be told which of them it is gets `metrics_app().wsgi` or `metrics_app().asgi`.
    Whoever can reach the service there can read the metrics.

    Exemplars are shown to a scraper that asks for OpenMetrics. In prometheus-client's
    multiprocess mode, which has none, the metrics are those of all processes.

    Args:
        registry: Whose metrics; None: prometheus-client's own.

    Raises:
        InvalidOption: `registry` is none, or the folder of the multiprocess mode is not there.
        ModuleNotFound: prometheus-client is not installed.
    """
    return MetricsApp(shown(registry))
