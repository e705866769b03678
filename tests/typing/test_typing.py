"""What users' type checkers say of programs that use dotflow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from needed import tool

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYRIGHT = ROOT / "build" / "tools" / "node_modules" / "pyright" / "index.js"

# A line, and what is said of it.
Findings = dict[int, str]


def expected(program: Path) -> list[int]:
    """Return the lines of a program that are marked as wrong."""
    lines = program.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith("# error")]


def mypy(program: Path, tmp_path: Path) -> Findings:
    """Return what `mypy --strict` finds, without the project's own settings."""
    pytest.importorskip("mypy", reason="mypy comes with the extra dev")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--output=json"]
    done = _run([*command, f"--cache-dir={tmp_path}", str(program)])
    assert done.returncode in (0, 1), done.stderr
    findings = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    own = [each for each in findings if each["severity"] == "error"]
    assert {Path(each["file"]).name for each in own} <= {program.name}
    return {each["line"]: each["message"] for each in own}


def pyright(program: Path, tmp_path: Path) -> Findings:
    """Return what pyright finds, in strict mode."""
    node = tool("Node.js", shutil.which("node"), "see https://nodejs.org")
    script = tool("pyright", PYRIGHT if PYRIGHT.is_file() else None, "run `make tools`")
    shutil.copy(program, tmp_path)
    settings = {
        "include": [program.name],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
        "reportUnusedExpression": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [node, script, "--outputjson", f"--pythonpath={sys.executable}", "-p", str(tmp_path)]
    done = _run(command)
    assert done.returncode in (0, 1), done.stderr
    findings = json.loads(done.stdout)["generalDiagnostics"]
    errors = [each for each in findings if each["severity"] == "error"]
    return {each["range"]["start"]["line"] + 1: each["message"] for each in errors}


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize("name", ["right.py", "wrong.py"])
def test_a_program(name: str, checker: object, tmp_path: Path) -> None:
    """Every wrong line is found, and nothing is said of any other."""
    program = HERE / name
    found: Findings = checker(program, tmp_path)  # type: ignore[operator]
    marked = expected(program)
    missed = [line for line in marked if line not in found]
    assert (missed, {line: found[line] for line in found if line not in marked}) == ([], {})
    assert len(marked) == (0 if name == "right.py" else 49)
