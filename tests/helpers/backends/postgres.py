"""A PostgreSQL on loopback, with its data in a folder of the test: stopped and started again."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Final, Self

from backends.ports import free_port
from backends.waiting import PATIENCE, eventually
from needed import tool

PACKAGE: Final = "apt-get install postgresql"
USER: Final = "dotflow"
PASSWORD: Final = "s3cret-of-dotflow"  # noqa: S105 - of a server that ends with its test
_READY: Final = re.compile(r"database system is ready to accept connections")


def _folder_of_programs() -> Path:
    # Debian has a folder a version, none of them on the path.
    named = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found = named or (debian[-1] if debian else None)
    return Path(tool("PostgreSQL", found, PACKAGE)).parent


def _account() -> dict[str, Any]:
    """Return what makes a process of another user's where this one is root's: it refuses root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise AssertionError("no user to run PostgreSQL as: neither postgres nor nobody")


class Postgres:
    """A PostgreSQL that runs while it is entered, with `fsync` as it is by default.

    Args:
        folder: Where its data and log go.

    Attributes:
        port: Where it listens, the same after each start.
        starts: How often it was started.
        url: For SQLAlchemy, password included.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = _folder_of_programs()
        self._account = _account()
        self._folder = folder
        self._log = folder / "log"
        self._data = folder / "data"
        self.starts = 0
        self.port = free_port()
        self.url = f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._account:
            os.chown(self._folder, self._account["user"], self._account["group"])
            _open_to_all(self._folder)
        self._initialise()
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        begun = len(self.log)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", self._data, "-p", str(self.port)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
                    *("-c", "autovacuum=off"),  # the tests count transactions
                ],
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self._account,
            )

        def ready() -> bool:
            assert self._process.poll() is None, self.log
            return _READY.search(self.log[begun:]) is not None

        eventually(ready, "PostgreSQL to be ready")
        self.starts += 1

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: by SIGINT, which breaks all connections, or by SIGQUIT, as a crash would."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it and start it again."""
        self.stop(how)
        self.start()

    @property
    def log(self) -> str:
        """What the server has logged."""
        if not self._log.exists():
            return ""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        password.chmod(0o644)
        done = subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._data, "-U", USER, "-E", "UTF8"),
                *("--locale=C.UTF-8", "-A", "scram-sha-256", f"--pwfile={password}"),
            ],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            **self._account,
        )
        assert done.returncode == 0, done.stdout


def _open_to_all(folder: Path) -> None:
    # pytest's folders are its user's alone: another user must be let through to this one.
    for each in (folder, *folder.parents):
        mode = each.stat().st_mode
        if not mode & 0o001 and each.owner() == pwd.getpwuid(os.getuid()).pw_name:
            each.chmod(mode | 0o011)
