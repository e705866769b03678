"""Things of which a process has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from interleaved import interleave

from dotflow.core.config import default_config
from dotflow.core.process import once
from dotflow.providers.executor_local import shared_executor
from dotflow_otel.relay.log_relay import log_relay_here
from dotflow_otel.relay.span_relay import relay_here

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def test_two_threads_ask_first() -> None:
    """Who asks at the same time as another gets the same thing, and so does all the rest."""

    def prepare() -> Sequence[Callable[[], object]]:
        given: list[object] = []
        give = once(object)

        def ask() -> None:
            given.append(give())

        def check() -> None:
            assert given == [give()] * 2

        return ask, ask, check

    interleave(prepare)


@pytest.mark.parametrize("give", [default_config, shared_executor, relay_here, log_relay_here])
def test_what_there_is_one_of(give: Callable[[], object]) -> None:
    """The process has one of these, whichever thread asks first."""
    made = getattr(give, "__wrapped__")  # noqa: B009 - no type tells of it

    assert give() is give()
    assert not hasattr(give, "cache_info")
    assert type(made()) is type(give())
