"""`StorageFsspec` on S3, with the arguments of dotflow 1.x."""

from __future__ import annotations

from typing import Any

from dotflow.core.arguments import check_text, strict_arguments
from dotflow.providers.storage_fsspec import StorageBucket


class StorageS3(StorageBucket):
    """Keeps one object a key in a bucket of S3: `<prefix><key>`; see `StorageFsspec`.

    Args:
        bucket: The name of the bucket, which must be there.
        prefix: What the names of the objects begin with.
        region: Where the bucket is; None: what the environment says.
        **options: What `s3fs.S3FileSystem` takes, as `endpoint_url=`, `key=` and `secret=`.

    Raises:
        InvalidOption: An argument is not valid.
        ModuleNotFound: s3fs is not installed.
        StorageError: There is no such bucket, or it may not be listed.
    """

    @strict_arguments
    def __init__(
        self,
        *,
        bucket: str,
        prefix: str = "dotflow/",
        region: str | None = None,
        **options: Any,
    ) -> None:
        check_text("region", region, "give a region, as 'eu-central-1'", optional=True)
        if region is not None:
            more = options.get("client_kwargs") or {}
            options["client_kwargs"] = {**more, "region_name": region}
        self._open("s3", bucket, prefix, options)
