"""Every Python snippet and every command of the pages for users runs, and prints what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from urllib.request import urlopen

import pytest
from made_history import MadeHistory

ROOT = Path(__file__).parents[2]

# What users read, in the order in which they meet it.
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "dotflow/README.md",
        "dotflow_otel/README.md",
        "grafana/README.md",
        "examples/migrate.md",
    )
}
_SNIPPET = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
SNIPPETS = {name: _SNIPPET.findall(page) for name, page in PAGES.items()}

# Blocks of a shell whose first command is ours, in the order in which a reader runs them.
_COMMANDS = re.compile(r"```sh\n(dotflow .*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
COMMANDS = [block for page in PAGES.values() for block in _COMMANDS.findall(page)]
_TIME = re.compile(r" +[\d.]+ m?s\b")


def test_pages_have_snippets() -> None:
    """There are snippets to be run, and none that the pattern overlooks."""
    found = {name: len(snippets) for name, snippets in SNIPPETS.items()}
    assert found == {name: page.count("```python") for name, page in PAGES.items()}
    assert list(found.values()) == [1, 10, 7, 0, 1]


@pytest.mark.parametrize(
    ("code", "output"),
    [
        pytest.param(*snippet, id=f"{name}-{number}")
        for name, snippets in SNIPPETS.items()
        for number, snippet in enumerate(snippets, 1)
    ],
)
def test_snippet(code: str, output: str, tmp_path: Path) -> None:
    """A snippet runs as a program in an empty folder, and prints the text below it."""
    script = tmp_path / "snippet.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(tmp_path),
            # A collector of the developer's must get no spans of tests.
            "OTEL_TRACES_EXPORTER": "none",
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if output:
        assert done.stdout == output


def test_commands(tmp_path: Path) -> None:
    """The commands run, one block after another in one shell, and print the text below them."""
    endless = ("dotflow schedule", "dotflow ui")
    blocks = [(code, output) for code, output in COMMANDS if not code.startswith(endless)]
    assert len(blocks) == 7
    script = "".join(f"{code}printf '\\0'\n" for code, _ in blocks)
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=tmp_path,
        env=_shell_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (code, output), printed in zip(blocks, done.stdout.split("\0"), strict=False):
        if output:
            # The lines of the last command; those before it are not shown.
            lines = printed.splitlines()[-output.count("\n") :]
            assert [_untimed(line) for line in lines] == [
                _untimed(line) for line in output.splitlines()
            ], code
    made = {
        name: json.loads((tmp_path / "weather" / f"{name}.json").read_text())
        for name in ("result", "jaeger", "perfetto")
    }
    assert made["result"]["status"] == "Completed"
    (of_run,) = made["jaeger"]["resourceSpans"]
    assert len(of_run["scopeSpans"][0]["spans"]) == 4  # a run, two tasks, an attempt
    assert made["perfetto"]["otherData"]["workflow"] == "weather"


def test_schedule(tmp_path: Path) -> None:
    """The schedule of the pages names its next run, and ends at SIGTERM."""
    (command,) = [code for code, _ in COMMANDS if "dotflow schedule" in code]
    subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "dotflow", "init", "weather"],
        cwd=tmp_path,
        env=_shell_environment(),
        check=True,
    )
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        cwd=tmp_path / "weather",
        env=_shell_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert re.match(
            r"note: weather: runs next at .* 06:00:00 CES?T; ", process.stderr.readline()
        )
        process.terminate()
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143


def test_ui(tmp_path: Path) -> None:
    """The pages of runs are where `dotflow_otel/README.md` says."""
    (command,) = [code for code, _ in COMMANDS if code.startswith("dotflow ui")]
    with MadeHistory(tmp_path / ".dotflow" / "history.db") as made:
        made.add("weather")
    process = subprocess.Popen(
        # Another program may listen at the usual port.
        ["/bin/sh", "-c", f"exec {command.strip()} --port 0"],
        cwd=tmp_path,
        env=_shell_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stderr.readline())
        assert address
        with urlopen(f"{address[0]}api/runs", timeout=20) as answer:  # noqa: S310 - loopback
            assert [run["workflow"] for run in json.load(answer)["runs"]] == ["weather"]
        process.terminate()
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143


def _untimed(line: str) -> str:
    return _TIME.sub(" TIME", line).rstrip()


def _shell_environment() -> dict[str, str]:
    return {
        **os.environ,
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        # A collector of the developer's must get no spans of tests.
        "OTEL_TRACES_EXPORTER": "none",
    }


def test_reference() -> None:
    """`make docs` writes the API reference, and pdoc has nothing to warn of."""
    # Tests that `make` runs must not be taken for a part of it.
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "docs"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = {
        page: (ROOT / "build" / "docs" / f"{page}.html").read_text(encoding="utf-8")
        for page in ("dotflow", "dotflow_otel", "dotflow/abc/storage", "dotflow/providers")
    }
    shown = {page: set(re.findall(r'<section id="(\w+)">', text)) for page, text in pages.items()}
    assert shown["dotflow"] == {"Config", "Context", "DotFlow", "Task", "action"}
    assert {"TracerOpenTelemetry", "observe", "record_telemetry"} <= shown["dotflow_otel"]
    assert {"ExecutorDask", "StorageFile"} <= shown["dotflow/providers"]
    assert shown["dotflow/abc/storage"] >= {"Storage"}


def test_the_readme_is_short() -> None:
    """Who reads the first page knows within minutes what there is, and where the rest is."""
    assert PAGES["README.md"].count("\n") < 350


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name: str) -> None:
    """Every make target and every extra that a page names is one."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^ *|`)make ([a-z-]+)", PAGES[name], re.MULTILINE)) <= targets
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"])
    named = set(re.findall(r"'\.\[([a-z,]+)\]'", PAGES[name]))
    assert {extra for group in named for extra in group.split(",")} <= extras
    assert named or name != "README.md"
