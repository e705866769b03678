"""`NotifyTelegram` and `NotifyDiscord`: the arguments of dotflow 1.x, and what they send."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from http_target import HttpTarget
from log_records import records_kept

from dotflow import Task, action
from dotflow.core.exception import InvalidOption, TaskError
from dotflow.providers import NotifyDiscord, NotifyTelegram
from dotflow.providers import delivery as delivery_module

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 10.0
TOKEN = "123456789:AAbbccddeeffgghhiijjkkllmmnnooppqqr"  # noqa: S105 - of no real bot
HOOK = "1234567890"
HOOK_TOKEN = "Abc-def_0123456789abcdef"  # noqa: S105 - of no real webhook
STATUSES = ("Not started", "In progress", "Completed", "Paused", "Retry", "Failed")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is in between, and idle threads end at once."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(delivery_module, "LINGER", 0.01)


@pytest.fixture
def target() -> Iterator[HttpTarget]:
    """Where messages go, in place of the service."""
    with HttpTarget() as found:
        yield found


@action
def step() -> None:
    """Do nothing."""


def task_of(status: str, *, result: object = None, error: str = "no_rows in `t`") -> Task:
    """Return a task with a status."""
    task = Task("T_1", step, workflow_id="w_1", name="load_all")
    task.status = status
    task.errors = [TaskError(ValueError(error))]
    task.current_context = result
    return task


def telegram(target: HttpTarget, *args: Any, **kwargs: Any) -> NotifyTelegram:
    """Return a notifier of a bot whose API is that of the target."""

    class Local(NotifyTelegram):
        API_URL = f"http://{target.host}/bot{{token}}/sendMessage"

    return Local(*args, **kwargs)


def discord(target: HttpTarget, *args: Any, **kwargs: Any) -> NotifyDiscord:
    """Return a notifier of a webhook at the target."""
    return NotifyDiscord(f"http://{target.host}/api/webhooks/{HOOK}/{HOOK_TOKEN}", *args, **kwargs)


def test_arguments_are_attributes() -> None:
    """The arguments of 1.x are taken by position, have its defaults, and are attributes."""
    bot = NotifyTelegram(TOKEN, 5)
    assert (
        vars(bot).items()
        >= {
            "token": TOKEN,
            "chat_id": 5,
            "notification_type": None,
            "show_result": False,
            "timeout": 1.5,
        }.items()
    )
    assert bot.API_URL == "https://api.telegram.org/bot{token}/sendMessage"
    hook = f"https://discord.com/api/webhooks/{HOOK}/{HOOK_TOKEN}"
    webhook = NotifyDiscord(hook, "Failed", True, 3)
    assert (
        vars(webhook).items()
        >= {
            "webhook_url": hook,
            "notification_type": "Failed",
            "show_result": True,
            "timeout": 3,
        }.items()
    )


@pytest.mark.parametrize(
    ("chat_id", "sent"), [(-1001, -1001), ("77", 77), ("@ops_room", "@ops_room")]
)
def test_telegram(target: HttpTarget, chat_id: int | str, sent: int | str) -> None:
    """One message to the bot's address: chat, Markdown, status, both ids, and the error."""
    notify = telegram(target, TOKEN, chat_id)
    notify.hook_status_task(task_of("Failed", result="shown only if asked for"))
    assert notify.flush(LONG)
    (posted,) = target.posted
    assert posted.path == f"/bot{TOKEN}/sendMessage"
    assert posted.body["chat_id"] == sent
    assert posted.body["parse_mode"] == "MARKDOWN"
    assert posted.body["text"] == (
        "*\u274c Failed*\nWorkflow `w_1`\nTask `T_1` (`load_all`)\n"
        "```\nValueError: no_rows in 't'\n```"
    )


def test_telegram_result(target: HttpTarget) -> None:
    """The result is shown if asked for, as code, as far as Telegram has room beside an error."""
    notify = telegram(target, TOKEN, 5, show_result=True)
    notify.hook_status_task(task_of("Completed", result={"a_b": "*"}))
    notify.hook_status_task(task_of("Completed", result="x" * 5000))
    notify.hook_status_task(task_of("Failed", result="x" * 5000, error="y" * 5000))
    assert notify.flush(LONG)
    short, long, longest = (body["text"] for body in target.bodies)
    assert short.endswith("(`load_all`)\n```\n{'a_b': '*'}\n```")
    assert long.endswith(f"```\n{'x' * 2999}\u2026\n```")
    assert len(longest) < 4096


@pytest.mark.parametrize(
    ("status", "title", "color"),
    [
        ("Not started", "\u26aa Not started", 0x9E9E9E),
        ("In progress", "\U0001f535 In progress", 0x2196F3),
        ("Completed", "\u2705 Completed", 0x4CAF50),
        ("Paused", "\u25fc\ufe0f Paused", 0x607D8B),
        ("Retry", "\u2757 Retry", 0xFF9800),
        ("Failed", "\u274c Failed", 0xF44336),
    ],
)
def test_discord(target: HttpTarget, status: str, title: str, color: int) -> None:
    """One embed to the webhook: status, its color, both ids, and the error of a failed task."""
    notify = discord(target)
    notify.hook_status_task(task_of(status, result="shown only if asked for"))
    assert notify.flush(LONG)
    (posted,) = target.posted
    assert posted.path == f"/api/webhooks/{HOOK}/{HOOK_TOKEN}"
    (embed,) = posted.body["embeds"]
    assert (embed["title"], embed["color"]) == (title, color)
    assert embed["description"] == "Workflow `w_1`\nTask `T_1` (`load_all`)"
    error = {"name": "Error", "value": "```md\nValueError: no_rows in 't'\n```"}
    assert embed.get("fields", []) == ([error] if status == "Failed" else [])


