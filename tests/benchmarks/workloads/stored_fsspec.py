"""A context that StorageFsspec stores, beside fsspec's own put of the same document.

Usage: stored_fsspec.py s3|file COUNT ROUNDS
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fsspec.core import url_to_fs
from rounds import tell, timed_call

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "helpers"))

from dotflow import Context
from dotflow.providers import StorageFsspec

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def place(where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return a URL to write to, and what its file system takes."""
    if where == "s3":
        from backends.s3 import S3

        with S3() as server:
            yield f"s3://{server.bucket()}/kept", server.options()
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder).as_uri(), {}


def main(where: str, count: int, times: int) -> None:
    """Measure in turn, after one round that warms up."""
    context = Context(storage={"rows": list(range(30))}, task_id="0" * 26)
    with place(where) as (url, options):
        storage = StorageFsspec(url, **options)
        fs, folder = url_to_fs(url, **options)
        storage.post("measured", context)
        document = fs.cat_file(f"{folder}/measured")

        def posts() -> None:
            for number in range(count):
                storage.post(f"post-{number}", context)

        def puts() -> None:
            for number in range(count):
                fs.pipe_file(f"{folder}/put-{number}", document)

        def measure() -> dict[str, float]:
            return {"post": timed_call(posts) * 1e6 / count, "put": timed_call(puts) * 1e6 / count}

        measure()
        figures = [measure() for _ in range(times)]
    tell({name: median(each[name] for each in figures) for name in figures[0]})


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
