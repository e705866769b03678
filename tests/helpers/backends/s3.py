"""An S3 on loopback (moto's), as a process of its own."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any, Final, Self

from backends.waiting import PATIENCE
from needed import tool

_ROOT: Final = Path(__file__).resolve().parents[3]
_PYTHON: Final = _ROOT / "build" / "stores" / "bin" / "python"
_PROGRAM: Final = _ROOT / "tests" / "backends" / "programs" / "s3.py"
SECRET: Final = "s3cret-of-the-bucket"  # noqa: S105 - of a server that ends with its test


class S3:
    """A server that runs while it is entered, with no buckets.

    Attributes:
        url: Where it is.
    """

    url: str

    def __init__(self) -> None:
        found = _PYTHON if _PYTHON.exists() else None
        self._command = [tool("moto's server", found, "make tools"), str(_PROGRAM)]
        self._numbers = itertools.count()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._command} ended with {self._process.wait(PATIENCE)}"
        self.url = json.loads(line)["url"]
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def options(self, url: str | None = None) -> dict[str, Any]:
        """Return what s3fs needs to reach it, or what stands in front of it."""
        return {"endpoint_url": url or self.url, "key": "dotflow", "secret": SECRET}

    def bucket(self) -> str:
        """Make a bucket, and return its name."""
        import s3fs

        name = f"bucket-{next(self._numbers)}"
        s3fs.S3FileSystem(**self.options(), skip_instance_cache=True).mkdir(name)
        return name
