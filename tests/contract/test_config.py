"""Contract section 12: Config; and section 13: the interfaces."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import pytest

from dotflow import Config, Context, DotFlow, action
from dotflow.abc.log import LEVELS, Log, LogRecord, LogRecordError
from dotflow.abc.storage import Storage
from dotflow.core.config import DefaultProviders, default_providers
from dotflow.core.exception import NotCallableObject
from dotflow.providers import LogDefault, StorageDefault, TracerDefault

SLOTS = ("storage", "notify", "log", "server", "scheduler", "tracer", "metrics")
ABSTRACT = {
    "storage": {"post", "get", "key"},
    "notify": {"hook_status_task"},
    "server": {"create_workflow", "update_workflow", "create_task", "update_task"},
    "scheduler": {"start", "stop"},
    "tracer": {"start_workflow", "end_workflow", "start_task", "end_task"},
    "metrics": {
        "workflow_started",
        "workflow_completed",
        "workflow_failed",
        "task_completed",
        "task_failed",
        "task_retried",
    },
}
Recorder = Any


@action
def ok() -> str:
    """Return a value."""
    return "ok"


@pytest.mark.parametrize("slot", SLOTS)
def test_default_of_each_slot(slot: str) -> None:
    """A slot that is not given holds the <Slot>Default provider."""
    providers = importlib.import_module("dotflow.providers")
    assert type(getattr(Config(), slot)) is getattr(providers, f"{slot.capitalize()}Default")


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("wrong", ["x", 5, object(), [], type])
def test_provider_of_the_wrong_type(slot: str, wrong: object) -> None:
    """A value that is no instance of the slot's interface: an error that names the slot."""
    given: dict[str, Any] = {slot: wrong}
    with pytest.raises(NotCallableObject, match=slot):
        Config(**given)


def test_class_in_place_of_an_instance() -> None:
    """A provider's class, not constructed, is of the wrong type."""
    provider: Any = importlib.import_module("dotflow.providers").StorageDefault
    with pytest.raises(NotCallableObject, match="storage"):
        Config(storage=provider)


def test_executor_of_the_wrong_type() -> None:
    """The eighth slot is checked too."""
    wrong: Any = "x"
    with pytest.raises(NotCallableObject, match="executor"):
        Config(executor=wrong)


def test_given_providers_are_kept(recorder: Recorder) -> None:
    """Each slot is an attribute that holds the provider given."""
    config = recorder.config()
    given = {slot: getattr(config, slot) for slot in SLOTS}
    again = Config(**given)
    assert {slot: getattr(again, slot) for slot in SLOTS} == given


def test_slots_may_be_positional(recorder: Recorder) -> None:
    """storage, notify, log, server, scheduler, tracer, metrics is the order of arguments."""
    config = recorder.config()
    given = [getattr(config, slot) for slot in SLOTS]
    again = Config(*given)
    assert [getattr(again, slot) for slot in SLOTS] == given


@pytest.mark.parametrize(("slot", "names"), ABSTRACT.items())
def test_abstract_methods(slot: str, names: set[str]) -> None:
    """An interface asks for the methods of 1.x and no more."""
    interface = getattr(importlib.import_module(f"dotflow.abc.{slot}"), slot.capitalize())
    assert interface.__abstractmethods__ == names
    with pytest.raises(TypeError):
        interface()


class Minimal(Storage):
    """A storage with the three methods that must be."""

    def post(
        self, key: str, context: Context, ttl: float | None = None, fingerprint: str | None = None
    ) -> None:
        """Store nothing."""

    def get(self, key: str) -> Context:
        """Return nothing."""
        return Context()

    def key(self, task: Any) -> str:
        """Name."""
        return str(task.task_id)


def test_optional_methods_of_a_storage() -> None:
    """delete, delete_prefix, list_keys and atomic_swap raise NotImplementedError in the base."""
    storage = Minimal()
    with pytest.raises(NotImplementedError):
        storage.delete("k")
    with pytest.raises(NotImplementedError):
        storage.delete_prefix("k")
    with pytest.raises(NotImplementedError):
        list(storage.list_keys("k"))
    with pytest.raises(NotImplementedError):
        storage.atomic_swap("k", None, Context())


def test_storage_constructor_takes_anything() -> None:
    """Storage(*args, **kwargs) takes whatever it is given."""
    assert isinstance(Minimal(1, path="x"), Storage)


