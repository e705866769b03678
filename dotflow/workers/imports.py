"""The modules of a run's process that its workers import, and the stand-in for its main one.

Looked at once a run. Was one loaded again, kept workers have older code than this process: a
reload, as in a notebook, gives a module another `__spec__`; an import after its removal from
`sys.modules` gives another module. And workers find those to which `sys.path` leads no more, or
never did: a program may change its folder, or the path only for the import.

The main module is not imported by workers. What of it travels, by value, is put here under its
name. So in a step what pickles by reference finds it: an object of a class of the script goes to
the step's own process pool, and back to the run.
"""

from __future__ import annotations

import contextlib
import os
import sys
from os.path import dirname, isfile, join
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakValueDictionary, ref

from dotflow.core.process import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    SetState = Callable[[Any, Any], object]

    Place = tuple[str, Sequence[str] | None]


NAME = "__main__"


class StandIn:
    """What has been put into the main module of this process, where that is a worker."""

    names: set[str] | None = None


def become_stand_in() -> None:
    """Note that the main module of this process is a worker's."""
    StandIn.names = set()


def is_stand_in() -> bool:
    """Return whether the main module of this process is a worker's."""
    return StandIn.names is not None


def renew(file: str | None, found_as: str | None) -> None:
    """Begin a run: empty the stand-in, and have children of steps find the module itself.

    Args:
        file: Its file, if any; `multiprocessing` has children import it that are not forked.
        found_as: The name that it was found by, if any, as with `python -m`.
    """
    if StandIn.names is None:
        return
    attributes = vars(sys.modules[NAME])
    for name in StandIn.names:
        attributes.pop(name, None)
    StandIn.names.clear()
    attributes.pop("__file__", None)
    if file is not None:
        attributes["__file__"] = file
    # The class of module specs, which is not imported for this.
    attributes["__spec__"] = found_as and type(sys.__spec__)(found_as, None, origin=file)


def is_defined_in_main(value: Any) -> bool:
    """Return whether a function or class is found in the main module under its own name."""
    if getattr(value, "__module__", None) != NAME:
        return False
    found: Any = sys.modules.get(NAME)
    for part in str(getattr(value, "__qualname__", "")).split("."):
        found = getattr(found, part, None)
    return found is value


def note_sent(value: Any) -> None:
    """Note that a class travels by value, to know it when it comes back."""
    if _received.get(id(value)) is not value:
        _sent[id(value)] = value


def settle(value: Any, state: tuple[SetState, str, bool, Any]) -> None:
    """Set the state of a definition that has just been read.

    Args:
        value: The definition.
        state: What sets the state, the qualified name, whether that leads to it in the main
            module, and the state.
    """
    set_state, name, is_of_main, rest = state
    if _sent.get(id(value)) is value:
        return  # it has come back, and stays as it is
    set_state(value, rest)
    if isinstance(value, type):
        _received[id(value)] = value
    if is_of_main and StandIn.names is not None:
        _define(value, name, StandIn.names)


def _define(value: Any, name: str, defined: set[str]) -> None:
    if "." not in name:
        setattr(sys.modules[NAME], name, value)
        defined.add(name)
    else:
        with contextlib.suppress(Exception):  # which a metaclass may forbid
            value.__qualname__ = name  # cloudpickle leaves out in which class a class is


# Classes by their identity: a metaclass may have them be equal, or not to be hashed.
_sent: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()
_received: Final[WeakValueDictionary[int, Any]] = WeakValueDictionary()


# Where the standard library is, and this package: nobody works on them. Other packages are
# somebody's work also where they are installed.
_SETTLED: Final = (dirname(os.__file__) + "/", dirname(dirname(__file__)) + "/")

_lock: Final = fork_safe_lock()


