"""What of the SDK begins again in a forked child: the id of the service's instance, and sums.

A child, such as a worker of gunicorn with `preload_app`, is another instance of the service.
Without an id of its own, what two processes have counted is one series to whoever receives it,
which goes back and forth between the two; and what it inherits of its parent's sums, whoever adds
instances up would count twice.

The SDK has no public way to begin again, and instruments that were made before the fork keep
their place in it. So both are changed in its insides, here alone, where they are as they are
known from the releases from 1.27 on.
"""

from __future__ import annotations

import os
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4
from weakref import WeakKeyDictionary, ref

from dotflow_otel._process import call_in_forked_child

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_kept: Final[list[_Instance]] = []


def service_resource(service_name: str | None) -> Resource:
    """Return the resource of this process, with an id that a forked child has another one for.

    Args:
        service_name: The `service.name`; None: as the variables say.
    """
    # Here, because metrics need no SDK where the application has its own provider.
    from opentelemetry.sdk import resources as sdk  # noqa: PLC0415

    resource = sdk.Resource.create({} if service_name is None else {sdk.SERVICE_NAME: service_name})
    if sdk.SERVICE_INSTANCE_ID not in resource.attributes:  # newer SDKs give one
        resource = resource.merge(sdk.Resource({sdk.SERVICE_INSTANCE_ID: str(uuid4())}))
    # One that a variable sets stays.
    if sdk.SERVICE_INSTANCE_ID not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        _kept.append(_Instance(resource))
    return resource


class _Instance:
    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        call_in_forked_child(self._renew)

    def _renew(self) -> None:
        from opentelemetry.attributes import BoundedAttributes  # noqa: PLC0415 - as above
        from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID  # noqa: PLC0415

        # Newer SDKs do it by themselves. In others the providers, and what they made, have the
        # resource itself: what it says is changed in place, for none of them can be given another.
        attributes = {**self._resource.attributes, SERVICE_INSTANCE_ID: str(uuid4())}
        inside: Any = self._resource
        inside._attributes = BoundedAttributes(attributes=attributes)  # noqa: SLF001


_known: Final[WeakKeyDictionary[Any, _Reset]] = WeakKeyDictionary()


def reset_in_children(provider: Any) -> None:
    """Reset the sums of a provider of the SDK in every child that is forked.

    Does nothing where the SDK is not as it is known.

    Args:
        provider: One of this project; those of the application are left as they are.
    """
    if all(hasattr(each, "_instrument_view_instrument_matches") for each in _sums(provider)):
        _known[provider] = _Reset(provider)


def resets_in_children(provider: object) -> bool:
    """Return whether a provider begins at nothing in a forked child."""
    return provider in _known


def _sums(provider: Any) -> list[Any]:
    consumer = getattr(provider, "_measurement_consumer", None)
    return list(getattr(consumer, "_reader_storages", {None: None}).values())


class _Reset:
    def __init__(self, provider: Any) -> None:
        self._provider = ref(provider)
        call_in_forked_child(self._begin)

    def _begin(self) -> None:
        provider = self._provider()
        if provider is None:
            return
        # The locks as well: a thread may have held one at the fork, an export for seconds.
        consumer: Any = provider._measurement_consumer  # noqa: SLF001
        consumer._lock = Lock()  # noqa: SLF001
        for reader, sums in consumer._reader_storages.items():  # noqa: SLF001
            sums._lock = RLock()  # noqa: SLF001
            sums._instrument_view_instrument_matches = {}  # noqa: SLF001
            if hasattr(reader, "_export_lock"):
                reader._export_lock = Lock()  # noqa: SLF001
