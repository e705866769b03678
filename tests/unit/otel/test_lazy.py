"""What importing costs, and what a missing library does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dotflow_otel
from dotflow.core.exception import ModuleNotFound

ROOT = Path(__file__).resolve().parents[3]


def python(source: str) -> str:
    """Run source text in a new interpreter; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("LogStructlog", "structlog"),
        ("MetricsOpenTelemetry", "opentelemetry"),
        ("MetricsPrometheus", "prometheus_client"),
        ("TracerOpenTelemetry", "opentelemetry"),
    ],
)
def test_a_provider_imports_its_own_library(name: str, own: str) -> None:
    """Importing one provider imports its library, and not those of the others."""
    libraries = ("opentelemetry", "prometheus_client", "structlog")
    source = (
        f"import sys, dotflow_otel; assert not set({libraries}) & set(sys.modules);"
        f"from dotflow_otel import {name};"
        f"print(*sorted(set({libraries}) & set(sys.modules)))"
    )
    assert python(source) == own


@pytest.mark.parametrize("name", ["MetricsOpenTelemetry", "TracerOpenTelemetry"])
def test_a_provider_imports_no_sdk(name: str) -> None:
    """OpenTelemetry's SDK is imported once it is needed, and not with a provider."""
    source = (
        f"import sys; from dotflow_otel import {name}; print('opentelemetry.sdk' in sys.modules)"
    )
    assert python(source) == "False"


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("LogStructlog", "structlog"),
        ("MetricsPrometheus", "prometheus_client"),
        ("TracerOpenTelemetry", "opentelemetry"),
        ("MetricsOpenTelemetry", "opentelemetry"),
        ("metrics_app", "prometheus_client"),
        ("push_metrics", "prometheus_client"),
        ("serve_metrics", "prometheus_client"),
        ("setup", "opentelemetry"),
        ("observe", "structlog"),
    ],
)
def test_a_missing_library(name: str, library: str) -> None:
    """A name whose library is missing can be imported; using it tells what to install."""
    source = (
        f"import sys; sys.modules[{library!r}] = None\n"
        f"from dotflow_otel import {name}\n"
        "from dotflow.core.exception import ModuleNotFound\n"
        "try:\n"
        f"    {name}(1)\n"
        "except ModuleNotFound as error:\n"
        "    print(error)\n"
    )
    message = python(source)
    assert repr(library) in message
    assert "dotflow[otel]" in message


def test_all_names() -> None:
    """Every name that is listed can be had, and is what it is called."""
    names = [name for name in dir(dotflow_otel) if name in dotflow_otel.__all__]
    assert len(names) == len(dotflow_otel.__all__) > 10
    assert [getattr(dotflow_otel, name).__name__ for name in names] == names


def test_unknown_name() -> None:
    """A name that is not there is an AttributeError, which names it."""
    with pytest.raises(AttributeError, match="Nonsense"):
        dotflow_otel.Nonsense  # noqa: B018


def test_setup_stays_a_function() -> None:
    """Importing the package's modules, in any order, hides none of its names."""
    source = (
        "import dotflow_otel.sdk.setting_up, dotflow_otel.observing, dotflow_otel.traces.tracer;"
        "from dotflow_otel import observe, setup; print(callable(setup), callable(observe))"
    )
    assert python(source) == "True True"


def test_stand_in_raises_at_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for a provider whose library is missing is a class that cannot be made."""

    def lacking(name: str) -> Any:
        raise ModuleNotFoundError(name, name="structlog")

    monkeypatch.delitem(vars(dotflow_otel), "LogStructlog", raising=False)
    monkeypatch.setattr(dotflow_otel, "import_module", lacking)
    stand_in = dotflow_otel.LogStructlog
    assert (stand_in.__name__, stand_in.__doc__) == ("LogStructlog", "Needs structlog.")
    with pytest.raises(ModuleNotFound):
        stand_in(level="INFO")


def test_another_module_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is missing and none of these libraries is the error that it is."""

    def lacking(name: str) -> Any:
        raise ModuleNotFoundError(name, name="wrapt")

    monkeypatch.delitem(vars(dotflow_otel), "LogStructlog", raising=False)
    monkeypatch.setattr(dotflow_otel, "import_module", lacking)
    with pytest.raises(ModuleNotFoundError, match="logs"):
        dotflow_otel.LogStructlog  # noqa: B018


def test_a_star_import() -> None:
    """A star import gives every public name, and `dir` tells them."""
    found: dict[str, object] = {}
    exec("from dotflow_otel import *", found)  # noqa: S102 - it is what is tested
    assert {"observe", "TracerOpenTelemetry", "serve_metrics"} <= found.keys()
    assert not {"Any", "import_module"} & set(dir(dotflow_otel))
