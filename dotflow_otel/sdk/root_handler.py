"""A handler on the root logger that the application's own set-up of logging does not notice."""

from __future__ import annotations

import logging
import logging.config
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def add_to_root(handler: logging.Handler) -> None:
    """Put a handler on the root logger, to stay there.

    `logging.basicConfig` does nothing where there is a handler, and `dictConfig` and
    `fileConfig` take all of them away. So while one of these works, ours is away, and
    afterwards it is back. They are wrapped for that, in their modules.
    """
    logging.root.addHandler(handler)
    for module, name in (
        (logging, "basicConfig"),
        (logging.config, "dictConfig"),
        (logging.config, "fileConfig"),
    ):
        setattr(module, name, _without(handler, getattr(module, name)))


def _without(handler: logging.Handler, configure: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(configure)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        logging.root.removeHandler(handler)
        try:
            return configure(*args, **kwargs)
        finally:
            logging.root.addHandler(handler)

    return wrapper
