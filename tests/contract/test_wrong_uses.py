"""Wrong uses of the core's public interface: each is refused by its whole message.

By then nothing has happened: no step ran, no provider was called, no task was added.
"""

from __future__ import annotations

from typing import Any

import pytest

from dotflow import Config, Context, DotFlow, Task, action
from dotflow.abc.scheduler import Scheduler
from dotflow.core.exception import (
    ExecutionModeNotExist,
    ImportModuleError,
    InvalidOnInputChange,
    InvalidOption,
    MissingActionDecorator,
    MissingScheduler,
    NotCallableObject,
    ParameterNotPassed,
    TaskError,
)
from dotflow.core.task import TaskBuilder
from dotflow.core.workflow import Manager
from dotflow.testing import Recording

ran: list[str] = []
recording = Recording()
CONFIG = Config(**recording.providers)


@action(retry=4, retry_delay=0)
def ok() -> int:
    """Succeed."""
    ran.append("ok")
    return 1


@action(retry=4, retry_delay=0)
def needs_path(path: str) -> str:
    """Need what nobody passes."""
    return path


@action
def needs_days(initial_context: Context, *, days: int, weeks: int = 1) -> int:
    """Need a keyword that nobody passes."""
    return days


@action
def by_position(initial_context: Context, /) -> object:
    """Take its context by position only."""
    return initial_context.storage


@action
class NeedsUrl:
    def __init__(self, url: str) -> None:
        self.url = url


@action
class MethodNeedsTable:
    @action
    def load(self, table: str) -> str:
        return table


class Plain:
    @action
    def run(self) -> int:
        return 1


plain = Plain


def takes_nothing() -> None:
    """Be no callback."""


def takes_too_much(tasks: Any, task: Any, other: Any) -> None:
    """Be no callback either."""


async def later(**kwargs: Any) -> None:
    """Be a callback that a call does not run."""


class Callback:
    def __call__(self, task: Task) -> None: ...

    def __repr__(self) -> str:
        return "Callback()"


class Never(Scheduler):
    def start(self, workflow: Any, hours: int = 1, **kwargs: Any) -> None:
        ran.append("scheduled")

    def stop(self) -> None: ...


flows: list[DotFlow] = []


def flow() -> DotFlow:
    """Return a flow with one step."""
    made = DotFlow(CONFIG, "w")
    flows.append(made)
    made.task.add(ok)
    return made


def scheduled() -> DotFlow:
    """Return a flow with one step and a scheduler."""
    made = DotFlow(Config(**recording.providers, scheduler=Never()), "w")
    flows.append(made)
    made.task.add(ok)
    return made


DECORATE = (
    " Decorate the function or class with `@action` and add that, not what it returns; several "
    "steps as a list."
)
NO_ACTION = "A step must be made with the @action decorator"
NOT_PASSED = ", but a workflow passes only initial_context and previous_context. "
READ = "or pass its value with add(step, initial_context=...) and read initial_context.storage."
IMPORTABLE = (
    " Write 'package.module:attribute' or 'package.module.attribute', importable from here."
)
MODES = " Use one of: 'sequential', 'sequential_group', 'background', 'parallel'."
OPTIONS = (
    "'mode', 'keep_going', 'resume', 'on_input_change', 'fingerprint', 'on_success', 'on_failure'"
)
TAKES_TASKS = "expected a callable that takes tasks="
TAKES_TASK = "expected a callable that takes task="
ALONE = " and needs nothing else."
KEYWORDS = ": a step is called with the keywords initial_context and previous_context"
NO_SCHEDULER = (
    "DotFlow.schedule() needs a scheduler, and none is configured. Set one: "
    "Config(scheduler=SchedulerCron('*/5 * * * *')), with SchedulerCron from dotflow.providers "
    "(extra dotflow[scheduler])."
)
GIVE_CONFIG = "give a Config, or what dotflow_otel.observe() returns."