def test_discord_result(target: HttpTarget) -> None:
    """The result is a field if asked for, as long as Discord's may be, and begins no other one."""
    notify = discord(target, show_result=True)
    notify.hook_status_task(task_of("Completed", result="# one\n```\n---\ntwo"))
    notify.hook_status_task(task_of("Completed", result="x" * 5000))
    assert notify.flush(LONG)
    first, second = (body["embeds"][0]["fields"] for body in target.bodies)
    assert first == [{"name": "Result", "value": "```md\n\u200b# one\n'''\n\u200b---\ntwo\n```"}]
    assert second == [{"name": "Result", "value": f"```md\n{'x' * 1013}\u2026\n```"}]
    assert len(second[0]["value"]) == 1024


def test_discord_thread() -> None:
    """The thread that the webhook's address names is kept; where it ends does not matter."""
    with HttpTarget() as target:
        url = f"http://{target.host}/api/webhooks/{HOOK}/{HOOK_TOKEN}/?thread_id=99"
        notify = NotifyDiscord(url)
        notify.hook_status_task(task_of("Completed"))
        assert notify.flush(LONG)
        assert [each.path for each in target.posted] == [
            f"/api/webhooks/{HOOK}/{HOOK_TOKEN}?thread_id=99"
        ]


@pytest.mark.parametrize("make", [telegram, discord])
def test_notification_type(target: HttpTarget, make: Any) -> None:
    """One status can be chosen; without it each change is sent, however many."""
    arguments = (TOKEN, 5) if make is telegram else ()
    one = make(target, *arguments, notification_type="Retry")
    for status in STATUSES:
        one.hook_status_task(task_of(status))
    assert one.flush(LONG)
    assert len(target.posted) == 1
    every = make(target, *arguments)
    for status in STATUSES * 5:
        every.hook_status_task(task_of(status))
    assert every.flush(LONG)
    assert (len(target.posted), every.dropped) == (31, 0)


@pytest.mark.parametrize("make", [telegram, discord])
@pytest.mark.parametrize("trouble", ["refusal", "silence", "nobody"])
def test_tokens_are_nowhere(target: HttpTarget, make: Any, trouble: str) -> None:
    """Whatever goes wrong, no log record of any library shows the token, nor does the notifier."""
    arguments = (TOKEN, 5) if make is telegram else ()
    target.answer = 401
    with records_kept(logging.DEBUG) as records:
        notify = make(target, *arguments, timeout=0.2)
        if trouble == "silence":
            target.go.clear()
        elif trouble == "nobody":
            target.server_close()
        notify.hook_status_task(task_of("Failed"))
        assert notify.flush(LONG)
        shown = [logging.Formatter().format(record) for record in records]
    text = "\n".join([*shown, repr(notify)])
    secrets = (TOKEN, *TOKEN.split(":"), HOOK, HOOK_TOKEN)
    assert not [secret for secret in secrets if secret in text]
    warnings = [record.getMessage() for record in records if record.name == "dotflow"]
    (warning,) = warnings
    name = "tgram" if make is telegram else "discord"
    assert warning.startswith(f"{name}:// (1 of 1): a notification was not sent: ")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: NotifyTelegram("s3cr3t", 5), "token='***'"),
        (lambda: NotifyTelegram("", 5), "token='***'"),
        (lambda: NotifyTelegram(5, 5), "token='***'"),  # type: ignore[arg-type]
        (lambda: NotifyTelegram(TOKEN, None), "chat_id=None"),  # type: ignore[arg-type]
        (lambda: NotifyTelegram(TOKEN, " "), "chat_id=' '"),
        (lambda: NotifyTelegram(TOKEN, True), "chat_id=True"),
        (lambda: NotifyTelegram(TOKEN, 5, "failed"), "notification_type='failed'"),
        (lambda: NotifyTelegram(TOKEN, 5, show_result=1), "show_result=1"),  # type: ignore[arg-type]
        (lambda: NotifyTelegram(TOKEN, 5, timeout=0), "timeout=0"),
        (lambda: NotifyDiscord("https://discord.com/s3cr3t"), r"webhook_url='\*\*\*'"),
        (lambda: NotifyDiscord("discord.com/api/webhooks/1/s3cr3t"), r"webhook_url='\*\*\*'"),
        (lambda: NotifyDiscord("https://[/webhooks/1/s3cr3t"), r"webhook_url='\*\*\*'"),
        (lambda: NotifyDiscord(None), r"webhook_url='\*\*\*'"),  # type: ignore[arg-type]
        (lambda: NotifyDiscord("https://d/w/1/s3cr3t", "x"), "notification_type='x'"),
        (lambda: NotifyDiscord("https://d/w/1/s3cr3t", timeout=-1), "timeout=-1"),
    ],
)
def test_wrong_arguments(make: Any, named: str) -> None:
    """What an argument cannot be is an error that names it, and shows no token."""
    with pytest.raises(InvalidOption) as caught:
        make()
    assert str(caught.value).startswith(named.replace("\\", ""))
    assert "s3cr3t" not in str(caught.value)
    assert TOKEN not in str(caught.value)
