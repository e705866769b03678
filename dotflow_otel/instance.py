"""Which instance of a service this process is: each is one of its own, also a forked one.

Without that, what two processes of a service have counted is one series to whoever receives it,
which goes back and forth between the two.
"""

from __future__ import annotations

import os
from typing import Any, Final
from uuid import uuid4

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource

from dotflow_otel.forks import call_in_forked_child

_kept: Final[list[_Instance]] = []


def service_resource(service_name: str | None) -> Resource:
    """Return the resource of this process, with an id that a forked child has another one for.

    Args:
        service_name: The `service.name`; None: as the variables say.
    """
    resource = Resource.create({} if service_name is None else {SERVICE_NAME: service_name})
    if SERVICE_INSTANCE_ID not in resource.attributes:  # newer SDKs give one
        resource = resource.merge(Resource({SERVICE_INSTANCE_ID: str(uuid4())}))
    # One that is told by a variable stays.
    if SERVICE_INSTANCE_ID not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        _kept.append(_Instance(resource))
    return resource


class _Instance:
    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        call_in_forked_child(self._renew)

    def _renew(self) -> None:
        # Newer SDKs do it by themselves. In others the providers, and what they made, have the
        # resource itself: what it says is changed in place, for none of them can be told.
        attributes = {**self._resource.attributes, SERVICE_INSTANCE_ID: str(uuid4())}
        inside: Any = self._resource
        inside._attributes = BoundedAttributes(attributes=attributes)  # noqa: SLF001
