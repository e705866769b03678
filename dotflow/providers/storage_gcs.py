"""`StorageFsspec` on Google Cloud Storage, with the arguments of dotflow 1.x."""

from __future__ import annotations

from typing import Any

from dotflow.core.arguments import check_text, strict_arguments
from dotflow.providers.storage_fsspec import StorageBucket


class StorageGCS(StorageBucket):
    """Keeps one object a key in a bucket: `<prefix><key>`; see `StorageFsspec`.

    Args:
        bucket: The name of the bucket, which must be there.
        prefix: What the names of the objects begin with.
        project: Whose the bucket is; None: what the environment says.
        **options: What `gcsfs.GCSFileSystem` takes, as `token=`.

    Raises:
        InvalidOption: An argument is not valid.
        ModuleNotFound: gcsfs is not installed.
        StorageError: There is no such bucket, or it may not be listed.
    """

    @strict_arguments
    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "dotflow/",
        project: str | None = None,
        **options: Any,
    ) -> None:
        check_text("project", project, "give the id of a project", optional=True)
        if project is not None:
            options["project"] = project
        self._open("gs", bucket, prefix, options)
