"""Pushes metrics to a Pushgateway, for jobs that end before anybody could scrape them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit

from prometheus_client import pushadd_to_gateway
from prometheus_client.exposition import default_handler

from dotflow.core.arguments import check_callable, check_seconds, check_text, strict_arguments
from dotflow.core.exception import InvalidOption
from dotflow.core.process import fork_safe_lock
from dotflow_otel._process import TIMEOUT, at_exit
from dotflow_otel.metrics.errors import PushFailed
from dotflow_otel.metrics.multiprocess import shown
from dotflow_otel.plain import shown_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    Handler = Callable[[str, str, float | None, list[tuple[str, str]], bytes], Callable[[], None]]

_NO_KEY: Final[dict[str, str]] = {}
_SCHEME: Final = re.compile(r"^[A-Za-z][\w+.-]*://")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class PushGateway:
    """Where metrics are pushed, and as whose.

    Args:
        address: Of the Pushgateway: `host:9091`, or a URL.
        job: The label `job` of all that is pushed.
        grouping_key: Further labels that distinguish this job's metrics from those of others, such
            as `{"instance": "eu-1"}`.
        timeout: Seconds that a push may take, whatever the Pushgateway does.
        handler: Sends the request, in place of prometheus-client's `default_handler`; for
            one that asks for a password, see `prometheus_client.exposition`.

    Raises:
        InvalidOption: The address is none, or has a user, a password or a query in it; the job
            is empty; a grouping key is no label's name or is `job`; the timeout is not above 0;
            or the handler cannot be called.
    """

    @strict_arguments
    def __init__(
        self,
        address: str,
        job: str,
        *,
        grouping_key: Mapping[str, str] = _NO_KEY,
        timeout: float = TIMEOUT,
        handler: Handler = default_handler,
    ) -> None:
        _check_address(address)
        check_text("job", job, "name the job")
        _check_grouping_key(grouping_key)
        check_seconds("timeout", timeout)
        check_callable("handler", handler, "give a function, as prometheus-client's handlers")
        self.address: Final = address.strip()
        self.job: Final = job
        self.timeout: Final = timeout
        self._grouping_key = dict(grouping_key)
        self._handler = handler

    def push(self, registry: CollectorRegistry | None = None) -> None:
        """Push what a registry has; see `push_metrics`.

        Raises:
            InvalidOption: `registry` is none, or the folder of the multiprocess mode is not
                there.
            PushFailed: The metrics did not arrive in time.
        """
        call = _Call(self._send, shown(registry))
        if not call.ended_within(self.timeout):
            raise PushFailed(
                shown_address(self.address), self.job, f"no answer within {self.timeout:g} s"
            )
        if call.error is not None:
            raise PushFailed(shown_address(self.address), self.job, call.error) from call.error

    def _send(self, registry: CollectorRegistry) -> None:
        pushadd_to_gateway(
            self.address, self.job, registry, self._grouping_key, self.timeout, self._handler
        )


def _check_address(address: str) -> None:
    check_text("gateway", address, "give 'host:9091' or a URL")
    visible = shown_address(address)
    # Nor could any of it be sent so.
    if "@" in address:
        raise InvalidOption(
            "gateway", shown_address(address), "leave user and password to a handler"
        )
    if "?" in address or "#" in address:
        raise InvalidOption("gateway", visible, "leave out what follows '?' or '#'")
    if not _is_url(address.strip()):
        raise InvalidOption("gateway", visible, "give 'host:9091' or a URL of http or https")


def _is_url(address: str) -> bool:
    url = address if _SCHEME.match(address) else f"http://{address}"
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:  # the port is out of range, or an IPv6 address is none
        return False
    return parts.scheme in {"http", "https"} and bool(host) and " " not in url


def _check_grouping_key(key: Mapping[str, str]) -> None:
    if not isinstance(key, Mapping):
        raise InvalidOption("grouping_key", key, "give a dict, as {'instance': 'eu-1'}")
    for name, value in key.items():
        if not isinstance(name, str) or not _LABEL.fullmatch(name) or name == "job":
            raise InvalidOption("grouping_key", key, f"{name!r} cannot be a further label's name")
        # A number is sent as its text; of nothing else would anybody mean that.
        if not isinstance(value, (str, int, float)):
            raise InvalidOption("grouping_key", key, f"give a text for {name!r}")


class _Call:
    # The timeout of a request is that of each of its parts; this is one for all of it, the
    # look-up of the host's name included.
    def __init__(self, function: Callable[..., object], *args: Any) -> None:
        self.error: Exception | None = None
        self._function = function
        self._args = args
        self._thread = Thread(target=self._work, name="dotflow-push", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._work()  # the interpreter is at its end, and starts no thread any more

    def _work(self) -> None:
        try:
            self._function(*self._args)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            self.error = error
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection

    def ended_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()


@strict_arguments
def push_metrics(
    gateway: str,
    job: str,
    registry: CollectorRegistry | None = None,
    *,
    grouping_key: Mapping[str, str] = _NO_KEY,
    timeout: float = TIMEOUT,
    handler: Handler = default_handler,
) -> None:
    """Push metrics to a Pushgateway, now.

    Pushed metrics take the place of those of the same name, job and grouping key. Those that
    this process does not have stay: after a run that failed, the Pushgateway still tells when
    one last succeeded. Its format has no exemplars. In prometheus-client's multiprocess mode
    the metrics are those of all processes.

    To push at the end of each run, give the metrics a `PushGateway`:
    `MetricsPrometheus(push_to=PushGateway("localhost:9091", job="nightly"))`.

    Args:
        gateway: The address of the Pushgateway: `host:9091`, or a URL.
        job: The label `job` of all that is pushed.
        registry: Whose metrics; None: prometheus-client's own.
        grouping_key: Further labels that distinguish this job's metrics from those of others.
        timeout: Seconds that it may take, whatever the Pushgateway does.
        handler: Sends the request, in place of prometheus-client's `default_handler`.

    Raises:
        InvalidOption: An argument is not what `PushGateway` takes, `registry` is none, or the
            folder of the multiprocess mode is not there.
        ModuleNotFound: prometheus-client is not installed.
        PushFailed: The metrics did not arrive in time; an `OSError`.
    """
    target = PushGateway(gateway, job, grouping_key=grouping_key, timeout=timeout, handler=handler)
    target.push(registry)


_logger: Final = logging.getLogger("dotflow_otel")


class PushAtEnd:
    """Pushes when asked to, in a thread that lives as long as there is something to push.

    Runs that end while a push is under way share the next one: it holds what all of them have
    counted. The exit of the interpreter waits for it, as long as one push may take.

    Args:
        gateway: Where to.
        registry: What.
        on_error: Called for each push that failed.
    """

    def __init__(
        self, gateway: PushGateway, registry: CollectorRegistry, on_error: Callable[[], object]
    ) -> None:
        self._gateway = gateway
        self._registry = registry
        self._on_error = on_error
        self._changed = Condition(fork_safe_lock())
        self._wanted = False
        self._thread: Thread | None = None
        self._failing = False

    def ask(self) -> None:
        """Push soon. Returns at once."""
        with self._changed:
            self._wanted = True
            if self._is_at_work():
                return
            thread = Thread(target=self._work, name="dotflow-push-at-end", daemon=True)
            thread.start()
            self._thread = thread
            at_exit.remove(self)
            at_exit.add(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all that was asked for is pushed, or given up; return whether it is.

        Args:
            timeout: Seconds; None: those of one push.
        """
        seconds = self._gateway.timeout if timeout is None else timeout
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_at_work(), seconds)

    @property
    def bound(self) -> float:
        """Seconds that the exit may take for it."""
        return self._gateway.timeout

    def ask_to_end(self) -> None:
        """Do nothing: it is at work, or has nothing to push."""

    def end_within(self, seconds: float) -> None:
        """Wait for the last push within the bound of an exit."""
        if not self.wait(seconds):
            _logger.warning(
                "The metrics of job %r were not pushed within %g s, and the program ends.",
                self._gateway.job,
                self.bound,
            )

    def _is_at_work(self) -> bool:
        # In a forked copy of the process the thread is there, and dead.
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        while self._takes_one():
            self._push()

    def _takes_one(self) -> bool:
        with self._changed:
            wanted, self._wanted = self._wanted, False
            if not wanted:
                self._thread = None
                at_exit.remove(self)
                self._changed.notify_all()
            return wanted

    def _push(self) -> None:
        try:
            self._gateway.push(self._registry)
        except Exception as error:  # noqa: BLE001 - telemetry never breaks a run
            if not self._failing:
                _logger.warning("%s Further failures are only counted.", error)
            self._failing = True
            self._on_error()
        else:
            self._failing = False