# Its source as the test's name, what is done, and the error.
WRONG: list[tuple[str, Any, type[Exception], str]] = [
    (
        'DotFlow("x")',
        lambda: DotFlow("x"),
        InvalidOption,
        f"config='x' is not valid: {GIVE_CONFIG}",
    ),
    (
        "DotFlow(Config)",
        lambda: DotFlow(Config),
        InvalidOption,
        f"config=<class 'dotflow.core.config.Config'> is not valid: {GIVE_CONFIG}",
    ),
    (
        "DotFlow(name=3)",
        lambda: DotFlow(name=3),
        InvalidOption,
        "name=3 is not valid: give a text.",
    ),
    (
        "DotFlow(workflow_id=5)",
        lambda: DotFlow(workflow_id=5),
        InvalidOption,
        "workflow_id=5 is not valid: give a text or a UUID.",
    ),
    (
        "DotFlow(workflow_id=True)",
        lambda: DotFlow(workflow_id=True),
        InvalidOption,
        "workflow_id=True is not valid: give a text or a UUID.",
    ),
    (
        'DotFlow(CONFIG, "a", "b", "c")',
        lambda: DotFlow(CONFIG, "a", "b", "c"),
        TypeError,
        "DotFlow() takes at most 3 positional arguments ('config', 'workflow_id', 'name'), but got 4",
    ),
    (
        "DotFlow(confg=CONFIG)",
        lambda: DotFlow(confg=CONFIG),
        TypeError,
        "DotFlow() takes no argument 'confg': is 'config' meant?",
    ),
    (
        'flow().start("parallel")',
        lambda: flow().start("parallel"),
        TypeError,
        "DotFlow.start() takes no positional argument, but got 1: pass options by name, as in start(mode='parallel')",
    ),
    (
        'flow().start(mode="paralel")',
        lambda: flow().start(mode="paralel"),
        ExecutionModeNotExist,
        f"There is no execution mode 'paralel': is 'parallel' meant?{MODES}",
    ),
    (
        'flow().start(mode="Parallel")',
        lambda: flow().start(mode="Parallel"),
        ExecutionModeNotExist,
        f"There is no execution mode 'Parallel': is 'parallel' meant?{MODES}",
    ),
    (
        "flow().start(mode=None)",
        lambda: flow().start(mode=None),
        ExecutionModeNotExist,
        f"There is no execution mode None.{MODES}",
    ),
    (
        'flow().start(mode=["parallel"])',
        lambda: flow().start(mode=["parallel"]),
        ExecutionModeNotExist,
        f"There is no execution mode ['parallel'].{MODES}",
    ),
    (
        "flow().start(kep_going=True)",
        lambda: flow().start(kep_going=True),
        TypeError,
        "DotFlow.start() takes no argument 'kep_going': is 'keep_going' meant?",
    ),
    (
        'flow().start(mode="paralel", kep_going=True)',
        lambda: flow().start(mode="paralel", kep_going=True),
        TypeError,
        "DotFlow.start() takes no argument 'kep_going': is 'keep_going' meant?",
    ),
    (
        'flow().start(keep_going="no")',
        lambda: flow().start(keep_going="no"),
        InvalidOption,
        "keep_going='no' is not valid: give True or False.",
    ),
    (
        "flow().start(keep_going=1)",
        lambda: flow().start(keep_going=1),
        InvalidOption,
        "keep_going=1 is not valid: give True or False.",
    ),
    (
        'flow().start(resume="yes")',
        lambda: flow().start(resume="yes"),
        InvalidOption,
        "resume='yes' is not valid: give True or False.",
    ),
    (
        "flow().start(on_success=3)",
        lambda: flow().start(on_success=3),
        NotCallableObject,
        f"on_success=3 is not usable: {TAKES_TASKS}.",
    ),
    (
        "flow().start(on_success=takes_nothing)",
        lambda: flow().start(on_success=takes_nothing),
        NotCallableObject,
        f"on_success={takes_nothing!r} is not usable: {TAKES_TASKS}{ALONE}",
    ),
    (
        "flow().start(on_failure=takes_too_much)",
        lambda: flow().start(on_failure=takes_too_much),
        NotCallableObject,
        f"on_failure={takes_too_much!r} is not usable: {TAKES_TASKS}{ALONE}",
    ),
    (
        "flow().start(on_failure=None)",
        lambda: flow().start(on_failure=None),
        NotCallableObject,
        f"on_failure=None is not usable: {TAKES_TASKS}.",
    ),
    (
        "flow().start(on_success=Callback())",
        lambda: flow().start(on_success=Callback()),
        NotCallableObject,
        f"on_success=Callback() is not usable: {TAKES_TASKS}{ALONE}",
    ),
    (
        'flow().start(on_input_change="nope")',
        lambda: flow().start(on_input_change="nope"),
        InvalidOnInputChange,
        "on_input_change='nope' is not a policy. Use 'reuse', 'reset' or 'raise'.",
    ),
    (
        "flow().start(on_input_change=None)",
        lambda: flow().start(on_input_change=None),
        InvalidOnInputChange,
        "on_input_change=None is not a policy. Use 'reuse', 'reset' or 'raise'.",
    ),
    (
        "flow().start(fingerprint=3)",
        lambda: flow().start(fingerprint=3),
        InvalidOption,
        "fingerprint=3 is not valid: give a text that changes with the input.",
    ),
    (
        'flow().start(workflow_id="x")',
        lambda: flow().start(workflow_id="x"),
        TypeError,
        "DotFlow.start() takes no argument 'workflow_id': it is set by DotFlow(workflow_id=...)",
    ),
    (
        'flow().start(workflow_name="x")',
        lambda: flow().start(workflow_name="x"),
        TypeError,
        "DotFlow.start() takes no argument 'workflow_name': it is set by DotFlow(name=...)",
    ),
    (
        "flow().start(tasks=[])",
        lambda: flow().start(tasks=[]),
        TypeError,
        "DotFlow.start() takes no argument 'tasks': it is set by DotFlow.task.add(...)",
    ),
    (
        "flow().start(config=CONFIG)",
        lambda: flow().start(config=CONFIG),
        TypeError,
        "DotFlow.start() takes no argument 'config': it is set by DotFlow(config=...)",
    ),
    (
        "flow().start(workers=3)",
        lambda: flow().start(workers=3),
        TypeError,
        "DotFlow.start() takes no argument 'workers': it is set by Config(executor=ExecutorLocal(workers=...))",
    ),
    (
        "flow().start(executor=None)",
        lambda: flow().start(executor=None),
        TypeError,
        "DotFlow.start() takes no argument 'executor': it is set by Config(executor=...)",
    ),
    (
        "flow().start(retry=3)",
        lambda: flow().start(retry=3),
        TypeError,
        "DotFlow.start() takes no argument 'retry': it is set by @action(retry=...)",
    ),
    ("flow().schedule()", lambda: flow().schedule(), MissingScheduler, NO_SCHEDULER),
    (
        'flow().schedule("*/5 * * * *")',
        lambda: flow().schedule("*/5 * * * *"),
        MissingScheduler,
        NO_SCHEDULER,
    ),
    (
        "scheduled().schedule(kep_going=True)",
        lambda: scheduled().schedule(kep_going=True),
        TypeError,
        "DotFlow.schedule() takes no argument 'kep_going': is 'keep_going' meant?",
    ),
    (
        'scheduled().schedule(mode="paralel")',
        lambda: scheduled().schedule(mode="paralel"),
        ExecutionModeNotExist,
        f"There is no execution mode 'paralel': is 'parallel' meant?{MODES}",
    ),
    (
        'scheduled().schedule(resume="yes")',
        lambda: scheduled().schedule(resume="yes"),
        InvalidOption,
        "resume='yes' is not valid: give True or False.",
    ),
    (
        "scheduled().schedule(on_success=takes_nothing)",
        lambda: scheduled().schedule(on_success=takes_nothing),
        NotCallableObject,
        f"on_success={takes_nothing!r} is not usable: {TAKES_TASKS}{ALONE}",
    ),
    (
        'scheduled().schedule(cron="* * * * *")',
        lambda: scheduled().schedule(cron="* * * * *"),
        TypeError,
        f"DotFlow.schedule() takes no argument 'cron': it takes {OPTIONS}, 'workflow', 'hours'",
    ),
    (
        'flow().task.add(ok, nme="x")',
        lambda: flow().task.add(ok, nme="x"),
        TypeError,
        "task.add() takes no argument 'nme': is 'name' meant?",
    ),
    (
        'flow().task.add(ok, group="x")',
        lambda: flow().task.add(ok, group="x"),
        TypeError,
        "task.add() takes no argument 'group': is 'group_name' meant?",
    ),
    (
        "flow().task.add(ok, retry=3)",
        lambda: flow().task.add(ok, retry=3),
        TypeError,
        "task.add() takes no argument 'retry': it takes 'step', 'callback', 'initial_context', 'group_name', 'name'",
    ),
    (
        "flow().task.add(ok, group_name=3)",
        lambda: flow().task.add(ok, group_name=3),
        InvalidOption,
        "group_name=3 is not valid: give a text.",
    ),
    (
        "flow().task.add(ok, group_name=None)",
        lambda: flow().task.add(ok, group_name=None),
        InvalidOption,
        "group_name=None is not valid: give a text.",
    ),
    (
        "flow().task.add(ok, name=3)",
        lambda: flow().task.add(ok, name=3),
        InvalidOption,
        "name=3 is not valid: give a text.",
    ),
    (
        "flow().task.add(ok, callback=takes_nothing)",
        lambda: flow().task.add(ok, callback=takes_nothing),
        NotCallableObject,
        f"callback={takes_nothing!r} is not usable: {TAKES_TASK}{ALONE}",
    ),
    (
        "flow().task.add(ok, callback=takes_too_much)",
        lambda: flow().task.add(ok, callback=takes_too_much),
        NotCallableObject,
        f"callback={takes_too_much!r} is not usable: {TAKES_TASK}{ALONE}",
    ),
    (
        "flow().task.add(ok, callback=3)",
        lambda: flow().task.add(ok, callback=3),
        NotCallableObject,
        f"callback=3 is not usable: {TAKES_TASK}.",
    ),
    (
        "flow().task.add(ok, callback=None)",
        lambda: flow().task.add(ok, callback=None),
        NotCallableObject,
        f"callback=None is not usable: {TAKES_TASK}.",
    ),
    (
        'flow().task.add(ok, callback="x")',
        lambda: flow().task.add(ok, callback="x"),
        ImportModuleError,
        f"Cannot import 'x': it names no attribute of a module.{IMPORTABLE}",
    ),
    (
        'flow().task.add(ok, callback="os.path.nothing")',
        lambda: flow().task.add(ok, callback="os.path.nothing"),
        ImportModuleError,
        f"Cannot import 'os.path.nothing': AttributeError: module 'posixpath' has no attribute 'nothing'.{IMPORTABLE}",
    ),
    (
        'flow().task.add(ok, callback="os.sep")',
        lambda: flow().task.add(ok, callback="os.sep"),
        NotCallableObject,
        f"callback='os.sep' is not usable: {TAKES_TASK}.",
    ),
    (
        "flow().task.add(needs_path)",
        lambda: flow().task.add(needs_path),
        ParameterNotPassed,
        f"The step 'needs_path' needs the parameter 'path'{NOT_PASSED}Give 'path' a default, {READ}",
    ),
    (
        "flow().task.add(needs_days)",
        lambda: flow().task.add(needs_days),
        ParameterNotPassed,
        f"The step 'needs_days' needs the parameter 'days'{NOT_PASSED}Give 'days' a default, {READ}",
    ),
    (
        "flow().task.add(by_position)",
        lambda: flow().task.add(by_position),
        ParameterNotPassed,
        f"The step 'by_position' needs the parameter 'initial_context'{NOT_PASSED}They are passed by name: remove the '/' after it.",
    ),
    (
        "flow().task.add(NeedsUrl)",
        lambda: flow().task.add(NeedsUrl),
        ParameterNotPassed,
        f"The step 'NeedsUrl' needs the parameter 'url'{NOT_PASSED}Give 'url' a default, {READ}",
    ),
    (
        "flow().task.add(MethodNeedsTable)",
        lambda: flow().task.add(MethodNeedsTable),
        ParameterNotPassed,
        f"The step 'MethodNeedsTable.load' needs the parameter 'table'{NOT_PASSED}Give 'table' a default, {READ}",
    ),
    (
        "flow().task.add(plain.run)",
        lambda: flow().task.add(plain.run),
        ParameterNotPassed,
        f"The step 'run' needs the parameter 'self'{NOT_PASSED}It is a method: add its class, or the method of an instance.",
    ),
    (
        "flow().task.add([ok, needs_path])",
        lambda: flow().task.add([ok, needs_path]),
        ParameterNotPassed,
        f"The step 'needs_path' needs the parameter 'path'{NOT_PASSED}Give 'path' a default, {READ}",
    ),
    (
        "flow().task.add(len)",
        lambda: flow().task.add(len),
        MissingActionDecorator,
        f"{NO_ACTION} (given: <built-in function len>).{DECORATE}",
    ),
    (
        "flow().task.add(None)",
        lambda: flow().task.add(None),
        MissingActionDecorator,
        f"{NO_ACTION}.{DECORATE}",
    ),
    (
        'flow().task.add("json.dumps")',
        lambda: flow().task.add("json.dumps"),
        MissingActionDecorator,
        f"{NO_ACTION} (given: 'json.dumps').{DECORATE}",
    ),
    (
        'flow().task.add("nope.x")',
        lambda: flow().task.add("nope.x"),
        ImportModuleError,
        f"Cannot import 'nope.x': ModuleNotFoundError: No module named 'nope'.{IMPORTABLE}",
    ),
    (
        'flow().task.add("nope")',
        lambda: flow().task.add("nope"),
        ImportModuleError,
        f"Cannot import 'nope': it names no attribute of a module.{IMPORTABLE}",
    ),
    (
        'flow().task.add("")',
        lambda: flow().task.add(""),
        ImportModuleError,
        f"Cannot import '': it names no attribute of a module.{IMPORTABLE}",
    ),
    (
        "flow().task.add([ok, 3])",
        lambda: flow().task.add([ok, 3]),
        MissingActionDecorator,
        f"{NO_ACTION} (given: 3).{DECORATE}",
    ),
    (
        "flow().task.add(frozenset())",
        lambda: flow().task.add(frozenset()),
        MissingActionDecorator,
        f"{NO_ACTION} (given: frozenset()).{DECORATE}",
    ),
    (
        "flow().task.add(action(retry=2))",
        lambda: flow().task.add(action(retry=2)),
        MissingActionDecorator,
        f"{NO_ACTION} (given: <action without a function>).{DECORATE}",
    ),
    (
        "flow().task.add(action)",
        lambda: flow().task.add(action),
        MissingActionDecorator,
        f"{NO_ACTION} (given: <class 'dotflow.core.action.Action'>).{DECORATE}",
    ),
    ("ok(1)", lambda: ok(1), TypeError, f"ok() takes no positional arguments (1 given){KEYWORDS}"),
    (
        "ok(1, 2)",
        lambda: ok(1, 2),
        TypeError,
        f"ok() takes no positional arguments (2 given){KEYWORDS}",
    ),
    ("ok(x=1)", lambda: ok(x=1), TypeError, f"ok() takes no argument 'x'{KEYWORDS}"),
    ("ok(task=3)", lambda: ok(task=3), AttributeError, "'int' object has no attribute 'task_id'"),
    ("action(3)", lambda: action(3), MissingActionDecorator, f"{NO_ACTION} (given: 3).{DECORATE}"),
    (
        'action("x")',
        lambda: action("x"),
        MissingActionDecorator,
        f"{NO_ACTION} (given: 'x').{DECORATE}",
    ),
    (
        "action(retry=-1)",
        lambda: action(retry=-1),
        InvalidOption,
        "retry=-1 is not valid: give a whole number of attempts, 0 or more.",
    ),
    (
        "action(retry=2.5)",
        lambda: action(retry=2.5),
        InvalidOption,
        "retry=2.5 is not valid: give a whole number of attempts, 0 or more.",
    ),
    (
        'action(retry="2")',
        lambda: action(retry="2"),
        InvalidOption,
        "retry='2' is not valid: give a whole number of attempts, 0 or more.",
    ),
    (
        "action(retry=True)",
        lambda: action(retry=True),
        InvalidOption,
        "retry=True is not valid: give a whole number of attempts, 0 or more.",
    ),
    (
        "action(retry=None)",
        lambda: action(retry=None),
        InvalidOption,
        "retry=None is not valid: give a whole number of attempts, 0 or more.",
    ),
    (
        "action(timeout=-1)",
        lambda: action(timeout=-1),
        InvalidOption,
        "timeout=-1 is not valid: give a number of seconds, 0 or more.",
    ),
    (
        'action(timeout="5")',
        lambda: action(timeout="5"),
        InvalidOption,
        "timeout='5' is not valid: give a number of seconds, 0 or more.",
    ),
    (
        'action(timeout=float("nan"))',
        lambda: action(timeout=float("nan")),
        InvalidOption,
        "timeout=nan is not valid: give a number of seconds, 0 or more.",
    ),
    (
        "action(timeout=None)",
        lambda: action(timeout=None),
        InvalidOption,
        "timeout=None is not valid: give a number of seconds, 0 or more.",
    ),
    (
        "action(retry_delay=-1)",
        lambda: action(retry_delay=-1),
        InvalidOption,
        "retry_delay=-1 is not valid: give a number of seconds, 0 or more.",
    ),
    (
        'action(retry_delay="1")',
        lambda: action(retry_delay="1"),
        InvalidOption,
        "retry_delay='1' is not valid: give a number of seconds, 0 or more.",
    ),
    (
        'action(backoff="no")',
        lambda: action(backoff="no"),
        InvalidOption,
        "backoff='no' is not valid: give True or False.",
    ),
    (
        "action(backoff=2)",
        lambda: action(backoff=2),
        InvalidOption,
        "backoff=2 is not valid: give True or False.",
    ),
    (
        "action(retrys=3)",
        lambda: action(retrys=3),
        TypeError,
        "action() takes no argument 'retrys': is 'retry' meant?",
    ),
    (
        "action(delay=3)",
        lambda: action(delay=3),
        TypeError,
        "action() takes no argument 'delay': is 'retry_delay' meant?",
    ),
    (
        "action(retry=2)()",
        action(retry=2),
        MissingActionDecorator,
        f"{NO_ACTION}.{DECORATE}",
    ),
    (
        "action(retry=2)(3)",
        lambda: action(retry=2)(3),
        MissingActionDecorator,
        f"{NO_ACTION} (given: 3).{DECORATE}",
    ),
    (
        "Manager(ok)",
        lambda: Manager(ok),
        InvalidOption,
        "tasks=<action ok> is not valid: give a list of Task, such as DotFlow.task.queue.",
    ),
    (
        "Manager([ok])",
        lambda: Manager([ok]),
        InvalidOption,
        "tasks[0]=<action ok> is not valid: give Task objects, such as DotFlow.task.add makes of steps.",
    ),
    (
        'Manager([], config="x")',
        lambda: Manager([], config="x"),
        InvalidOption,
        f"config='x' is not valid: {GIVE_CONFIG}",
    ),
    (
        "Manager([], workflow_name=3)",
        lambda: Manager([], workflow_name=3),
        InvalidOption,
        "workflow_name=3 is not valid: give a text.",
    ),
    (
        'Manager([], mode="nope")',
        lambda: Manager([], mode="nope"),
        ExecutionModeNotExist,
        f"There is no execution mode 'nope'.{MODES}",
    ),
    (
        "Manager([], keep_goin=True)",
        lambda: Manager([], keep_goin=True),
        TypeError,
        "Manager() takes no argument 'keep_goin': is 'keep_going' meant?",
    ),
    (
        "Manager([], keep_going=None)",
        lambda: Manager([], keep_going=None),
        InvalidOption,
        "keep_going=None is not valid: give True or False.",
    ),
    (
        "Manager([], workflow_id=3)",
        lambda: Manager([], workflow_id=3),
        InvalidOption,
        "workflow_id=3 is not valid: give a text or a UUID.",
    ),
    (
        "Manager([], on_success=takes_nothing)",
        lambda: Manager([], on_success=takes_nothing),
        NotCallableObject,
        f"on_success={takes_nothing!r} is not usable: {TAKES_TASKS}{ALONE}",
    ),
    (
        'Task("a", len)',
        lambda: Task("a", len),
        MissingActionDecorator,
        f"{NO_ACTION} (given: <built-in function len>).{DECORATE}",
    ),
    (
        'Task("a", needs_path)',
        lambda: Task("a", needs_path),
        ParameterNotPassed,
        f"The step 'needs_path' needs the parameter 'path'{NOT_PASSED}Give 'path' a default, {READ}",
    ),
    ("Task(1, ok)", lambda: Task(1, ok), InvalidOption, "task_id=1 is not valid: give a text."),
    (
        'Task("a", ok, config=3)',
        lambda: Task("a", ok, config=3),
        InvalidOption,
        f"config=3 is not valid: {GIVE_CONFIG}",
    ),
    (
        'Task("a", ok, nam="x")',
        lambda: Task("a", ok, nam="x"),
        TypeError,
        "Task() takes no argument 'nam': is 'name' meant?",
    ),
    (
        'Task("a", ok, group_name=None)',
        lambda: Task("a", ok, group_name=None),
        InvalidOption,
        "group_name=None is not valid: give a text.",
    ),
    (
        'Task("a", ok, callback=takes_nothing)',
        lambda: Task("a", ok, callback=takes_nothing),
        NotCallableObject,
        f"callback={takes_nothing!r} is not usable: {TAKES_TASK}{ALONE}",
    ),
    (
        'TaskBuilder("x")',
        lambda: TaskBuilder("x"),
        InvalidOption,
        f"config='x' is not valid: {GIVE_CONFIG}",
    ),
    (
        "TaskBuilder(CONFIG, worklow_id=3)",
        lambda: TaskBuilder(CONFIG, worklow_id=3),
        TypeError,
        "TaskBuilder() takes no argument 'worklow_id': is 'workflow_id' meant?",
    ),
    (
        "Context(1, task_id=3)",
        lambda: Context(1, task_id=3),
        TypeError,
        "task_id must be a str or None, not 3",
    ),
    (
        'Context(1, workflow_id="x")',
        lambda: Context(1, workflow_id="x"),
        ValueError,
        "workflow_id must be the text of a UUID, not 'x'",
    ),
    (
        "Context(1, workflow_id=3)",
        lambda: Context(1, workflow_id=3),
        TypeError,
        "workflow_id must be a UUID, its text or None, not 3",
    ),
    (
        "flow().task.add(ok, ok)",
        lambda: flow().task.add(ok, ok),
        NotCallableObject,
        f"callback=<action ok> is not usable: {TAKES_TASK}; it is a step: add steps as add([a, b]).",
    ),
    (
        "flow().start(on_success=ok)",
        lambda: flow().start(on_success=ok),
        NotCallableObject,
        (
            f"on_success=<action ok> is not usable: {TAKES_TASKS}; it is a step: add steps as "
            "add([a, b])."
        ),
    ),
    (
        "flow().start(on_success=later)",
        lambda: flow().start(on_success=later),
        NotCallableObject,
        (
            f"on_success={later!r} is not usable: {TAKES_TASKS} and runs at its call: no generator, "
            "no async."
        ),
    ),
    (
        "flow().task.add(ok, callback=later)",
        lambda: flow().task.add(ok, callback=later),
        NotCallableObject,
        (
            f"callback={later!r} is not usable: {TAKES_TASK} and runs at its call: no generator, "
            "no async."
        ),
    ),
    (
        "Manager([], start='no')",
        lambda: Manager([], start="no"),
        InvalidOption,
        "start='no' is not valid: give True or False.",
    ),
    (
        "Manager([], keep_checkpoints='no')",
        lambda: Manager([], keep_checkpoints="no"),
        InvalidOption,
        "keep_checkpoints='no' is not valid: give True, False or None.",
    ),
    (
        "Manager([], workflow_id='')",
        lambda: Manager([], workflow_id=""),
        InvalidOption,
        "workflow_id='' is not valid: give a text or a UUID.",
    ),
    (
        "ok.retry = -1",
        lambda: setattr(ok, "retry", -1),
        InvalidOption,
        "retry=-1 is not valid: give a whole number of attempts, 0 or more.",
    ),
    (
        "Config(tracr=None)",
        lambda: Config(tracr=None),
        TypeError,
        "Config() takes no argument 'tracr': is 'tracer' meant?",
    ),
    (
        'Config(storage="data")',
        lambda: Config(storage="data"),
        NotCallableObject,
        "storage is not usable: expected an instance of dotflow.abc.storage.Storage, not 'data'.",
    ),
    (
        'TaskError("x")',
        lambda: TaskError("x"),
        InvalidOption,
        "error='x' is not valid: give an exception.",
    ),
]


@pytest.mark.parametrize(
    ("use", "kind", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_a_wrong_use_is_refused(use: Any, kind: type[Exception], message: str) -> None:
    """The error has the right type and says what was wrong, with which value, and what to do.

    By then no step ran, no provider was told of a run, and what is queued is what was queued.
    """
    ran.clear()
    recording.calls.clear()
    flows.clear()
    with pytest.raises(kind) as refused:
        use()
    assert type(refused.value) is kind
    assert str(refused.value) == message
    assert ran == []
    # A flow and its first task are made by the row itself.
    assert recording.hooks in ([], ["notify.hook_status_task", "log.info", "server.create_task"])
    assert [[task.status for task in made.task.queue] for made in flows] in ([], [["Not started"]])
