"""The pickled form of a value in pieces, so that large bytes in it are not copied."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Reduce = Callable[[Any], tuple[Any, ...] | None]

PROTOCOL: Final = pickle.HIGHEST_PROTOCOL

# From this size on a pickler gives bytes and texts to its file as they are, in a piece of their
# own. All else comes in frames, which begin with one of these (the first has the protocol
# before it) and so are told from such a piece.
_OWN_PIECE: Final = 1 << 16
_FRAME: Final = b"\x80\x95"

# The one written in Python, which few interpreters use, sends the beginning of a frame ahead.
TELLS_FRAMES: Final = pickle.Pickler.__module__ == "_pickle"


class NotImportable(Exception):
    """The pickled form refers to a module that the other process does not have."""


class PickleFile:
    """What a pickler writes to.

    Args:
        names: What the pickled form must not refer to: the names of modules, encoded.

    Attributes:
        pieces: What was written.
    """

    __slots__ = ("_names", "pieces")

    def __init__(self, names: Sequence[bytes] = ()) -> None:
        self._names = names
        self.pieces: list[bytes] = []

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Take the next piece.

        Raises:
            NotImportable: It refers to one of the modules.
        """
        # What could change before it has been sent is copied.
        data = piece if type(piece) is bytes else bytes(piece)
        if len(data) < _OWN_PIECE or not _is_content(data):
            for name in self._names:
                if name in data:
                    raise NotImportable(name)
        self.pieces.append(data)


def _is_content(large: bytes) -> bool:
    return TELLS_FRAMES and large[0] not in _FRAME


class _Pickler(pickle.Pickler):
    def __init__(self, file: PickleFile, reduced: Reduce) -> None:
        super().__init__(file, PROTOCOL)
        self._reduced = reduced

    def reducer_override(self, value: Any) -> Any:
        reduced = self._reduced(value)
        return NotImplemented if reduced is None else reduced


def pickled(
    value: Any, names: Sequence[bytes] = (), reduced: Reduce | None = None
) -> Sequence[bytes]:
    """Pickle a value.

    Args:
        value: The value.
        names: As of `PickleFile`.
        reduced: Returns how an object is reduced, None where it is as it says itself; it is not
            asked of what is of Python's basic types.

    Raises:
        NotImportable: It refers to one of the modules.
        Exception: Whatever a value raises that cannot be pickled.
    """
    file = PickleFile(names)
    pickler = pickle.Pickler(file, PROTOCOL) if reduced is None else _Pickler(file, reduced)
    pickler.dump(value)
    return file.pieces
