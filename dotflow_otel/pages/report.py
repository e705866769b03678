"""The page as one file that needs nothing else: no network, no server."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from dotflow.core.exception import InvalidOption
from dotflow_otel.pages.document import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping


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


# In the order in which each needs those before it.
_SCRIPTS: Final = (
    "base",
    "model",
    "lists",
    "timeline",
    "waterfall",
    "workers",
    "tables",
    "details",
    "run",
    "runs",
    "page",
)

_PLACE: Final = re.compile(r"<!-- (\w+) -->\n")
_DATA: Final = '<script type="application/json" id="document">'

# What a browser enforces: nothing but this page's own script and style runs, nothing is loaded
# from anywhere, and no text becomes markup, whatever a run is named.
_POLICY: Final = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src data:; "
    "connect-src {connect}; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def script() -> str:
    """Return the program of the page."""
    parts = "\n".join(_text(f"{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


def style() -> str:
    """Return the style sheet of the page."""
    return _text("page.css")


def policy(*, script: str, style: str, connect: str) -> str:
    """Return the content security policy of the page.

    Args:
        script: Where its script may come from.
        style: Likewise its style sheet.
        connect: Likewise what it fetches.
    """
    return _POLICY.format(script=script, style=style, connect=connect)


def report(document: Mapping[str, Any]) -> str:
    """Return the page of a run, as one file.

    Args:
        document: As `run_document` makes it.
    """
    code, looks = script(), style()
    allowed = policy(script=_hash(code), style=_hash(looks), connect="'none'")
    return shell(
        {
            "policy": f'<meta http-equiv="Content-Security-Policy" content="{allowed}">',
            "style": f"<style>{looks}</style>",
            "document": f"{_DATA}{to_json(document)}</script>",
            "script": f"<script>{code}</script>",
        }
    )


def shell(parts: Mapping[str, str]) -> str:
    """Return the page, with what is given for each of its places; the others are left out."""
    # By one search, as what is given may itself have the form of a place.
    return _PLACE.sub(
        lambda place: f"{parts[place[1]]}\n" if place[1] in parts else "", _text("page.html")
    )


def _text(name: str) -> str:
    return (resources.files(__package__) / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
