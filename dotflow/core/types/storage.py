"""The storages that the command line knows by name."""

from __future__ import annotations

from typing import Final


class TypeStorage:
    """Names of storages."""

    DEFAULT: Final = "default"
    FILE: Final = "file"
    S3: Final = "s3"
    GCS: Final = "gcs"
