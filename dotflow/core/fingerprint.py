"""A mark of a run's input, the same in every process, to tell whether the input changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dotflow.core.context import Context
from dotflow.core.exception import UnstableInput
from dotflow.core.ids import prefix_of
from dotflow.core.user_objects import guarded, is_a

if TYPE_CHECKING:
    from dotflow.abc.storage import Storage

FP_KEY_SUFFIX: Final = "_input_fp"


def fingerprint_of(values: Any) -> str:
    """Return the SHA-256 of the values' key-sorted JSON, as 64 hexadecimal digits.

    Where JSON refuses a value, a stable form stands for it: sets are sorted; bytes, dates,
    decimals, paths, enums, dataclasses, arrays have a form each; any other object is
    represented by its `repr`, which therefore must show all that matters of it.

    Args:
        values: What the run starts from.

    Raises:
        UnstableInput: A value has no form that is the same in every process.
    """
    import json  # noqa: PLC0415 - `import dotflow` does without it
    from hashlib import sha256  # noqa: PLC0415 - `import dotflow` does without it

    text, _ = guarded(lambda: json.dumps(values, sort_keys=True))
    if text is None:
        text = _stable_text(values)
    return sha256(text.encode()).hexdigest()


def _stable_text(values: Any) -> str:
    from dotflow.core.stable_form import stable_text  # noqa: PLC0415 - few inputs need it

    text, error = guarded(lambda: stable_text(values))
    if text is not None:
        return text
    if is_a(error, UnstableInput):
        raise error
    raise UnstableInput(values) from error


def fp_key(workflow_id: Any) -> str:
    """Return the key under which a workflow's fingerprint is stored."""
    return prefix_of(workflow_id) + FP_KEY_SUFFIX


def read_fingerprint(storage: Storage, workflow_id: Any) -> str | None:
    """Return the stored fingerprint, or None where there is none or it is no text."""
    value = storage.get(key=fp_key(workflow_id)).storage
    return value if isinstance(value, str) else None


def write_fingerprint(storage: Storage, workflow_id: Any, value: str) -> None:
    """Store a fingerprint in place of the one before."""
    storage.post(key=fp_key(workflow_id), context=Context(storage=value))
