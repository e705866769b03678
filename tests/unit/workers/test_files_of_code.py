"""What travels by value keeps the name of its file, whatever cloudpickle makes of that."""

from __future__ import annotations

import traceback
from types import CodeType
from typing import Any

import pytest

from dotflow.workers import by_value
from dotflow.workers.pickling import dump, load


def _nameless(code: CodeType) -> Any:
    make, given = _REAL(code)
    return make, tuple("<dynamic-code>" if each == code.co_filename else each for each in given)


_REAL = by_value.of_cloudpickle[CodeType]


@pytest.mark.parametrize("nameless", [False, True], ids=["as installed", "3.1.3"])
def test_a_traceback_names_the_file(nameless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also that of a function in a function."""
    if nameless:
        table = dict(by_value.of_cloudpickle) | {CodeType: _nameless}
        monkeypatch.setattr(by_value, "of_cloudpickle", table)

    def outer() -> None:
        def inner() -> None:
            raise KeyError("k")

        inner()

    found = load(dump(outer, "a function"), "a function")
    assert found is not outer
    with pytest.raises(KeyError) as caught:
        found()
    frames = traceback.extract_tb(caught.tb)[1:]
    assert [(frame.filename, frame.name) for frame in frames] == [
        (__file__, "outer"),
        (__file__, "inner"),
    ]
    assert frames[1].line == 'raise KeyError("k")'
