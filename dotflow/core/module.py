"""Objects named by a string."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dotflow.core.exception import ImportModuleError, place_of, text_of


class Module:
    """Resolves `'pkg.mod:attr'` and `'pkg.mod.attr'`; anything but a string is given back.

    Raises:
        ImportModuleError: There is no such module or attribute, or its import fails.
    """

    def __new__(cls, value: Any) -> Any:
        """Give the object that `value` names."""
        return import_object(value) if isinstance(value, str) else value


def import_object(path: str) -> Any:
    """Import what a string names.

    Raises:
        ImportModuleError: There is no such module or attribute, or its import fails.
    """
    module, separator, attribute = path.partition(":")
    if not separator:
        module, _, attribute = path.rpartition(".")
    if not module or not attribute:
        raise ImportModuleError(path, "it names no attribute of a module")
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        # `SystemExit`: the module is a program, and not guarded by its `__name__`.
        reason = f"{type(error).__name__}: {text_of(error)}"
        raise ImportModuleError(path, reason, place_of(error)) from error
    return found
