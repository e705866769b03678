"""Notifications to a chat of Telegram, over apprise, with the arguments of dotflow 1.x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from dotflow.core.arguments import check_flag, check_seconds, check_text, strict_arguments
from dotflow.core.exception import InvalidOption
from dotflow.providers.apprise_notifier import (
    LONGEST,
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
    from dotflow.core.model import Task

# Telegram takes 4096 characters in all.
_LONGEST_RESULT: Final = 4000 - LONGEST


class NotifyTelegram(AppriseNotifier):
    """Notifies a chat of Telegram of each change of a task's status, or of one status alone.

    Sent in the background as `NotifyApprise` does, with its bounds: 1,000 may wait, and the exit of
    the interpreter waits five seconds at most. A failure is logged without the token.

    Args:
        token: That of the bot.
        chat_id: The id of the chat, or the name of a channel.
        notification_type: The one status to notify of, as `TypeStatus` has it; None: all.
        show_result: Whether to tell what a step returned.
        timeout: Seconds that connecting, and then each part of the answer, may take.

    Attributes:
        API_URL: Where messages are posted, with the place of the token.

    Raises:
        InvalidOption: A value cannot be; of the token the message shows nothing.
        ModuleNotFound: apprise is not installed.
    """

    API_URL = "https://api.telegram.org/bot{token}/sendMessage"

    @strict_arguments
    def __init__(
        self,
        token: str,
        chat_id: int | str,
        notification_type: str | None = None,
        show_result: bool = False,
        timeout: float = 1.5,
    ) -> None:
        if not isinstance(token, str) or not token.strip():
            raise InvalidOption("token", "***", "give the token of a bot, as 123456:ABC-def")
        _check_chat(chat_id)
        check_flag("show_result", show_result)
        check_seconds("timeout", timeout)
        self.token = token
        self.chat_id = chat_id
        self.notification_type = notification_type
        self.show_result = show_result
        self.timeout = timeout
        statuses = chosen_status(notification_type)
        chat = quote(str(chat_id), safe="@")
        target = service(
            "token",
            "***",
            f"tgram://{quote(token, safe=':')}/{chat}/?format=markdown&mdv=v1",
            body_format="markdown",
            timeout=timeout,
            notify_url=self.API_URL.partition("{token}")[0],
        )
        super().__init__([target], statuses, RateLimit(None))

    def message(self, task: Task) -> Message:
        """Return status, both ids, the result if wanted, and the error if there is one."""
        title, lines = heading_of(task)
        result = result_of(task, _LONGEST_RESULT) if self.show_result else ""
        lines += [f"```\n{literal(text)}\n```" for text in (result, error_of(task)) if text]
        return Message(title, "\n".join(lines), kind_of(task))


def _check_chat(chat_id: Any) -> None:
    if isinstance(chat_id, bool) or not isinstance(chat_id, (int, str)):
        raise InvalidOption("chat_id", chat_id, "give the id of a chat, or the name of a channel")
    check_text("chat_id", str(chat_id), "give the id of a chat, or the name of a channel")
