"""What the application has set up in code, for the steps that run in workers.

A worker has the variables of the run's process, and so what these set up. What code has set up, it
makes again by what is known of it: the global propagator by its pickled form, instrumentations by
their names.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dotflow.workers.pickling import dump_or_none, load_or_none

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger: Final = logging.getLogger("dotflow_otel")

# What all instrumentations are below, in a library that we do not need ourselves.
_VARIABLE: Final = "OTEL_PROPAGATORS"
_INSTRUMENTOR: Final = "opentelemetry.instrumentation.instrumentor"


class SetUp(NamedTuple):
    """What is set up in a process.

    Attributes:
        propagator: The global propagator, pickled; None where it cannot travel.
        instrumentors: The modules and names of the classes of the instrumentations that are on.
    """

    propagator: bytes | None
    instrumentors: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls) -> SetUp:
        """Return what is set up in this process."""
        return cls(_propagator(), tuple(_instrumentors()))

    @property
    def is_something(self) -> bool:
        """Whether anything is set up."""
        return self.propagator is not None or bool(self.instrumentors)

    def apply(self) -> None:
        """Set up the same in this process, as far as it is not."""
        found = load_or_none(self.propagator)
        if hasattr(found, "inject"):
            from opentelemetry import propagate  # noqa: PLC0415 - it looks for all that are installed

            propagate.set_global_textmap(found)
        for module, name in self.instrumentors:
            _instrument(module, name)


def _propagator() -> bytes | None:
    # Where nobody has imported this, nobody has set one.
    propagate = sys.modules.get("opentelemetry.propagate")
    if propagate is None:
        return None
    used = dump_or_none(propagate.get_global_textmap())
    is_default = used == dump_or_none(_default_propagator()) and not os.environ.get(_VARIABLE)
    return None if is_default else used


def _default_propagator() -> object:
    from opentelemetry.baggage.propagation import W3CBaggagePropagator  # noqa: PLC0415 - as above
    from opentelemetry.propagators.composite import CompositePropagator  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    return CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


def _instrumentors() -> Iterator[tuple[str, str]]:
    base: Any = getattr(sys.modules.get(_INSTRUMENTOR), "BaseInstrumentor", None)
    if base is None:
        return
    for each in _all_below(base):
        # There is one object of each class, which tells whether it is on.
        instrumentor = each.__dict__.get("_instance")
        if getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
            yield each.__module__, each.__qualname__


def _all_below(kind: Any) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from _all_below(each)


def _instrument(module: str, name: str) -> None:
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        instrumentor = found()
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument()
    except Exception:
        text = "the instrumentation %s.%s cannot be switched on in a worker; steps run without it"
        _logger.warning(text, module, name, exc_info=True)
