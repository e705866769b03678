"""How many workers may be below a worker."""

from __future__ import annotations

import multiprocessing.process
from typing import TYPE_CHECKING, Any

import pytest

from dotflow.core.exception import RunWhileReading, TooManyNestedWorkers
from dotflow.workers import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    Below = Callable[[int | None], None]


@pytest.fixture
def below(monkeypatch: pytest.MonkeyPatch) -> Below:
    """Return a function that has this process be a worker with so many below it, or none."""
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    return lambda own: monkeypatch.setattr(environment.Own, "workers", own)


def test_a_process_that_is_no_worker_has_no_bound(below: Below) -> None:
    """Its pools are as large as they are asked to be, and so many of them as there are."""
    below(None)
    assert environment.pool_size(1_000) == 1_000
    environment.check_one_more(100_000)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 64, 1_000])
def test_workers_of_workers_come_to_an_end(size: int, below: Below) -> None:
    """A step may run a workflow whose steps run one; the tree of them all stays small."""
    below(None)
    share, total, width, generations = environment.share_of_each(size), size, size, 1
    while share:
        below(share)
        own = environment.pool_size(1_000)
        width *= own
        total += width
        generations += 1
        share = environment.share_of_each(own)
    assert generations == 3
    assert total <= max(16, 9 * size)
    below(0)
    with pytest.raises(TooManyNestedWorkers, match=r"Run this workflow in mode 'sequential'"):
        environment.pool_size(1)


def test_the_pools_of_a_worker_are_bounded_together(below: Below) -> None:
    """However many pools a step makes, there is a most number of workers in them."""
    below(4)
    environment.check_one_more(7)
    with pytest.raises(TooManyNestedWorkers):
        environment.check_one_more(8)


def test_what_a_step_starts_is_bounded_as_well(
    below: Below, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process below a worker finds its number in the environment; nonsense is none."""
    below(None)
    monkeypatch.setenv(environment.VARIABLE, "4")
    assert environment.pool_size(8) == 2
    monkeypatch.setenv(environment.VARIABLE, "-1")
    assert environment.nested_workers() is None


def test_a_child_of_a_step_that_reads_its_main_module(
    below: Below, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts none; later it may, and so may a child that is below no worker."""
    child: Any = multiprocessing.process.current_process()
    monkeypatch.setattr(child, "_inheriting", True, raising=False)
    below(4)
    with pytest.raises(RunWhileReading):
        environment.pool_size(1)
    below(None)
    assert environment.pool_size(1) == 1
    monkeypatch.delattr(child, "_inheriting")
    below(4)
    assert environment.pool_size(1) == 1


def test_a_worker_keeps_its_number(below: Below, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes the variable away has no more of them."""
    below(None)
    monkeypatch.setenv(environment.VARIABLE, "1")
    environment.become_worker()
    monkeypatch.delenv(environment.VARIABLE)
    assert environment.nested_workers() == 1
