"""Tasks that one thread runs while another reads them, as in `background`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from interleaved import interleave

from dotflow import Context, Task, action
from dotflow.core.exception import TaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@action
def step() -> None:
    """Do nothing."""


@pytest.mark.parametrize("name", ["current_context", "previous_context"])
def test_a_context_comes_while_it_is_read(name: str) -> None:
    """Reading a context never takes away the one that the run puts there meanwhile."""

    def prepare() -> Sequence[Callable[[], object]]:
        task, come = Task("t", step), Context("come", "t")

        def check() -> None:
            assert getattr(task, name) is come

        return lambda: getattr(task, name), lambda: setattr(task, name, come), check

    interleave(prepare)


def test_an_error_comes_while_errors_are_read() -> None:
    """Reading the errors of a task never takes away one that the run adds meanwhile."""

    def prepare() -> Sequence[Callable[[], object]]:
        task, error = Task("t", step), TaskError(ValueError("no"))

        def check() -> None:
            assert task.errors == [error]

        return lambda: task.errors, lambda: task.errors.append(error), check

    interleave(prepare)