def test_levels() -> None:
    """LEVELS maps the names of levels to those of logging."""
    assert {name: LEVELS[name] for name in ("DEBUG", "INFO", "WARNING", "ERROR")} == {
        "DEBUG": logging.DEBUG,
        "INFO": logging.INFO,
        "WARNING": logging.WARNING,
        "ERROR": logging.ERROR,
    }


class OwnLog(Log):
    """A log as the documentation of 1.x shows it: it sets three attributes."""

    def __init__(self, logger: logging.Logger, level: int, form: str = "simple") -> None:
        self._logger = logger
        self._level = level
        self._format = form


def test_own_log_inherits_filtering_and_formatting(caplog: pytest.LogCaptureFixture) -> None:
    """A subclass with _logger, _level and _format has calls filtered, formatted and logged."""
    logger = logging.getLogger("contract.own_log")
    with caplog.at_level(logging.DEBUG, logger="contract.own_log"):
        log = OwnLog(logger, logging.WARNING)
        flow = DotFlow(config=Config(log=log))
        flow.task.add(ok)
        [task] = flow.task.queue
        log.debug(task=task)
        log.info(task=task)
        log.warning(task=task)
        log.error(task=task)
    own = [record for record in caplog.records if record.name == "contract.own_log"]
    assert [record.levelname for record in own] == ["WARNING", "ERROR"]
    assert str(flow.workflow_id) in own[0].getMessage()
    assert task.task_id in own[0].getMessage()
    assert "Not started" in own[0].getMessage()


def test_log_without_a_task(caplog: pytest.LogCaptureFixture) -> None:
    """Without a task the text is that of the keywords."""
    with caplog.at_level(logging.DEBUG, logger="contract.own_log"):
        OwnLog(logging.getLogger("contract.own_log"), logging.DEBUG).debug(note="hello")
    [record] = [record for record in caplog.records if record.name == "contract.own_log"]
    assert record.getMessage() == str({"note": "hello"})


def test_log_record_models() -> None:
    """LogRecord and LogRecordError have the documented fields and write JSON without None."""
    empty = LogRecordError()
    assert (empty.exception, empty.message) == ("", "")
    error = LogRecordError(exception="ValueError", message="no")
    record = LogRecord(
        timestamp="2020-01-02T00:00:00+00:00",
        level="ERROR",
        workflow_id="w",
        task_id="t",
        status="Failed",
        error=error,
    )
    import json

    assert json.loads(record.model_dump_json(exclude_none=True)) == {
        "timestamp": "2020-01-02T00:00:00+00:00",
        "level": "ERROR",
        "workflow_id": "w",
        "task_id": "t",
        "status": "Failed",
        "error": {"exception": "ValueError", "message": "no"},
    }


def test_default_providers() -> None:
    """Inside, a `Config` takes the providers that are given where a slot is None; not outside."""
    log, storage, own = LogDefault(level="ERROR"), StorageDefault(), StorageDefault()
    with default_providers(log=log, storage=storage, tracer=None):
        inside, with_own = Config(), DotFlow(config=Config(storage=own)).config
        with default_providers(storage=own):
            assert (Config().log, Config().storage) == (log, own)
        assert Config().storage is storage
    assert (inside.log, inside.storage, type(inside.tracer)) == (log, storage, TracerDefault)
    assert (with_own.log, with_own.storage) == (log, own)
    assert Config().log is not log
    assert Config().storage is not storage


def test_default_providers_are_undone() -> None:
    """Each `Config` that took some gets the default ones back; its own and later ones stay."""
    log, own = LogDefault(level="ERROR"), LogDefault(level="DEBUG")
    outer, inner = DefaultProviders(log=log, tracer=None), DefaultProviders(log=own)
    outer.apply()
    taken, given, replaced = Config(), Config(log=own), Config()
    replaced.log = own
    inner.apply()
    within = Config()
    assert (taken.log, given.log, within.log) == (log, own, own)
    outer.undo()
    outer.undo()
    assert (type(taken.log), taken.log is log) == (LogDefault, False)
    assert (given.log, replaced.log, within.log, Config().log) == (own, own, own, own)
    inner.undo()
    assert within.log is not own
    assert Config().log is not own


def test_default_providers_are_checked() -> None:
    """A default of the wrong type is refused where it would be used."""
    wrong: Any = "x"
    with default_providers(log=wrong), pytest.raises(NotCallableObject, match="log"):
        Config()
    Config()
