"""Arguments that a call does not take are refused before it runs."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest

from dotflow.core.arguments import refuse_unknown, strict_arguments

ran: list[Any] = []


class Store:
    @strict_arguments
    def __init__(self, path: str = ".", mode: str = "r", *, buffering: int = 0) -> None:
        ran.append((path, mode, buffering))


class Inherits(Store):
    pass


class Passes(Store):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


class Nothing:
    @strict_arguments
    def __init__(self) -> None:
        ran.append(())


@strict_arguments
def send(address: str, /, subject: str = "") -> tuple[str, str]:
    """Send it."""
    return address, subject


@strict_arguments
def everything(first: int, *args: int, **kwargs: int) -> tuple[int, tuple[int, ...], Any]:
    """Take any."""
    return first, args, kwargs


REFUSED = [
    (lambda: Store(pth="/"), "Store() takes no argument 'pth': is 'path' meant?"),
    (lambda: Store(buf=1), "Store() takes no argument 'buf': is 'buffering' meant?"),
    (
        lambda: Store(colour=1),
        "Store() takes no argument 'colour': it takes 'path', 'mode', 'buffering'",
    ),
    (
        lambda: Store("/", "r", 1),
        (
            "Store() takes at most 2 positional arguments ('path', 'mode'), but got 3: "
            "pass 'buffering' by name"
        ),
    ),
    (lambda: Inherits(pth="/"), "Inherits() takes no argument 'pth': is 'path' meant?"),
    (lambda: Passes(pth="/"), "Store() takes no argument 'pth': is 'path' meant?"),
    (lambda: Nothing(path="/"), "Nothing() takes no argument 'path': it takes none"),
    (lambda: Nothing("/"), "Nothing() takes no positional argument, but got 1"),
    (lambda: send("a", subj="b"), "send() takes no argument 'subj': is 'subject' meant?"),
    (
        lambda: send("a", address="b"),
        "send() takes no argument 'address': it takes 'subject'",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_wrong_argument_is_refused_before_the_call(call: Any, message: str) -> None:
    """The error says what was called, what it does not take and what it does."""
    ran.clear()
    with pytest.raises(TypeError) as refused:
        call()
    assert str(refused.value) == message
    assert ran == []


def test_a_class_made_in_a_function_has_a_short_name() -> None:
    """The name is that of the class alone, wherever it was made."""

    class Local(Store):
        pass

    with pytest.raises(TypeError, match=r"^Local\(\) takes no argument 'pth': is 'path' meant\?$"):
        Local(pth="/")


def test_a_right_call_goes_through() -> None:
    """Arguments arrive as they were given, by position and by name."""
    ran.clear()
    Store("/", buffering=2)
    Passes("/", mode="w")
    assert ran == [("/", "r", 2), ("/", "w", 0)]
    assert send("a", subject="b") == ("a", "b")
    assert everything(1, 2, other=3) == (1, (2,), {"other": 3})


def test_the_signature_stays() -> None:
    """Editors and `help` show the arguments, the name and the text of the function itself."""
    assert str(signature(Store)) == (
        "(path: 'str' = '.', mode: 'str' = 'r', *, buffering: 'int' = 0) -> 'None'"
    )
    assert (send.__name__, send.__doc__) == ("send", "Send it.")


def test_names_are_refused_one_by_one() -> None:
    """The first unknown name is told; with none unknown nothing happens."""
    refuse_unknown("start", ["mode"], ["mode", "resume"])
    with pytest.raises(TypeError) as refused:
        refuse_unknown("start", ["mode", "resum", "x"], iter(["mode", "resume"]))
    assert str(refused.value) == "start() takes no argument 'resum': is 'resume' meant?"
