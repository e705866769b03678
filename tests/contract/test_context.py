"""Contract section 5: Context."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from dotflow import Context


def test_empty_context() -> None:
    """Context() has storage None, task_id "" and workflow_id None."""
    context = Context()
    assert (context.storage, context.task_id, context.workflow_id) == (None, "", None)


def test_time_is_the_naive_local_time_of_creation() -> None:
    """The time of a context is a naive local datetime, of now."""
    before = datetime.now() - timedelta(seconds=0.01)
    context = Context()
    assert context.time.tzinfo is None
    assert before <= context.time <= datetime.now() + timedelta(seconds=0.01)


def test_properties_can_be_set() -> None:
    """time, task_id, workflow_id and storage are settable."""
    context, workflow_id = Context(), uuid4()
    moment = datetime(2020, 1, 2)
    context.time = moment
    context.task_id = "t"
    context.workflow_id = workflow_id
    context.storage = [1]
    assert (context.time, context.task_id, context.workflow_id, context.storage) == (
        moment,
        "t",
        workflow_id,
        [1],
    )


@pytest.mark.parametrize("value", [1, b"t", ["t"]])
def test_task_id_of_another_type_is_refused(value: Any) -> None:
    """A task_id that is neither str nor None raises TypeError, at making and at setting."""
    with pytest.raises(TypeError):
        Context(task_id=value)
    with pytest.raises(TypeError):
        Context().task_id = value


def test_task_id_may_be_none() -> None:
    """task_id=None is kept."""
    assert Context(task_id=None).task_id is None


def test_workflow_id_text_becomes_a_uuid() -> None:
    """The text of a UUID is stored as a UUID; a UUID as it is."""
    workflow_id = uuid4()
    assert Context(workflow_id=str(workflow_id)).workflow_id == workflow_id
    assert isinstance(Context(workflow_id=str(workflow_id)).workflow_id, UUID)
    assert Context(workflow_id=workflow_id).workflow_id is workflow_id


def test_workflow_id_that_is_no_uuid_is_refused() -> None:
    """Another text raises ValueError, another type TypeError, at making and at setting."""
    with pytest.raises(ValueError, match="etl-daily"):
        Context(workflow_id="etl-daily")
    wrong: Any = 5
    with pytest.raises(TypeError):
        Context(workflow_id=wrong)
    context = Context()
    with pytest.raises(ValueError, match="etl-daily"):
        context.workflow_id = "etl-daily"


def test_context_given_as_storage_is_unwrapped() -> None:
    """Storage, time and ids come from the inner context, over the other arguments."""
    inner = Context(storage=1, task_id="x", workflow_id=uuid4())
    outer = Context(storage=inner, task_id="y", workflow_id=uuid4())
    assert (outer.storage, outer.task_id, outer.workflow_id, outer.time) == (
        1,
        "x",
        inner.workflow_id,
        inner.time,
    )


@pytest.mark.parametrize("storage", [None, 0, "", [], {}, False])
def test_context_is_always_true(storage: object) -> None:
    """A context is true whatever it holds."""
    assert bool(Context(storage=storage)) is True


def test_context_has_no_equality() -> None:
    """Two contexts of the same content are not equal; a context equals itself."""
    one = Context(storage=1, task_id="t")
    other = Context(storage=1, task_id="t")
    assert one != other
    assert one == one  # noqa: PLR0124 - the point of the test
    assert len({one, other}) == 2


def test_any_object_is_kept_as_it_is() -> None:
    """The storage is the object given, not a copy."""
    value = object()
    assert Context(storage=value).storage is value


def test_context_pickles_with_its_time_and_ids() -> None:
    """A pickled copy has the same storage, ids and time."""
    context = Context(storage={"a": 1}, task_id="t", workflow_id=uuid4())
    copy = pickle.loads(pickle.dumps(context))
    assert (copy.storage, copy.task_id, copy.workflow_id, copy.time) == (
        {"a": 1},
        "t",
        context.workflow_id,
        context.time,
    )
