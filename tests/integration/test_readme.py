"""Every Python snippet of the README runs, and prints what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SNIPPET = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
SNIPPETS = _SNIPPET.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def test_readme_has_snippets() -> None:
    """There are snippets to be run, and none that the pattern overlooks."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(SNIPPETS) == text.count("```python") == 7


@pytest.mark.parametrize(("code", "output"), SNIPPETS)
def test_snippet(code: str, output: str, tmp_path: Path) -> None:
    """A snippet runs as a program in an empty folder, and prints the text below it."""
    script = tmp_path / "snippet.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if output:
        assert done.stdout == output
