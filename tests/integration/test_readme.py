"""Every Python snippet of the README runs, and prints what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_SNIPPET = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
SNIPPETS = _SNIPPET.findall(README)


def test_readme_has_snippets() -> None:
    """There are snippets to be run, and none that the pattern overlooks."""
    assert len(SNIPPETS) == README.count("```python") == 13


@pytest.mark.parametrize(("code", "output"), SNIPPETS)
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


def test_links_lead_somewhere() -> None:
    """What the README links to in this repository is there."""
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_commands_exist() -> None:
    """Every make target and every extra that the README names is one."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)) <= targets
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(project["project"]["optional-dependencies"])
    named = set(re.findall(r"'\.\[([a-z]+)\]'", README))
    assert named
    assert named <= extras
