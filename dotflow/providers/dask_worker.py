"""A worker of our own Dask cluster."""

from __future__ import annotations

from contextlib import suppress

import psutil  # Dask needs it too
from distributed.deploy.subprocess import SubprocessWorker


class QuietWorker(SubprocessWorker):
    """A process with a Dask worker and its nanny, that ends without a word.

    Dask ends what a nanny has started, and then the nanny, which in between may tell on the
    program's stderr what it misses.
    """

    async def close(self) -> None:
        """End them, the nanny first."""
        if self.process is not None and self.process.returncode is None:
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(self.process.pid).children(recursive=True)
                self.process.kill()
                for child in children:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            await self.process.wait()
        await super().close()
