"""What `make bench` does besides measuring: it ends what it starts, and tells it truly."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent

# A program whose child holds a pipe open and would live for ever.
PROGRAM = """
import subprocess, sys, time
code = "import sys, time; pipe = open(sys.argv[1], 'w'); print('up', flush=True); time.sleep(999)"
child = subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print("figures", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe, and a descriptor that reads its end when no process holds it open."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, descriptor
    os.close(descriptor)


def is_closed(descriptor: int) -> bool:
    """Wait until all who held it are gone."""
    return bool(select.select([descriptor], [], [], 10)[0]) and os.read(descriptor, 1) == b""


def test_a_child_is_ended_with_the_program(pipe: tuple[Path, int]) -> None:
    """What a program started and left behind is ended when the program has ended."""
    import processes

    path, descriptor = pipe
    printed = processes.run(Path(sys.executable), "-c", PROGRAM, str(path), "0")
    assert printed == "figures\n"
    assert is_closed(descriptor)


def test_a_program_is_ended_when_its_time_is_up(pipe: tuple[Path, int]) -> None:
    """A program that takes too long is ended, with what it started, and raises."""
    import processes

    path, descriptor = pipe
    with pytest.raises(subprocess.TimeoutExpired):
        processes.run(Path(sys.executable), "-c", PROGRAM, str(path), "999", limit=1)
    assert is_closed(descriptor)


def test_a_workload_without_figures_is_an_error() -> None:
    """A program that prints something else than figures raises, and tells what it printed."""
    import processes

    with pytest.raises(RuntimeError, match=r"printed '', no figures"):
        processes.workload(Path(sys.executable), "proc.py")


def test_measurements_alternate() -> None:
    """Both sides are measured in turn, each first in every other pair."""
    import processes

    order: list[str] = []
    processes.in_turn(3, lambda: order.append("here"), lambda: order.append("peer"))
    assert order == ["here", "peer", "peer", "here", "here", "peer"]


def test_a_row_tells_whether_its_bar_is_met() -> None:
    """A bar is for the ratio of both figures, or for ours, or there is none."""
    from processes import Pair
    from row import Row

    figures = Pair(30.0, 20.0)
    assert str(Row("run", "us", figures, "bare", 1.5)) == (
        "| run | 30.0 us | 20.0 us | bare | 1.50 | 1.5 | yes |"
    )
    assert str(Row("run", "us", figures, "bare", 1.4)).endswith("| 1.50 | 1.4 | **no** |")
    assert not Row("exit", "s", figures, "bare", 29.9, is_ratio=True).holds
    without = Row("run", "us", figures, "bare", None)
    assert str(without).endswith("| 1.50 | none | - |")
    assert without.holds


@pytest.mark.parametrize(
    ("cost", "options", "sizes", "ended"),
    [
        (1.0, {}, [10, 100, 1000, 10_000, 100_000], ""),
        (1e3, {}, [10, 100, 1000, 10_000], "100,000 would take longer than 20 s"),
        (1.0, {"most": 100, "reason": "it hangs"}, [10, 100], "it hangs"),
        (RuntimeError("no"), {}, [], "10 failed"),
        (subprocess.TimeoutExpired("it", 60), {}, [], "10 were not done in 60 s"),
    ],
)
def test_a_line_goes_as_far_as_it_can(
    cost: float | Exception, options: dict[str, Any], sizes: list[int], ended: str
) -> None:
    """A line of the plot ends where a point would take too long or fails, and tells why."""
    import lines

    def measure(size: int, seconds: float) -> dict[str, float]:
        if isinstance(cost, Exception):
            raise cost
        return {"run": cost}

    line = lines.measured(lines.Line("luigi", "here", measure, **options))
    assert list(line.points) == sizes
    assert line.ended == ended


@pytest.mark.parametrize("path", sorted((HERE / "peers").iterdir()), ids=lambda path: path.name)
def test_pins_are_names_and_versions(path: Path) -> None:
    """An environment is pinned by names and versions alone, after a line that says of what."""
    first, *pins = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.!+]+", pin)] == []


def test_a_complete_run_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine but not its name, the releases of the others, the rows and the points."""
    import report
    from lines import Measured
    from processes import Pair
    from row import Row

    monkeypatch.setattr(report, "RESULTS", tmp_path / "results.md")
    row = Row("run", "us", Pair(30.0, 20.0), "bare", 1.5)
    report.write([row], [Measured("luigi", "here", {10: 1250.0}, "it hangs")], 0.25)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    machine = r"\d+ cores, \d+ GiB, [A-Z][a-z]+ [\d.]+, Python [\d.]+"
    assert re.search(rf"\n- Machine: {machine}; load before the run 0.2\n", text)
    assert "- Beside: dotflow 1.0.1, apache-hamilton 1." in text
    assert f"\n{row}\n" in text
    assert "\n![Cost per task by number of tasks](cost_per_task.svg)\n" in text
    assert "\n| luigi | this process | 1,250 |  |  |  |  | it hangs |\n" in text
