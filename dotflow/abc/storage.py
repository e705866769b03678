"""The interface of a storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from dotflow.core.ids import belongs_to, prefix_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dotflow.core.context import Context
    from dotflow.core.model import Task


class Storage(ABC):
    """Keeps the context of each task under a key.

    Storage is part of the run, not telemetry: an error here fails the task. The engine
    calls `post` with `key` and `context` only, `get` and `key`; `post_all` for a context and
    the record of its run; and `clear` where a run with a given id starts again. A run with a given
    id keeps others out by a lease where `can_lease` says so.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    @property
    def can_lease(self) -> bool:
        """Whether a run can keep other runs of its workflow out, by `atomic_swap` and `delete`.

        By default whether it has both.
        """
        kind = type(self)
        return kind.atomic_swap is not Storage.atomic_swap and kind.delete is not Storage.delete

    @abstractmethod
    def post(
        self,
        key: str,
        context: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Store a context, in place of what was there.

        Args:
            key: Where.
            context: What.
            ttl: Seconds until it is gone; None: never, also where an old one had a ttl.
            fingerprint: A mark stored beside it.
        """

    @abstractmethod
    def get(self, key: str) -> Context:
        """Return the context under `key`, or an empty one."""

    @abstractmethod
    def key(self, task: Task) -> str:
        """Return the key of a task's context."""

    def post_all(self, contexts: Mapping[str, Context]) -> None:
        """Store contexts that belong together, each in place of what was there.

        A storage that can store all of them or none, in one go, overrides it. By default each is
        posted, in their order.

        Args:
            contexts: What, by where.
        """
        for key, context in contexts.items():
            self.post(key=key, context=context)

    def delete(self, key: str) -> bool:
        """Remove what is under `key`; tell whether anything was."""
        raise NotImplementedError(_missing(self, "delete"))

    def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that begin with `prefix`; tell how many."""
        raise NotImplementedError(_missing(self, "delete_prefix"))

    def list_keys(self, prefix: str) -> Iterable[str]:
        """Return the keys that begin with `prefix`."""
        raise NotImplementedError(_missing(self, "list_keys"))

    def atomic_swap(
        self,
        key: str,
        expected: Context | None,
        new: Context,
        ttl: float | None = None,
        fingerprint: str | None = None,
    ) -> bool:
        """Store `new` only if the value there equals that of `expected`; tell whether it did.

        `expected=None` or an empty context: only if nothing is there.
        """
        raise NotImplementedError(_missing(self, "atomic_swap"))

    def clear(self, workflow_id: Any) -> int:
        """Remove everything of one workflow, and of no other; tell how many keys.

        The lease of a run that goes on stays.
        """
        keys = list(self.list_keys(prefix_of(workflow_id)))
        return sum(self.delete(key) for key in keys if belongs_to(key, workflow_id))


def _missing(storage: Storage, method: str) -> str:
    return f"{type(storage).__qualname__} does not implement {method}()"
