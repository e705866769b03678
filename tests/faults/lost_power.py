"""Takes the power away at each sync, rename and removal of a run, and has another resume it.

`test_killed_runs.py` runs this program:

    lost_power.py STORAGE MODE FOLDER [FIRST STEP]

What a disk keeps is only what was synced: the bytes of a file by `fsync` of the file, its name by
`fsync` of its folder. Anything else may be there after a loss of power or not, so that each moment
has several outcomes: nothing of it, all names with no bytes, and a choice by lot of names and of
parts of files. It prints one JSON object for each, as `killed_runs.py` does.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from killed_runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable

AFTER: Final = ("synced", "names", "by lot 1", "by lot 2")


class Disk:
    """One folder, and what of it has been synced."""

    def __init__(self, folder: Path, number: int, at_boundary: Callable[[Disk], None]) -> None:
        self._folder = folder
        self._left = number
        self._at_boundary = at_boundary
        self._bytes: dict[int, bytes] = {}
        self._names = self._inodes()
        # What is open keeps its number, so that no other file is taken for it.
        self._open: list[int] = []
        self._fsync = os.fsync

    def watch(self) -> None:
        """Notice what this process does to the folder from now on."""
        os.fsync = self._synced
        for name in ("replace", "rename", "unlink"):
            setattr(os, name, self._counted(getattr(os, name)))

    def after(self, kind: str, folder: Path) -> None:
        """Put into a folder what the disk may have after a loss of power now."""
        chosen = random.Random(f"{kind} {self._left} {len(self._bytes)}")  # noqa: S311 - repeatable
        now = self._inodes()
        if kind == "synced":
            names = self._names
        elif kind == "names":
            names = now
        else:
            # A name that another file has now is of the one or the other; others may be there.
            names = {
                name: chosen.choice([there[name] for there in (self._names, now) if name in there])
                for name in sorted(self._names.keys() | now.keys())
                if (name in self._names and name in now) or chosen.random() < 0.5
            }
        folder.mkdir()
        for name, inode in names.items():
            kept = self._bytes.get(inode, b"")
            if kind.startswith("by lot") and not kept and now.get(name) == inode:
                written = (self._folder / name).read_bytes()
                kept = written[: chosen.randint(0, len(written))]
            (folder / name).write_bytes(kept)

    def _inodes(self) -> dict[str, int]:
        return {entry.name: entry.stat().st_ino for entry in self._folder.iterdir()}

    def _synced(self, descriptor: int) -> None:
        self._boundary()
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            assert Path(f"/proc/self/fd/{descriptor}").resolve() == self._folder
            self._names = self._inodes()
        else:
            self._open.append(os.dup(descriptor))
            reading = Path(f"/proc/self/fd/{descriptor}")
            self._bytes[about.st_ino] = reading.read_bytes()
        self._fsync(descriptor)

    def _counted(self, original: Callable[..., None]) -> Callable[..., None]:
        def counted(*args: Any, **kwargs: Any) -> None:
            self._boundary()
            original(*args, **kwargs)

        return counted

    def _boundary(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._at_boundary(self)


def main(kind: str, mode: str, folder: Path, number: int = 1, step: int = 1) -> None:
    """Lose the power at each boundary of so many, until the run ends before."""
    lost = True
    while lost:
        runs = Runs(kind, mode, folder, number)
        states = {after: folder / f"{number} {after}" for after in AFTER}

        def lose_power(disk: Disk, states: dict[str, Path] = states) -> None:
            for after, state in states.items():
                state.mkdir()
                disk.after(after, state / "tasks")
            os._exit(0)

        def watch(storage: Any, number: int = number) -> None:
            Disk(storage.path, number, lose_power).watch()

        assert runs.begin(watch) == 0
        lost = states[AFTER[0]].exists()
        for state in states.values():
            if not lost:
                shutil.copytree(runs.folder, state)
            elif (runs.folder / "log").exists():
                shutil.copy(runs.folder / "log", state)
            print(json.dumps({"killed": lost, **runs.resume(state)}), flush=True)
        number += step


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *[int(each) for each in sys.argv[4:]])
