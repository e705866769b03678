"""Contract sections 1 to 3 and 16.1: names, import paths, constants, environment."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

import dotflow

if TYPE_CHECKING:
    from collections.abc import Callable

PATHS = [
    "dotflow:action",
    "dotflow.core.action:Action",
    "dotflow:Context",
    "dotflow.core.context:Context",
    "dotflow:Config",
    "dotflow.core.config:Config",
    "dotflow:DotFlow",
    "dotflow.core.dotflow:DotFlow",
    "dotflow:Task",
    "dotflow.core.task:Task",
    "dotflow.core.task:TaskBuilder",
    "dotflow.core.task:TaskError",
    "dotflow.core.workflow:Manager",
    "dotflow.core.workflow:grouper",
    "dotflow.core.exception:TaskError",
    "dotflow.core.exception:DotflowError",
    "dotflow.core.exception:MissingActionDecorator",
    "dotflow.core.exception:ExecutionModeNotExist",
    "dotflow.core.exception:ImportModuleError",
    "dotflow.core.exception:NotCallableObject",
    "dotflow.core.exception:ModuleNotFound",
    "dotflow.core.exception:InputChangedError",
    "dotflow.core.exception:InvalidOnInputChange",
    "dotflow.core.exception:InvalidWorkflowFactory",
    "dotflow.core.exception:WorkflowFlagConflict",
    "dotflow.core.exception:ProblemOrdering",
    "dotflow.core.exception:ExecutionWithClassError",
    "dotflow.core.types:TypeExecution",
    "dotflow.core.types:TypeInputChange",
    "dotflow.core.types:TypeOverlap",
    "dotflow.core.types:TypeStatus",
    "dotflow.core.types:TypeStorage",
    "dotflow.core.types:WorkflowStatus",
    "dotflow.core.types:VALID_POLICIES",
    "dotflow.core.types.execution:TypeExecution",
    "dotflow.core.types.input_change:TypeInputChange",
    "dotflow.core.types.overlap:TypeOverlap",
    "dotflow.core.types.status:TypeStatus",
    "dotflow.core.types.storage:TypeStorage",
    "dotflow.core.types.workflow:WorkflowStatus",
    "dotflow.types:TypeStatus",
    "dotflow.types:TypeStorage",
    "dotflow.core.module:Module",
    "dotflow.core.fingerprint:fingerprint_of",
    "dotflow.core.fingerprint:fp_key",
    "dotflow.core.fingerprint:read_fingerprint",
    "dotflow.core.fingerprint:write_fingerprint",
    "dotflow.core.fingerprint:FP_KEY_SUFFIX",
    "dotflow.abc.storage:Storage",
    "dotflow.abc.log:Log",
    "dotflow.abc.log:LEVELS",
    "dotflow.abc.log:LogRecord",
    "dotflow.abc.log:LogRecordError",
    "dotflow.abc.notify:Notify",
    "dotflow.abc.server:Server",
    "dotflow.abc.scheduler:Scheduler",
    "dotflow.abc.tracer:Tracer",
    "dotflow.abc.metrics:Metrics",
    "dotflow.testing:StorageContract",
]

PROVIDERS = {
    "LogDefault": "log_default",
    "MetricsDefault": "metrics_default",
    "NotifyDefault": "notify_default",
    "SchedulerDefault": "scheduler_default",
    "SchedulerCron": "scheduler_cron",
    "ServerDefault": "server_default",
    "StorageDefault": "storage_default",
    "StorageFile": "storage_file",
    "StorageFsspec": "storage_fsspec",
    "StorageGCS": "storage_gcs",
    "StorageS3": "storage_s3",
    "StorageSQL": "storage_sql",
    "TracerDefault": "tracer_default",
}

SAME = [
    ("dotflow:action", "dotflow.core.action:Action"),
    ("dotflow:Context", "dotflow.core.context:Context"),
    ("dotflow:Config", "dotflow.core.config:Config"),
    ("dotflow:DotFlow", "dotflow.core.dotflow:DotFlow"),
    ("dotflow:Task", "dotflow.core.task:Task"),
    ("dotflow.core.task:TaskError", "dotflow.core.exception:TaskError"),
    ("dotflow.types:TypeStatus", "dotflow.core.types:TypeStatus"),
    ("dotflow.types:TypeStorage", "dotflow.core.types.storage:TypeStorage"),
]


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", PATHS)
def test_import_path_exists(path: str) -> None:
    """Every import path of contract section 2 gives an object."""
    assert _load(path) is not None


@pytest.mark.parametrize(("one", "other"), SAME)
def test_paths_of_one_object_give_the_same_object(one: str, other: str) -> None:
    """Where section 2 lists several paths of an object, they lead to one object."""
    assert _load(one) is _load(other)


@pytest.mark.parametrize(("name", "module"), PROVIDERS.items())
def test_provider_is_found_by_package_and_by_module(name: str, module: str) -> None:
    """A provider is importable from dotflow.providers and from its own module."""
    provider = _load(f"dotflow.providers:{name}")
    assert provider is _load(f"dotflow.providers.{module}:{name}")
    assert provider.__name__ == name


def test_the_package_names_its_providers() -> None:
    """`from dotflow.providers import *` gives the providers, not the modules that hold them."""
    providers = importlib.import_module("dotflow.providers")
    assert all(isinstance(getattr(providers, name), type) for name in providers.__all__)
    assert PROVIDERS.keys() <= set(providers.__all__)


def test_unknown_provider_raises_attribute_error() -> None:
    """A name that no provider has raises AttributeError, which names it."""
    providers = importlib.import_module("dotflow.providers")
    with pytest.raises(AttributeError, match="NoSuchProvider"):
        _ = providers.NoSuchProvider


def test_all_lists_the_five_public_names() -> None:
    """dotflow.__all__ is action, Context, Config, DotFlow, Task."""
    assert set(dotflow.__all__) == {"action", "Context", "Config", "DotFlow", "Task"}
    assert len(dotflow.__all__) == 5


def test_version_and_description_are_texts() -> None:
    """dotflow.__version__ and dotflow.__description__ are texts with something in them."""
    assert isinstance(dotflow.__version__, str)
    assert dotflow.__version__[0].isdigit()
    assert isinstance(dotflow.__description__, str)
    assert dotflow.__description__


def test_import_loads_no_optional_library(script: Callable[..., Any]) -> None:
    """Import dotflow loads none of OpenTelemetry, prometheus-client, structlog, croniter."""
    done = script("""
        import sys
        import dotflow
        dotflow.Config, dotflow.DotFlow, dotflow.Task, dotflow.action, dotflow.Context
        heavy = {"opentelemetry", "prometheus_client", "structlog", "croniter", "dotflow_otel"}
        print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
    """)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_provider_without_its_extra_raises_at_construction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A provider whose library is absent imports, and raises ModuleNotFound when constructed."""
    from dotflow.core.exception import ModuleNotFound

    cron = _load("dotflow.providers.scheduler_cron:SchedulerCron")
    monkeypatch.setitem(sys.modules, "croniter", None)
    with pytest.raises(ModuleNotFound) as caught:
        cron("* * * * *")
    assert "croniter" in str(caught.value)
    assert "dotflow[scheduler]" in str(caught.value)


