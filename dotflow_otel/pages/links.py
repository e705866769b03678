"""The addresses of Jaeger and Grafana, which pages lead to."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

from dotflow.core.exception import InvalidOption

JAEGER: Final = "DOTFLOW_JAEGER_URL"
GRAFANA: Final = "DOTFLOW_GRAFANA_URL"


def addresses(jaeger: str | None = None, grafana: str | None = None) -> dict[str, str]:
    """Return the addresses that are known.

    Args:
        jaeger: Where Jaeger's page is; None: as `DOTFLOW_JAEGER_URL` says, if it does.
        grafana: Where Grafana is; None: as `DOTFLOW_GRAFANA_URL` says, if it does.

    Raises:
        InvalidOption: One is no address of a web page.
    """
    found = {}
    for name, variable, given in (("jaeger", JAEGER, jaeger), ("grafana", GRAFANA, grafana)):
        address = os.environ.get(variable, "") if given is None else given
        if address.strip():
            found[name] = _checked(variable if given is None else f"--{name}", address.strip())
    return found


def _checked(option: str, address: str) -> str:
    try:
        parts = urlsplit(address)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        is_web = False
    if not is_web or parts.query or parts.fragment or not address.isprintable() or " " in address:
        raise InvalidOption(option, address, "give an address such as http://localhost:16686")
    return address.rstrip("/")
