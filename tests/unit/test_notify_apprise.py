"""`NotifyApprise`: what is sent to whom, what is left out, and that nothing is said of secrets."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from http_target import HttpTarget
from log_records import own_records, records_kept

from dotflow import Config, DotFlow, Task, action
from dotflow.core.exception import InvalidOption, ModuleNotFound, TaskError
from dotflow.providers import LogDefault, NotifyApprise, apprise_notifier
from dotflow.providers import delivery as delivery_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dotflow.abc.notify import Notify

LONG = 10.0
USER, PASSWORD, PATH = "someuser", "pa55w0rd", "s3cr3tpath"
SECRETS = (USER, PASSWORD, PATH)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is in between, and idle threads end at once."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(delivery_module, "LINGER", 0.01)


@pytest.fixture
def target() -> Iterator[HttpTarget]:
    """A service that takes notifications."""
    with HttpTarget() as found:
        yield found


@action
def good() -> str:
    """Complete."""
    return "fine"


@action(retry=2, retry_delay=0)
def bad() -> None:
    """Fail."""
    raise ValueError("no rows")


def ended(status: str, *, message: str = "no rows", result: object = None) -> Task:
    """Return a task with a status."""
    task = Task("T1", good, workflow_id="w-1", name="load")
    task.status = status
    task.duration = 1.25
    task.errors = [TaskError(ValueError(message))]
    task.current_context = result
    return task


def url(target: HttpTarget) -> str:
    """Return an address with secrets in it, that leads to a target."""
    return f"json://{USER}:{PASSWORD}@{target.host}/{PATH}"


def run(notify: Notify, *steps: Any, mode: str = "sequential") -> DotFlow:
    """Run steps, each whatever becomes of the others."""
    flow = DotFlow(Config(notify=notify, log=LogDefault(level="ERROR")), "w-1", "nightly")
    flow.task.add(list(steps))
    flow.start(mode=mode, keep_going=True)
    return flow


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
def test_a_failure_is_sent_once(target: HttpTarget, mode: str) -> None:
    """Of a run with a failed task the one notification tells which failed, and of what."""
    notify = NotifyApprise(url(target))
    flow = run(notify, good, bad, mode=mode)
    assert notify.flush(LONG)
    task_id = flow.result_task()[1].task_id
    assert [each.path for each in target.posted] == [f"/{PATH}"]
    (body,) = target.bodies
    assert body["title"] == "\u274c nightly: bad Failed"
    assert body["message"] == (
        f"Task bad ({task_id}) of workflow nightly (w-1): Failed\nValueError: no rows"
    )
    assert body["type"] == "failure"


def test_statuses(target: HttpTarget) -> None:
    """The statuses to notify of can be chosen, and None is all; each kind is apprise's own."""
    chosen = NotifyApprise(url(target), statuses=["Retry", "Completed"], title="{task} {status}")
    run(chosen, good, bad)
    assert chosen.flush(LONG)
    sent = [(body["title"], body["type"]) for body in target.bodies]
    assert sent == [("good Completed", "success"), ("bad Retry", "warning")]
    target.posted.clear()
    every = NotifyApprise(url(target), statuses=None, title="{task} {status}")
    run(every, good)
    assert every.flush(LONG)
    assert [(body["title"], body["type"]) for body in target.bodies] == [
        ("good Not started", "info"),
        ("good In progress", "info"),
        ("good Completed", "success"),
    ]


def test_all_names_of_templates(target: HttpTarget) -> None:
    """A template may have each of the names, and is filled with the values of that moment."""
    template = "|".join(f"{name}={{{name}}}" for name in NotifyApprise.FIELDS)
    notify = NotifyApprise(url(target), title="t", body=template)
    task = ended("Failed", result=[1, "a"])
    notify.hook_status_task(task)
    task.name = "changed"
    assert notify.flush(LONG)
    assert target.bodies[0]["message"].split("|") == [
        "workflow=workflow",
        "workflow_id=w-1",
        "task=load",
        "task_id=T1",
        "group=default",
        "status=Failed",
        "symbol=\u274c",
        "attempt=1",
        "duration=1.25 s",
        "error_type=ValueError",
        "error=ValueError: no rows",
        "result=[1, 'a']",
    ]


def test_error_of_what_did_not_fail(target: HttpTarget) -> None:
    """A task that completed after a failed attempt has no error to tell of."""
    notify = NotifyApprise(
        url(target), statuses=None, title="t", body="{error}{error_type}-{result}"
    )
    notify.hook_status_task(ended("Completed", result="x" * 2000))
    assert notify.flush(LONG)
    assert target.bodies[0]["message"] == f"-{'x' * 999}\u2026"