@pytest.mark.parametrize(
    ("owner", "values"),
    [
        (
            "TypeStatus",
            {
                "NOT_STARTED": "Not started",
                "IN_PROGRESS": "In progress",
                "COMPLETED": "Completed",
                "PAUSED": "Paused",
                "RETRY": "Retry",
                "FAILED": "Failed",
            },
        ),
        (
            "WorkflowStatus",
            {
                "NEW": "New",
                "IN_PROGRESS": "In progress",
                "COMPLETED": "Completed",
                "FAILED": "Failed",
            },
        ),
        (
            "TypeExecution",
            {"SEQUENTIAL": "sequential", "BACKGROUND": "background", "PARALLEL": "parallel"},
        ),
        ("TypeInputChange", {"REUSE": "reuse", "RESET": "reset", "RAISE": "raise"}),
        ("TypeOverlap", {"SKIP": "skip", "QUEUE": "queue", "PARALLEL": "parallel"}),
        ("TypeStorage", {"DEFAULT": "default", "FILE": "file", "S3": "s3", "GCS": "gcs"}),
    ],
)
def test_constants_are_plain_texts(owner: str, values: dict[str, str]) -> None:
    """Each constant class has exactly these attributes, plain str with these values."""
    holder = _load(f"dotflow.core.types:{owner}")
    found = {name: getattr(holder, name) for name in vars(holder) if name.isupper()}
    assert found == values
    assert {type(value) for value in found.values()} == {str}


def test_valid_policies_is_the_tuple_of_the_three() -> None:
    """VALID_POLICIES is the tuple reuse, reset, raise."""
    policies = _load("dotflow.core.types:VALID_POLICIES")
    assert policies == ("reuse", "reset", "raise")
    assert isinstance(policies, tuple)


@pytest.mark.parametrize(
    ("status", "symbol"),
    [
        ("Not started", "\u26aa"),
        ("In progress", "\U0001f535"),
        ("Completed", "\u2705"),
        ("Paused", "\u25fc\ufe0f"),
        ("Retry", "\u2757"),
        ("Failed", "\u274c"),
        ("no status", None),
    ],
)
def test_get_symbol(status: str, symbol: str | None) -> None:
    """TypeStatus.get_symbol gives each status its symbol, and None for anything else."""
    assert _load("dotflow.core.types:TypeStatus").get_symbol(status) == symbol


def test_output_path_comes_from_the_environment(script: Callable[..., Any]) -> None:
    """DOTFLOW_OUTPUT_PATH is the base directory; the log path is flow.log in it."""
    source = """
        from dotflow.settings import Settings
        print(Settings.START_PATH, Settings.LOG_PATH)
    """
    assert script(source, DOTFLOW_OUTPUT_PATH="there").stdout.split() == ["there", "there/flow.log"]
    assert script(source).stdout.split() == [".output", ".output/flow.log"]
