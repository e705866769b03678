"""Notifications over apprise: to a hundred services, from the templates that users give."""

from __future__ import annotations

from html import escape
from string import Formatter
from typing import TYPE_CHECKING, Any, Final

from dotflow.core.arguments import (
    check_choice,
    check_count,
    check_seconds,
    check_text,
    strict_arguments,
)
from dotflow.core.exception import InvalidOption
from dotflow.core.types import TypeStatus
from dotflow.providers.apprise_notifier import (
    STATUSES,
    VALUES,
    AppriseNotifier,
    RateLimit,
    kind_of,
)
from dotflow.providers.apprise_target import BadTarget, Message, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dotflow.core.model import Task

TITLE: Final = "{symbol} {workflow}: {task} {status}"
BODY: Final = "Task {task} ({task_id}) of workflow {workflow} ({workflow_id}): {status}\n{error}"

# What means something in CommonMark.
_MARKS: Final = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_{}[]()<>#+-.!|~"})


class NotifyApprise(AppriseNotifier):
    """Notifies services of what becomes of tasks, by the addresses that apprise has for them.

    The text is written when a task's status changes, and sent in the background: for each service
    there is a queue and a thread. One that hangs holds up neither the run nor the others, and
    the exit of the interpreter for at most `flush_timeout` seconds. Failures are logged, without
    the address.

    Args:
        urls: An address in apprise's notation, as `json://host/path`, or several.
        title: The template of the title; the names in braces are those of `FIELDS`.
        body: The template of the text.
        body_format: What the template of the text is written in: `text`, `markdown` or `html`. In
            the last two the values are escaped.
        statuses: Those of which to notify, as `TypeStatus` has them; None: all.
        rate_limit: How many notifications at most are made in `rate_period`; None: any number. What
            is left out is counted, which the next one and one log line tell.
        rate_period: Seconds.
        timeout: Seconds that connecting, and then each part of the answer, may take, unless the
            address says it (`rto`, `cto`).
        max_waiting: How many may wait for a service; further ones are dropped and counted,
            which is logged once.
        flush_timeout: Seconds that the exit of the interpreter may wait for what is to be sent.

    Attributes:
        FIELDS: The names that templates may have.

    Raises:
        InvalidOption: An address cannot be used (the message does not show it), a template has a
            name that there is not, or another value cannot be.
        ModuleNotFound: apprise is not installed.
    """

    FIELDS: Final = tuple(VALUES)

    @strict_arguments
    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        title: str = TITLE,
        body: str = BODY,
        body_format: str = "text",
        statuses: Iterable[str] | None = (TypeStatus.FAILED,),
        rate_limit: int | None = 20,
        rate_period: float = 60.0,
        timeout: float = 4.0,
        max_waiting: int = 1000,
        flush_timeout: float = 5.0,
    ) -> None:
        addresses = _addresses(urls)
        check_choice("body_format", body_format, _ESCAPES)
        check_count("rate_limit", rate_limit)
        check_seconds("rate_period", rate_period)
        check_seconds("timeout", timeout)
        check_count("max_waiting", max_waiting, optional=False)
        check_seconds("flush_timeout", flush_timeout, zero=True)
        self._title, self._body = _Template("title", title), _Template("body", body)
        self._escape = _ESCAPES[body_format]
        options = {
            "body_format": body_format,
            "timeout": timeout,
            "max_waiting": max_waiting,
            "flush_timeout": flush_timeout,
        }
        chosen = _statuses(statuses)
        limit = RateLimit(rate_limit, rate_period)
        super().__init__(_services(addresses, **options), chosen, limit)

    def message(self, task: Task) -> Message:
        """Return the filled templates."""
        title = self._title.filled(task, _one_line)
        body = self._body.filled(task, self._escape).strip()
        return Message(title, body or title, kind_of(task))


def _services(addresses: Sequence[str], **options: Any) -> list[Target]:
    found = []
    for place, address in enumerate(addresses, start=1):
        try:
            found.append(Target(address, f"{place} of {len(addresses)}", **options))
        except BadTarget as error:
            why = str(error)
        else:
            continue
        raise InvalidOption("urls", f"<address {place} of {len(addresses)}>", why)
    return found


def _addresses(urls: Any) -> Sequence[str]:
    found = [urls] if isinstance(urls, str) else urls
    if isinstance(found, (list, tuple)) and found and all(isinstance(each, str) for each in found):
        return found
    # Whatever it is, it may hold a token.
    shown = f"<{type(urls).__name__}>"
    raise InvalidOption("urls", shown, "give an address of apprise, as json://host, or several")


def _statuses(statuses: Any) -> frozenset[str]:
    if statuses is None:
        return frozenset(STATUSES)
    found = [statuses] if isinstance(statuses, str) else statuses
    try:
        given = tuple(found)
    except TypeError:
        raise InvalidOption("statuses", statuses, "give texts, as ['Failed'], or None") from None
    for each in given:
        check_choice("statuses", each, STATUSES)
    return frozenset(given)


class _Template:
    """A text with names in braces."""

    def __init__(self, option: str, text: object) -> None:
        check_text(option, text, "give a template, as '{task}: {status}'")
        self._text = str(text)
        try:
            parsed = list(Formatter().parse(self._text))
        except ValueError as error:
            raise InvalidOption(option, text, f"it is no template: {error}") from None
        self._names = [name for _, name, _, _ in parsed if name is not None]
        for _, name, spec, conversion in parsed:
            # A name alone: all else would look into objects.
            if name is not None and (name not in VALUES or spec or conversion):
                known = ", ".join(VALUES)
                raise InvalidOption(option, text, f"in braces it may have the names {known}")

    def filled(self, task: Task, escape: Callable[[str], str]) -> str:
        return self._text.format_map({name: escape(VALUES[name](task)) for name in self._names})


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _marked(text: str) -> str:
    return text.translate(_MARKS)


_ESCAPES: Final[dict[str, Callable[[str], str]]] = {
    "text": str,
    "markdown": _marked,
    "html": escape,
}