def test_title_is_one_line(target: HttpTarget) -> None:
    """What is filled into a title is put on one line; without a text the title is sent as one."""
    notify = NotifyApprise(url(target), title="{error}", body=" {result} ")
    notify.hook_status_task(ended("Failed", message="one\n two"))
    assert notify.flush(LONG)
    assert target.bodies[0]["title"] == "ValueError: one two"
    assert target.bodies[0]["message"] == "ValueError: one two"


@pytest.mark.parametrize(
    ("body_format", "expected"),
    [
        ("text", "*{x}* <b>a_b & c</b>"),
        ("markdown", "*{x}* \\<b\\>a\\_b & c\\</b\\>"),
        ("html", "*{x}* &lt;b&gt;a_b &amp; c&lt;/b&gt;"),
    ],
)
def test_values_are_escaped(target: HttpTarget, body_format: str, expected: str) -> None:
    """Values are shown as they are, whatever the template is written in; the template is not."""
    notify = NotifyApprise(
        f"{url(target)}?format={body_format}",
        title="t",
        body="*{{x}}* {result}",
        body_format=body_format,
    )
    notify.hook_status_task(ended("Failed", result="<b>a_b & c</b>"))
    assert notify.flush(LONG)
    assert target.bodies[0]["message"] == expected


def test_rate_limit(
    target: HttpTarget, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is beyond the limit is left out and counted; one line and the next message tell it."""
    now = 100.0
    monkeypatch.setattr(apprise_notifier, "monotonic", lambda: now)
    notify = NotifyApprise(url(target), title="{task_id}", body="-", rate_limit=2, rate_period=60)
    task = ended("Failed")
    for _ in range(5):
        notify.hook_status_task(task)
    now = 159.9
    notify.hook_status_task(task)
    assert notify.dropped == 4
    now = 160.0
    notify.hook_status_task(task)
    notify.hook_status_task(task)
    now = 161.0
    assert notify.flush(LONG)
    assert [body["message"] for body in target.bodies] == [
        "-",
        "-",
        "-\n(4 left out before this one: at most 2 in 60 s)",
        "-",
    ]
    (record,) = own_records(caplog)
    assert record.message.startswith("More than 2 notifications in 60 s")


def test_no_rate_limit(target: HttpTarget) -> None:
    """Without a limit all are sent."""
    notify = NotifyApprise(url(target), rate_limit=None)
    for _ in range(30):
        notify.hook_status_task(ended("Failed"))
    assert notify.flush(LONG)
    assert len(target.posted) == 30


def test_a_target_that_hangs(target: HttpTarget, caplog: pytest.LogCaptureFixture) -> None:
    """It holds up nobody; what finds its queue full is dropped, counted, and logged once."""
    with HttpTarget() as hanging:
        hanging.go.clear()
        notify = NotifyApprise(
            [url(hanging), url(target)], rate_limit=None, max_waiting=3, timeout=LONG
        )
        begun = time.monotonic()
        for number in range(10):
            notify.hook_status_task(ended("Failed"))
            while len(target.posted) <= number:  # its own queue is as short
                assert time.monotonic() - begun < LONG
                time.sleep(0.001)
        assert not notify.flush(0.01)
        assert notify.dropped == 7
        (record,) = own_records(caplog)
        assert record.message == (
            "Notifications to json:// (1 of 2) are dropped from here on, for it is too slow. "
            "They are counted, and not logged again."
        )
        hanging.go.set()
        assert notify.flush(LONG)
        assert len(hanging.posted) == 3


def test_the_exit_is_bounded(target: HttpTarget) -> None:
    """The interpreter leaves a target that hangs after the bound, and says what was not sent."""
    target.go.clear()
    code = (
        "import sys, time\n"
        "from dotflow import Config, DotFlow, action\n"
        "from dotflow.providers import LogDefault, NotifyApprise\n"
        "@action\n"
        "def bad():\n"
        "    raise ValueError\n"
        "notify = NotifyApprise(sys.argv[1], flush_timeout=0.2, timeout=30)\n"
        "flow = DotFlow(Config(notify=notify, log=LogDefault(level='ERROR')))\n"
        "flow.task.add([bad, bad])\n"
        "flow.start(keep_going=True)\n"
        "print(time.monotonic())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, url(target)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "no_proxy": "*"},
    )
    # Of the same clock: all processes of a machine share it.
    assert time.monotonic() - float(done.stdout) < 5
    last = done.stderr.splitlines()[-1]
    assert last == "2 notifications were not delivered to json:// (1 of 1)"


@pytest.mark.parametrize("trouble", ["refusal", "silence", "nobody", "redirect", "error"])
def test_secrets_are_nowhere(
    target: HttpTarget, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong, no log record of any library shows a part of the address."""
    address = url(target)
    if trouble == "refusal":
        target.answer = 401
    elif trouble == "redirect":
        target.answer = 307
        target.headers["Location"] = f"http://{target.host}/elsewhere"
    elif trouble == "silence":
        target.go.clear()
    elif trouble == "nobody":
        address = f"json://{USER}:{PASSWORD}@127.0.0.1:9/{PATH}"
    with records_kept(logging.DEBUG) as records:
        notify = NotifyApprise(address, title="t", body="b", timeout=0.2)
        if trouble == "error":
            from apprise.plugins.custom_json import NotifyJSON

            def fail(*_: object, **__: object) -> None:
                raise RuntimeError(f"cannot reach {address}")

            monkeypatch.setattr(NotifyJSON, "send", fail)
        notify.hook_status_task(ended("Failed"))
        assert notify.flush(LONG)
        shown = [logging.Formatter().format(record) for record in records]
    text = "\n".join([*shown, repr(notify), str(notify)])
    assert not [secret for secret in SECRETS if secret in text]
    (warning,) = [record for record in records if record.name == "dotflow"]
    begin = "json:// (1 of 1): a notification was not sent: "
    assert warning.getMessage().startswith(begin)
    assert warning.exc_info is None
    expected = {
        "refusal": "error=401",
        "redirect": "error=307",
        "error": "RuntimeError: cannot reach ***",
    }
    assert expected.get(trouble, "A Connection error occurred") in warning.getMessage()
    assert len(target.posted) == (0 if trouble in ("nobody", "error") else 1)


def test_what_others_log_with_apprise_is_theirs(target: HttpTarget) -> None:
    """Only what is logged for our notifications is kept back."""
    notify = NotifyApprise(url(target))
    with records_kept(logging.DEBUG) as records:
        logging.getLogger("apprise").warning("by somebody else")
    assert [record.getMessage() for record in records] == ["by somebody else"]
    assert notify.flush(0)


@pytest.mark.parametrize(
    "urls",
    [
        f"nosuch://{USER}:{PASSWORD}@host/{PATH}",
        f"{USER}:{PASSWORD}/{PATH}",
        f"tgram://{PASSWORD}/{PATH}",
        ["json://localhost", f"discord://{PASSWORD}"],
        f"json://{USER}:{PASSWORD}@host:port/{PATH}?method={PATH}",
        {"schema": PASSWORD},
        [],
        "",
        [PASSWORD, 5],
        None,
    ],
)
def test_bad_addresses(urls: Any) -> None:
    """An address that cannot be used is an error at once, which does not show it, nor do logs."""
    with records_kept(logging.DEBUG) as records, pytest.raises(InvalidOption) as caught:
        NotifyApprise(urls)
    text = "\n".join([str(caught.value), *(record.getMessage() for record in records)])
    assert str(caught.value).startswith("urls=")
    assert not [secret for secret in SECRETS if secret in text]
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("title", "{nope}"),
        ("title", ""),
        ("body", "{task.config}"),
        ("body", "{error!r}"),
        ("body", "{error:>10}"),
        ("body", "{0}"),
        ("body", "{"),
        ("body", 5),
        ("body_format", "rtf"),
        ("statuses", "failed"),
        ("statuses", 5),
        ("statuses", ["Failed", None]),
        ("rate_limit", 0),
        ("rate_period", 0),
        ("timeout", 0),
        ("max_waiting", None),
        ("flush_timeout", -1),
    ],
)
def test_bad_options(option: str, value: Any) -> None:
    """What an option cannot be is an error that names it."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(InvalidOption, match=f"^{option}="):
        NotifyApprise("json://localhost", **options)


def test_unknown_name_in_a_template() -> None:
    """The error of a template tells which names there are."""
    with pytest.raises(InvalidOption, match=r"names workflow, workflow_id, task, .*, result\.$"):
        NotifyApprise("json://localhost", body="{taks}")


def test_apprise_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without apprise, construction says what to install."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ModuleNotFound, match=r"'apprise'.*dotflow\[notify\]"):
        NotifyApprise("json://localhost")


def test_timeout_of_the_address(target: HttpTarget) -> None:
    """Seconds that the address itself has stand over the argument."""
    target.go.clear()
    notify = NotifyApprise(f"{url(target)}?rto=0.1", timeout=LONG * 2)
    begun = time.monotonic()
    notify.hook_status_task(ended("Failed"))
    assert notify.flush(LONG)
    assert time.monotonic() - begun < LONG
