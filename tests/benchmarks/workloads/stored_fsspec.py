"""A context that StorageFsspec stores, beside fsspec's own put of the same document.

Usage: stored_fsspec.py s3|file|disk COUNT ROUNDS

`file` is a local folder. With `disk`, fsspec puts each file beside its place, then moves it, with
a sync of the file and its folder: what StorageFsspec promises, and a put alone does not.
"""

from __future__ import annotations

import os
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


def sync(path: str) -> None:
    """Have a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


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

        def whole_and_synced(path: str) -> None:
            fs.pipe_file(f"{folder}/beside", document)
            sync(f"{folder}/beside")
            fs.mv(f"{folder}/beside", path)
            sync(folder)

        def puts() -> None:
            for number in range(count):
                path = f"{folder}/put-{number}"
                if where == "disk":
                    whole_and_synced(path)
                else:
                    fs.pipe_file(path, document)

        def measure() -> dict[str, float]:
            return {"post": timed_call(posts) * 1e6 / count, "put": timed_call(puts) * 1e6 / count}

        measure()
        figures = [measure() for _ in range(times)]
    tell({name: median(each[name] for each in figures) for name in figures[0]})


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
