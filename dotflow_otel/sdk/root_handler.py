"""A handler on the root logger that the application's own set-up of logging does not notice."""

from __future__ import annotations

import logging
import logging.config
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from dotflow_otel.logs import events
from dotflow_otel.sdk.batching import is_exporting

if TYPE_CHECKING:
    from collections.abc import Callable

# Their records are about exports: to export those would never end.
_EXPORTING: Final = ("opentelemetry", "grpc")


class RootHandler(logging.Handler):
    """A handler that leaves what other handlers do as it is."""

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a record."""
        self._show_last_resort(record)
        if is_exporting() or events.is_line() or record.name.split(".")[0] in _EXPORTING:
            return
        try:
            self.handle_record(record)
        except Exception:  # noqa: BLE001 - the way of the standard library
            self.handleError(record)

    def handle_record(self, record: logging.LogRecord) -> None:
        """Do with a record what the handler is for."""
        raise NotImplementedError

    def _show_last_resort(self, record: logging.LogRecord) -> None:
        # A program that has configured no logging sees its warnings on stderr as before, once.
        shown = logging.lastResort
        if shown is None or record.levelno < shown.level:
            return
        logger: logging.Logger | None = logging.getLogger(record.name)
        own = []
        while logger is not None:
            own += [handler for handler in logger.handlers if isinstance(handler, RootHandler)]
            if any(not isinstance(handler, RootHandler) for handler in logger.handlers):
                return
            logger = logger.parent
        if own[:1] == [self]:
            shown.handle(record)


def add_to_root(handler: logging.Handler) -> None:
    """Put a handler on the root logger, to stay there.

    `logging.basicConfig` does nothing where there is a handler, and `dictConfig` and
    `fileConfig` take all of them away. So while one of these works, this one is away, and
    afterwards it is back. They are wrapped for that, in their modules, and so is what they call
    in turn: a program may have imported them by name before.
    """
    root = logging.root
    if type(root.handlers) is not _Handlers:
        root.handlers = _Handlers(root.handlers)
    root.addHandler(handler)
    for owner, name in _CONFIGURING:
        configure = getattr(owner, name, None)
        if configure is not None:
            setattr(owner, name, _without(handler, configure))


class _Handlers(list[logging.Handler]):
    """The root logger's handlers: all of them to who hands records to them, own ones not counted.

    `logging.warning` and its like configure logging where there are no handlers, as for a program
    that has not done so, and ask for their number.
    """

    def __len__(self) -> int:
        return sum(not isinstance(handler, RootHandler) for handler in self)


_CONFIGURING: Final[tuple[tuple[Any, str], ...]] = (
    (logging, "basicConfig"),
    (logging.config, "dictConfig"),
    (logging.config, "fileConfig"),
    (logging.config.DictConfigurator, "configure"),
    (logging.config, "_install_loggers"),
)


def _without(handler: logging.Handler, configure: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(configure)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        logging.root.removeHandler(handler)
        try:
            return configure(*args, **kwargs)
        finally:
            logging.root.addHandler(handler)

    return wrapper
