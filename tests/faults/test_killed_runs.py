"""Runs killed by SIGKILL at each write, sync and rename of their storage, and resumed elsewhere.

So that no completed step runs again, no failed one is skipped, and each value comes back as it was.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from backends.gcs import Gcs
from backends.postgres import Postgres
from backends.s3 import S3
from needed import tool

if TYPE_CHECKING:
    from figures import Figures

HERE: Final = Path(__file__).parent
# The steps, by chain: of a chain, what comes after a step that runs again does so too.
ALL: Final = ("rates", "nothing", "fragile", "doubled")
GROUPS: Final = (ALL[:2], ALL[2:])
CHAINS: Final = {
    "sequential": (ALL,),
    "grouped sequential": GROUPS,
    "parallel": tuple((name,) for name in ALL),
    "grouped parallel": GROUPS,
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that counts boundaries, compiled."""
    compiler = tool("a C compiler", shutil.which("cc"), "apt-get install gcc libc6-dev")
    built = tmp_path_factory.mktemp("library") / "boundaries.so"
    options = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(built)]
    subprocess.run([compiler, *options, HERE / "boundaries.c", "-ldl"], check=True)
    return built


def outcomes(script: str, *arguments: Any, **variables: str) -> list[Any]:
    """Return what a program saw of a run that ended at each boundary; and of one that did not."""
    # Coverage would write files of its own, and count their boundaries.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, HERE / script, *map(str, arguments)],
        env={**env, **variables, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def killed_runs(library: Path, *arguments: Any) -> list[Any]:
    """Return what was seen of a run that was killed at each boundary."""
    return outcomes("killed_runs.py", *arguments, LD_PRELOAD=str(library))


def complete(completed: set[str], mode: str) -> set[str]:
    """Return which steps a resumed run restores, of those that completed."""
    restored: set[str] = set()
    for chain in CHAINS[mode]:
        restored |= set(itertools.takewhile(completed.__contains__, chain))
    return restored


def check(seen: list[Any], mode: str, figures: Figures, figure: str = "kills survived") -> None:
    """Check what was seen of killed runs, against the one that was not killed."""
    killed = [each for each in seen if each["killed"]]
    *_, whole = (each for each in seen if not each["killed"])
    assert {each["ended"] for each in seen} == {0}
    assert set(whole["told"][0]) == {*ALL} - {"fragile"}
    assert set(whole["restored"]) == complete({*ALL} - {"fragile"}, mode)
    double, lost = 0, 0
    for each in killed:
        (before, after), restored = each["ran"], set(each["restored"])
        double += len(complete(set(each["told"][0]), mode) & set(after))
        # What is restored has run, and did not fail; all others run.
        assert restored <= complete(set(before) - {"fragile"}, mode), each
        assert sorted([*restored, *after]) == sorted(ALL), each
        assert len(before) == len(set(before)), each
        assert each["statuses"] == ["Completed"] * 4, each
        for kept in ("results", "stored"):
            expected, found = json.dumps(whole[kept]), json.dumps(each[kept])
            lost += 0 if found == expected else len(expected)
    figures.add(figure, len(killed))
    figures.add("double runs", double)
    figures.add("bytes lost", lost)
    assert (double, lost) == (0, 0)


# In parallel the boundaries come in any order, so there a part of them will do for the others.
@pytest.mark.parametrize(
    ("storage", "mode", "step"),
    [
        ("file", "sequential", 1),
        ("file", "grouped sequential", 1),
        ("file", "parallel", 1),
        ("file", "grouped parallel", 3),
        ("fsspec", "sequential", 1),
        ("sqlite", "sequential", 1),
        ("sqlite", "grouped sequential", 2),
        ("sqlite", "parallel", 2),
    ],
)
def test_killed_at_each_boundary(
    storage: str, mode: str, step: int, library: Path, tmp_path: Path, figures: Figures
) -> None:
    """Wherever a run is killed, the next one runs what was not completed, and nothing else."""
    seen = killed_runs(library, storage, mode, tmp_path, 1, step)
    assert len(seen) * step > 60
    check(seen, mode, figures)


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_killed_beside_postgresql(
    mode: str, library: Path, tmp_path_factory: pytest.TempPathFactory, figures: Figures
) -> None:
    """Killed before each message to a PostgreSQL server."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        kind = json.dumps(["StorageSQL", {"url": server.url}])
        seen = killed_runs(library, kind, mode, tmp_path_factory.mktemp("runs"))
    assert len(seen) > 10
    check(seen, mode, figures)


def test_killed_beside_s3(library: Path, tmp_path: Path, figures: Figures) -> None:
    """Killed before each message to an S3 server."""
    with S3() as server:
        arguments = {"url": f"s3://{server.bucket()}/runs", **server.options()}
        kind = json.dumps(["StorageFsspec", arguments])
        seen = killed_runs(library, kind, "sequential", tmp_path, 1, 3)
    assert len(seen) > 10
    check(seen, "sequential", figures)


def test_killed_beside_gcs(
    library: Path, tmp_path: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each message to a server of Google Cloud Storage's protocol."""
    # Else gcsfs asks by gRPC, which this server does not speak, what kind of bucket it is.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    with Gcs(tmp_path) as server:
        kind = json.dumps(["StorageGCS", {"bucket": server.bucket(), **server.options()}])
        seen = killed_runs(library, kind, "sequential", tmp_path)
    assert len(seen) > 20
    check(seen, "sequential", figures)


@pytest.mark.parametrize(("mode", "step"), [("sequential", 1), ("parallel", 4)])
def test_lost_power(mode: str, step: int, tmp_path: Path, figures: Figures) -> None:
    """Whatever a disk has kept of what was not synced, no completed step of files runs again."""
    seen = outcomes("lost_power.py", "file", mode, tmp_path, 1, step)
    assert len(seen) * step > 150
    check(seen, mode, figures, "power losses survived")
