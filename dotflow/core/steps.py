"""Class steps: the actions among an instance's methods, run one after another."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from dotflow.core.action import Action
from dotflow.core.context import Context
from dotflow.core.copies import own_context
from dotflow.core.ids import fresh_id
from dotflow.core.limit import Limit
from dotflow.core.scopes import method_scopes, within
from dotflow.core.user_objects import attribute_of, is_written_in_c, mro_of, namespace_of, repr_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dotflow.abc.scope import Scope

_logger = logging.getLogger("dotflow")


def actions_of(value: object) -> Sequence[Action]:
    """Return the actions of an instance's class, bound to it, in the order of definition.

    Looks at the classes alone: no property is evaluated and no source is read. Those of a
    base class come first; an override keeps the place of what it overrides.
    """
    found: dict[str, Action | None] = {}
    for owner in reversed(mro_of(type(value))):
        namespace = namespace_of(owner)
        if is_written_in_c(owner):  # it has no actions, but may hide some
            found.update(dict.fromkeys(found.keys() & namespace.keys()))
            continue
        for name, attribute in sorted(namespace.items(), key=_number):
            if name in found or _action_in(attribute) is not None:
                found[name] = _bound(attribute, value)
    return [action for action in found.values() if action is not None]


def _number(item: tuple[str, object]) -> int:
    action = _action_in(item[1])
    return -1 if action is None else action.number


def _action_in(attribute: object) -> Action | None:
    # By its type alone: a lazy attribute of a class stays unevaluated.
    kind = type(attribute)
    inner: Any = attribute
    if issubclass(kind, (staticmethod, classmethod)):
        inner = attribute_of(attribute, "__func__")
    return inner if issubclass(type(inner), Action) and inner.func is not None else None


def _bound(attribute: object, value: object) -> Action | None:
    action = _action_in(attribute)
    kind = type(attribute)
    if action is None or issubclass(kind, staticmethod):
        return action
    return action.__get__(type(value) if issubclass(kind, classmethod) else value)


def run_methods(
    actions: Sequence[Action],
    initial: Context | None,
    previous: Context | None,
    scopes: Sequence[Scope] = (),
) -> list[Context]:
    """Run the actions of a class step; each gets what the one before returned.

    One that may be repeated gets copies, so that each of its attempts finds the same.

    Args:
        actions: The methods.
        initial: The task's initial context.
        previous: What the first one gets.
        scopes: What is entered around the attempt, asked for what goes around each method.
    """
    contexts: list[Context] = []
    for action in actions:
        around = method_scopes(scopes, action, None)
        value = within(around, partial(_tried, action, initial, previous, scopes))
        previous = Context(value, task_id=fresh_id())
        contexts.append(previous)
    return contexts


def _tried(
    action: Action, initial: Context | None, previous: Context | None, scopes: Sequence[Scope]
) -> Any:
    policy = action.policy
    if policy.attempts == 1:
        return _run_limited(action, initial, previous)
    attempt = 1
    while True:
        try:
            around = method_scopes(scopes, action, attempt)
            return within(around, partial(_run_limited, action, *_own(action, initial, previous)))
        except Exception as error:
            if attempt == policy.attempts:
                raise
            _logger.warning(
                "%s failed in attempt %d of %d: %s",
                action.name,
                attempt,
                policy.attempts,
                repr_of(error),
            )
        time.sleep(policy.delay_after(attempt))
        attempt += 1


def _own(
    action: Action, initial: Context | None, previous: Context | None
) -> tuple[Context | None, Context | None]:
    return (
        own_context(initial) if action.wants_initial else None,
        own_context(previous) if action.wants_previous else None,
    )


def _run_limited(action: Action, initial: Context | None, previous: Context | None) -> Any:
    if not action.policy.timeout:
        return action.run(initial, previous)
    limit = Limit(action.policy.timeout, action.name)
    return limit.call(partial(action.run, initial, previous))