class CodeVersion:
    """Counts how often modules of this process were loaded again.

    There may be thousands of them. Python moves one that it loads to the end of `sys.modules`, so
    mostly a look at that will do; where a module was put there by hand is seen of those that were
    not installed.

    Attributes:
        number: The count, when it was looked at last.
    """

    def __init__(self) -> None:
        self.number = 0
        self._loaded: dict[str, _Loaded] = {}
        # Modules that were taken away: the next ones of their names are other code.
        self._removed: dict[str, Callable[[], Any]] = {}
        self._count = -1
        # The last one of all, and those that were not installed.
        self._watched: list[tuple[str, _Loaded]] = []
        # The folders in which they were found, mostly few; and which of them, and what in them,
        # were out of the path last.
        self._folders: frozenset[str | None] = frozenset()
        self._out: frozenset[str | None] = frozenset()
        self._places: dict[str, Place] = {}

    @property
    def modules(self) -> list[str]:
        """The names of those that were not installed, in the order of `sys.modules`."""
        return [name for name, _ in self._watched[1:]]

    def renew(self) -> int:
        """Look for modules that were loaded again; return the count."""
        with _lock:
            if self._may_have_changed():
                self.number += self._look()
                self._folders = frozenset(each.folder for each in self._loaded.values())
                self._out, self._places = frozenset(), {}
            return self.number

    def out_of(self, path: Sequence[str]) -> dict[str, Place]:
        """Return where modules are, by their names, that are in none of these folders."""
        with _lock:
            out = self._folders.difference(path)
            if out != self._out:
                found = (
                    (n, _place(n, each)) for n, each in self._loaded.items() if each.folder in out
                )
                self._places = {name: place for name, place in found if place is not None}
                self._out = out
            return self._places

    def _may_have_changed(self) -> bool:
        try:
            last = next(reversed(sys.modules))
        except RuntimeError:
            return True  # another thread imports
        if len(sys.modules) != self._count or last != self._watched[0][0]:
            return True
        return any(_is_other(*each) for each in self._watched)

    def _look(self) -> bool:
        modules = list(sys.modules.items())
        self._count = len(modules)
        before, self._loaded = self._loaded, {}
        has_changed = False
        for name, module in modules:
            known = before.get(name)
            if known is None:
                loaded = _noted(name, module)
                if loaded is None:
                    continue
                removed = self._removed.pop(name, None)
                has_changed |= removed is not None and removed() is not module
            elif module is None:
                continue  # as good as removed: to import it is an error
            elif _is_other(name, known):
                loaded = _Loaded.now(name, module)
                has_changed = True
            else:
                loaded = known
            self._loaded[name] = loaded
        gone = before.keys() - self._loaded.keys()
        self._removed.update((name, _weakly(before[name].module)) for name in gone)
        name, module = modules[-1]
        self._watched = [(name, _Loaded.now(name, module))]
        self._watched += [each for each in self._loaded.items() if not each[1].is_installed]
        return has_changed


class _Loaded(NamedTuple):
    module: Any
    spec: Any
    is_installed: bool
    # Where the path has to lead for it to be found by its name; None: no folder would do.
    folder: str | None

    @classmethod
    def now(cls, name: str, module: Any) -> _Loaded:
        attributes = _attributes(module)
        file = attributes.get("__file__")
        file = file if isinstance(file, str) else ""
        return cls(module, attributes.get("__spec__"), _is_installed(file), _folder(name, file))


def _noted(name: str, module: Any) -> _Loaded | None:
    # None for those on which nobody works.
    file = _attributes(module).get("__file__")
    if name == "__main__" or not isinstance(file, str):
        return None
    is_settled = file.startswith(_SETTLED) and not _is_installed(file)
    return None if is_settled else _Loaded.now(name, module)


def _is_other(name: str, known: _Loaded) -> bool:
    found = sys.modules.get(name)
    return found is not known.module or _attributes(found).get("__spec__") is not known.spec


def _weakly(module: Any) -> Callable[[], Any]:
    try:
        return ref(module)
    except TypeError:  # no module, but what one has put in its place
        return lambda: None


def _attributes(module: Any) -> dict[str, Any]:
    # As they are: to ask a module that loads itself when it is asked would load it.
    try:
        attributes: dict[str, Any] = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return attributes


def _is_installed(file: str) -> bool:
    return "/site-packages/" in file or "/dist-packages/" in file


def _folder(name: str, file: str) -> str | None:
    folder, _, base = file.rpartition("/")
    if base.startswith("__init__."):
        folder, _, base = folder.rpartition("/")
    found = None
    for part in reversed(name.split(".")):
        if base.partition(".")[0] != part:
            return None
        found = folder
        folder, _, base = folder.rpartition("/")
    return found


def _place(name: str, loaded: _Loaded) -> Place | None:
    # None for one that is in no file of its own, or has another name as well.
    attributes, spec = _attributes(loaded.module), loaded.spec
    file: Any = attributes.get("__file__")
    with contextlib.suppress(Exception):  # of whatever is in their place
        if spec.name == name and spec.origin == file and isfile(file):
            path = attributes.get("__path__")
            return file, None if path is None else [*path]
    return None


# --- in workers -----------------------------------------------------------------------


class FinderByPlace:
    """Has modules imported from where they are in the run's process, before all other finders.

    Attributes:
        places: Where they are, by their names.
    """

    def __init__(self) -> None:
        self.places: Mapping[str, Place] = {}

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> Any:
        """Return the spec of a module; None where the path leads to it."""
        if name not in self.places:
            return None
        from importlib.util import spec_from_file_location  # noqa: PLC0415 - rarely needed

        file, path = self.places[name]
        found = None if path is None else list(path)
        return spec_from_file_location(name, file, submodule_search_locations=found)


def import_path() -> list[str]:
    """Return `sys.path` as it is for other folders: where its entries led to when first used."""
    return [_absolute(entry) for entry in sys.path if isinstance(entry, str)]


def _absolute(entry: str) -> str:
    # An empty one is where the process is, at any time.
    if not entry or entry.startswith("/"):
        return entry
    found = getattr(sys.path_importer_cache.get(entry), "path", None)
    with contextlib.suppress(OSError):  # the folder was removed
        return found if isinstance(found, str) else join(os.getcwd(), entry)
    return entry


# Of this process.
code_version: Final = CodeVersion()
