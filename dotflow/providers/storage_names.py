"""Safe file names for keys: no two keys share one, on any file system."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

# Only hashed names have it, so it tells them from the plain ones.
HASHED: Final = "~"

_PLAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,198}[a-z0-9_-])?", re.ASCII)
_ID_TAIL = re.compile(r"-[a-z0-9]{26}(?=(?:\.json)?$)")
_SLUG = re.compile(r"[^a-z0-9_-]+")


def file_name(key: str) -> str:
    """Return the name of a key's file.

    An ordinary key is its own name. For any other (`..`, `/`, too long, other letters, upper
    case outside the task id) the name is what can be recognised of it, `~` and a hash.
    """
    lower = key.lower()
    # Capitals only where a task id has them: so no two plain names differ in case alone.
    if _PLAIN.fullmatch(lower) and key == _ID_TAIL.sub(lambda tail: tail[0].upper(), lower):
        return key
    slug = _SLUG.sub("-", lower.removesuffix(".json"))[:80]
    digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug}{HASHED}{digest[:32]}.json"


def key_of(name: str) -> str | None:
    """Return the key of a plain name; None for a hashed one, or a file of somebody else."""
    return name if HASHED not in name and file_name(name) == name else None
