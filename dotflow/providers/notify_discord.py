"""Notifications to a channel of Discord, over apprise, with the arguments of dotflow 1.x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, urlsplit

from dotflow.core.arguments import check_flag, check_seconds, strict_arguments
from dotflow.core.exception import InvalidOption
from dotflow.core.types import TypeStatus
from dotflow.providers.apprise_notifier import (
    AppriseNotifier,
    RateLimit,
    chosen_status,
    error_of,
    heading_of,
    kind_of,
    literal,
    result_of,
    service,
)
from dotflow.providers.apprise_target import Message

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from dotflow.core.model import Task

# Discord takes 1024 characters in a field; apprise puts each in a block of code, which takes ten.
_LONGEST: Final = 1014


class NotifyDiscord(AppriseNotifier):
    """Notifies a channel of Discord of each change of a task's status, or of one status alone.

    Sent in the background as `NotifyApprise` does, with its bounds: 1,000 may wait, and the exit of
    the interpreter waits five seconds at most. A failure is logged without the address.

    Args:
        webhook_url: The address of the channel's webhook.
        notification_type: The one status to notify of, as `TypeStatus` has it; None: all.
        show_result: Whether to tell what a step returned.
        timeout: Seconds that connecting, and then each part of the answer, may take.

    Attributes:
        COLORS: That of each status.

    Raises:
        InvalidOption: A value cannot be; of the address the message shows nothing.
        ModuleNotFound: apprise is not installed.
    """

    COLORS: Final = {
        TypeStatus.COMPLETED: 0x4CAF50,
        TypeStatus.FAILED: 0xF44336,
        TypeStatus.RETRY: 0xFF9800,
        TypeStatus.IN_PROGRESS: 0x2196F3,
        TypeStatus.NOT_STARTED: 0x9E9E9E,
        TypeStatus.PAUSED: 0x607D8B,
    }

    @strict_arguments
    def __init__(
        self,
        webhook_url: str,
        notification_type: str | None = None,
        show_result: bool = False,
        timeout: float = 1.5,
    ) -> None:
        split = _split(webhook_url)
        check_flag("show_result", show_result)
        check_seconds("timeout", timeout)
        self.webhook_url = webhook_url
        self.notification_type = notification_type
        self.show_result = show_result
        self.timeout = timeout
        statuses = chosen_status(notification_type)
        base, webhook, token = split.path.rstrip("/").rsplit("/", 2)
        thread = parse_qs(split.query).get("thread_id")
        target = service(
            "webhook_url",
            "***",
            f"discord://{webhook}/{token}/?format=markdown&avatar=no"
            + (f"&thread={quote(thread[0])}" if thread else ""),
            body_format="markdown",
            timeout=timeout,
            notify_url=f"{split.scheme}://{split.netloc}{base}",
        )
        super().__init__([target], statuses, RateLimit(None))

    def message(self, task: Task) -> Message:
        """Return status, both ids, the result if wanted, and the error if there is one."""
        title, lines = heading_of(task)
        result = result_of(task, _LONGEST) if self.show_result else ""
        if result:
            lines.append(f"# Result\n{literal(result)}")
        if task.status == TypeStatus.FAILED:
            lines.append(f"# Error\n{literal(error_of(task))}")
        color = f"#{self.COLORS.get(task.status, 0):06X}"
        return Message(title, "\n".join(lines), kind_of(task), color)


def _split(url: object) -> SplitResult:
    expected = "give the address of a webhook, as https://discord.com/api/webhooks/ID/TOKEN"
    try:
        split = urlsplit(str(url) if isinstance(url, str) else "")
        parts = split.path.rstrip("/").split("/")
    except ValueError:
        parts = []
    if len(parts) > 2 and all(parts[-2:]) and split.scheme in ("http", "https") and split.netloc:  # noqa: PLR2004 - id and token
        return split
    # Whatever it is, it may hold a token.
    raise InvalidOption("webhook_url", "***", expected)
