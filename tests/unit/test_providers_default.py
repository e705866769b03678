"""The default providers, and how providers are found."""

from __future__ import annotations

import functools
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest

from dotflow import providers
from dotflow.abc.metrics import Metrics
from dotflow.abc.noop import is_noop
from dotflow.abc.notify import Notify
from dotflow.abc.scheduler import Scheduler
from dotflow.abc.tracer import Tracer
from dotflow.core.run import Run
from dotflow.providers.metrics_default import MetricsDefault
from dotflow.providers.notify_default import NotifyDefault
from dotflow.providers.scheduler_default import SchedulerDefault
from dotflow.providers.tracer_default import TracerDefault

RUN = Run(
    id="r", workflow_id="w", name="n", mode="sequential", task_count=1, started_at=0.0
).finished(1.5, failed=True)

CALLS: list[tuple[type, type, str, tuple[Any, ...], dict[str, Any]]] = [
    (TracerDefault, Tracer, "start_workflow", ("w",), {"mode": "m"}),
    (TracerDefault, Tracer, "end_workflow", ("w",), {"failed": True}),
    (TracerDefault, Tracer, "start_task", (None,), {}),
    (TracerDefault, Tracer, "end_task", (None,), {}),
    (TracerDefault, Tracer, "run_started", (RUN,), {}),
    (TracerDefault, Tracer, "run_finished", (RUN,), {}),
    (MetricsDefault, Metrics, "workflow_started", ("w",), {"mode": "m"}),
    (MetricsDefault, Metrics, "workflow_completed", ("w", 1.0), {}),
    (MetricsDefault, Metrics, "workflow_failed", ("w", 1.0), {}),
    (MetricsDefault, Metrics, "task_completed", (None,), {}),
    (MetricsDefault, Metrics, "task_failed", (None,), {}),
    (MetricsDefault, Metrics, "task_retried", (None,), {}),
    (MetricsDefault, Metrics, "run_started", (RUN,), {}),
    (MetricsDefault, Metrics, "run_finished", (RUN,), {}),
    (NotifyDefault, Notify, "hook_status_task", (None,), {}),
]


@pytest.mark.parametrize(("kind", "interface", "hook", "args", "kwargs"), CALLS)
def test_default_hooks_do_nothing(
    kind: type, interface: type, hook: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Every hook of a default provider returns None; those of a task are marked and not called."""
    provider = kind()
    assert isinstance(provider, interface)
    # Those of a run call others, which a subclass may override without overriding these.
    assert is_noop(getattr(provider, hook)) is (hook not in {"run_started", "run_finished"})
    assert getattr(provider, hook)(*args, **kwargs) is None


def test_scheduler_default_never_calls() -> None:
    """`SchedulerDefault` starts and stops without calling the workflow."""
    scheduler = SchedulerDefault()
    assert isinstance(scheduler, Scheduler)
    assert scheduler.start(pytest.fail, reason="called") is None  # type: ignore[func-returns-value]
    assert scheduler.stop() is None  # type: ignore[func-returns-value]


def test_subclass_of_a_default_tracer_hears_of_runs() -> None:
    """A subclass that overrides hooks of 1.x only is told of runs by these."""
    heard: list[tuple[str, Any, dict[str, Any]]] = []

    class Mine(TracerDefault):
        def start_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
            heard.append(("start", workflow_id, kwargs))

        def end_workflow(self, workflow_id: Any, **kwargs: Any) -> None:
            heard.append(("end", workflow_id, kwargs))

    tracer = Mine()
    assert not is_noop(tracer.run_started)
    assert is_noop(tracer.start_task)
    tracer.run_started(RUN)
    tracer.run_finished(RUN)
    assert heard == [
        ("start", "w", {"mode": "sequential", "tasks_count": 1}),
        ("end", "w", {"duration": 1.5, "failed": True}),
    ]


def test_subclass_of_default_metrics_hears_of_runs() -> None:
    """The same for metrics; a `run_started` of the subclass's own is left alone."""
    heard: list[Any] = []

    class Mine(MetricsDefault):
        def run_started(self, run: Run) -> None:
            heard.append(run)

        def workflow_failed(self, workflow_id: Any, duration: float) -> None:
            heard.append((workflow_id, duration))

    class Traced(TracerDefault):
        def run_finished(self, run: Run) -> None:
            heard.append("finished")

    metrics = Mine()
    metrics.run_started(RUN)
    metrics.run_finished(RUN)
    Traced().run_finished(RUN)
    assert heard == [RUN, ("w", 1.5), "finished"]


@pytest.mark.parametrize("name", sorted(providers.__all__))
def test_built_in_names_resolve(name: str) -> None:
    """`dotflow.providers.<Name>` is the class of its module."""
    found = getattr(providers, name)
    assert found.__name__ == name
    assert found.__module__.startswith(("dotflow.providers.", "dotflow.dask."))
    assert getattr(sys.modules[found.__module__], name) is found


def test_providers_are_imported_when_asked_for() -> None:
    """What no default configuration needs is imported by a look-up, and only then."""
    code = (
        "import sys, dotflow.providers as providers\n"
        "name = 'dotflow.providers.scheduler_cron'\n"
        "assert name not in sys.modules\n"
        "providers.SchedulerCron\n"
        "assert name in sys.modules\n"
        "assert 'importlib.metadata' not in sys.modules\n"
        "assert 'croniter' not in sys.modules\n"
        "assert 'dotflow.providers.delivery' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


class Elsewhere:
    """A provider of another distribution."""


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed distribution that offers the provider `Elsewhere`."""
    entry = metadata.EntryPoint("Elsewhere", f"{__name__}:Elsewhere", "dotflow.providers")
    found = metadata.EntryPoints([entry])
    monkeypatch.setattr(metadata, "entry_points", found.select)
    return entry.name


def test_other_distributions_offer_providers(entry_point: str) -> None:
    """A name of the entry-point group `dotflow.providers` resolves, and is listed."""
    assert entry_point in dir(providers)
    try:
        assert getattr(providers, entry_point) is Elsewhere
        assert vars(providers)[entry_point] is Elsewhere
    finally:
        vars(providers).pop(entry_point, None)


def test_unknown_name_raises(entry_point: str) -> None:
    """An unknown name raises AttributeError that says which."""
    with pytest.raises(AttributeError, match=r"'dotflow\.providers' has no attribute 'Nope'"):
        providers.Nope  # noqa: B018
    assert not hasattr(providers, "__wrapped__")


def test_dir_lists_what_can_be_asked_for() -> None:
    """`dir()` lists every built-in provider."""
    assert set(providers.__all__) <= set(dir(providers))
    assert {"ExecutorLocal", "StorageFile"} <= set(dir(providers))


def test_an_override_that_is_made_like_a_default_is_called() -> None:
    """What `functools.wraps` takes over from a default does not make an override a default."""

    class Wrapping(TracerDefault):
        @functools.wraps(TracerDefault.start_task)
        def start_task(self, task: Any) -> None:
            heard.append(task)

    heard: list[Any] = []
    assert not is_noop(Wrapping().start_task)
    assert is_noop(Wrapping().end_task)
    assert not is_noop(None)
