"""Objects named by a string."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from dotflow.core.exception import ImportModuleError
from dotflow.core.user_objects import guarded, name_of, text_of


class Module:
    """Resolves `'pkg.mod:attr'` and `'pkg.mod.attr'`; anything but a string is given back.

    Raises:
        ImportModuleError: There is no such module or attribute, or its import fails.
    """

    def __new__(cls, value: Any) -> Any:
        """Return the object that `value` names."""
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
        place = place_of(error)
        if not place and (module.endswith(".py") or "/" in module):
            reason = f"{module!r} is the path of a file, and a module is named as by 'import'"
        else:
            reason = f"{name_of(type(error))}: {text_of(error)}"
        raise ImportModuleError(path, reason, place) from error
    return found


def place_of(error: BaseException) -> str:
    """Return where an error was raised, as `file.py, line 3`, or nothing where that is unknown.

    That is the innermost line of the user's: one below the working directory, if there is one,
    else the innermost that is neither Python's import system nor dotflow.
    """
    place, _ = guarded(lambda: _place(error))
    return place or ""


def _place(error: BaseException) -> str:
    here = os.getcwd() + os.sep
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename.removeprefix(here)}, line {error.lineno}"
    innermost = users = ""
    at = error.__traceback__
    while at is not None:
        file, module = at.tb_frame.f_code.co_filename, str(at.tb_frame.f_globals.get("__name__"))
        if not (file.startswith("<") or module.startswith(("importlib", "dotflow."))):
            innermost = f"{file.removeprefix(here)}, line {at.tb_lineno}"
            if file.startswith(here) and "site-packages" not in file:
                users = innermost
        at = at.tb_next
    return users or innermost
