"""The fixture `telemetry`, as a user's own tests use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

STEPS = """
    from opentelemetry import trace
    from dotflow import DotFlow, action

    tracer = trace.get_tracer(__name__)

    @action
    def load():
        with tracer.start_as_current_span("select"):
            return 1

    @action
    def save():
        raise ValueError("disk full")

    def billing(config):
        flow = DotFlow(config=config, name="billing")
        flow.task.add([load, save])
        return flow
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """Return a project with a workflow, whose warnings are errors."""
    pytester.makepyfile(billing=STEPS)
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    return pytester


def test_the_fixture_records(project: pytest.Pytester) -> None:
    """Each test has a recording of its own, with the steps' own spans in it."""
    project.makepyfile("""
        import pytest
        from billing import billing

        @pytest.mark.parametrize("number", [1, 2])
        def test_billing(telemetry, number):
            billing(telemetry.config).start()
            telemetry.assert_tree('''
                workflow billing ValueError
                  task load
                    select
                  task save ValueError
            ''')
            assert telemetry.metric("dotflow_task_failed_total", task="save") == 1
            assert telemetry.event("task.failed", task="save")["error"] == "disk full"
            telemetry.assert_balanced()

        def test_observe(telemetry, monkeypatch):
            import dotflow_otel
            monkeypatch.setattr(dotflow_otel, "observe", telemetry.observe)
            billing(dotflow_otel.observe(service_name="billing")).start()
            assert telemetry.span("task save").failed
    """)
    project.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_failed_test_shows_its_spans(project: pytest.Pytester) -> None:
    """The report of a failed test has the message, and the waterfall in a section of its own."""
    project.makepyfile("""
        from billing import billing

        def test_billing(telemetry):
            billing(telemetry.config).start()
            telemetry.span("task sav")

        def test_nothing(telemetry):
            assert telemetry.spans

        def test_without(tmp_path):
            assert not tmp_path
    """)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        [
            "E *AssertionError: no span 'task sav' was recorded; did you mean 'task save'*",
            "E *recorded:",
            "E *  workflow billing ValueError",
            "-* Recorded spans -*",
            "✗ workflow billing ValueError * ms ━*",
            "✓   task load * ms *━*",
            "✓     select * ms *━*",
            "✗   task save ValueError * ms *━*",
        ],
        consecutive=False,
    )
    assert result.stdout.str().count(" Recorded spans ") == 1
    # The traceback ends in the test.
    result.stdout.no_fnmatch_line("*dotflow_otel*.py:*")


def test_the_fixture_is_listed(project: pytest.Pytester) -> None:
    """`pytest --fixtures` tells of it."""
    result = project.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines(
        ["telemetry -- *", "*Record spans, metrics and log events of runs with `telemetry.config`."]
    )


def test_a_fixture_of_that_name_wins(project: pytest.Pytester) -> None:
    """A fixture of the project's own takes the place of ours, in reports too."""
    project.makeconftest("""
        import pytest

        @pytest.fixture
        def telemetry():
            return "mine"
    """)
    project.makepyfile("""
        def test_mine(telemetry):
            assert telemetry == "theirs"
    """)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*Recorded spans*")


def test_it_costs_nothing_unless_used(project: pytest.Pytester) -> None:
    """Without the fixture neither dotflow nor a telemetry library is imported."""
    project.makepyfile("""
        import sys

        def test_modules():
            assert "dotflow_otel.pytest_plugin" in sys.modules
            heavy = {"dotflow", "opentelemetry", "prometheus_client", "structlog"}
            assert heavy & set(sys.modules) == set()
            assert not [name for name in sys.modules if name.startswith("dotflow_otel.testing")]
    """)
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_missing_library(project: pytest.Pytester) -> None:
    """Where a library is missing the test that asks for the fixture fails, and says what to do."""
    project.makeconftest("import sys; sys.modules['structlog'] = None")
    project.makepyfile("""
        def test_billing(telemetry):
            pass

        def test_other():
            pass
    """)
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["E *ModuleNotFound: The module 'structlog' is not installed.*dotflow?otel?'"]
    )


def test_the_readme_s_test(project: pytest.Pytester) -> None:
    """The example of a test in `dotflow_otel/README.md` passes."""
    readme = (Path(__file__).parents[2] / "dotflow_otel" / "README.md").read_text(encoding="utf-8")
    (code,) = (
        code
        for code in re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
        if "def test_" in code
    )
    project.makepyfile(test_readme=code)
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_the_module_by_itself() -> None:
    """Importing the plugin's module imports pytest and the bare package, and no more."""
    source = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import dotflow_otel.pytest_plugin\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["dotflow_otel", "dotflow_otel.pytest_plugin"]
