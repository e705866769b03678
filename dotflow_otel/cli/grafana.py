"""`dotflow grafana`: write the dashboards, and the rules and provisioning that go with them."""

from __future__ import annotations

import os
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dotflow.cli.output import COMPLETED, print_note
from dotflow.printable import printable
from dotflow_otel.cli.shared import Debug, WrongUse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

# What there is, by folder.
_PARTS: Final = {"dashboards": ".json", "rules": ".yml", "provisioning": ".yml"}

# What whoever has it is to change: it is written once, and never replaced.
_YOURS: Final = (
    "rules/dotflow-settings.yml",
    "provisioning/dashboards/dotflow.yml",
    "provisioning/datasources/dotflow.yml",
    "operator/dotflow-podmonitor.yml",
    "operator/dotflow-settings.yml",
)
_SHOWN: Final = 5

# Names and labels as Kubernetes has them.
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?"
    r"=([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?",
    re.ASCII,
)


def grafana(
    folder: Annotated[str, typer.Argument(metavar="DIR", show_default=False, help="Where.")],
    operator: Annotated[
        bool,
        typer.Option(
            "--operator",
            help="Write manifests for the Prometheus operator, in place of rule files and "
            "provisioning.",
        ),
    ] = False,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", metavar="NAME", help="Of these manifests; none unless given."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="KEY=VALUE",
            help="Of these manifests, such as release=prometheus; may be repeated.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that differ, but those that are yours.")
    ] = False,
    _debug: Debug = False,
) -> int:
    """Write the dashboards for Grafana, and rules for Prometheus, of this version.

    A file that is there and differs is not replaced, and then nothing is written, unless --force
    is given. What is yours to change (settings of the rules, provisioning, the PodMonitor) is
    never replaced.

    Exit codes: 0 all is there, 2 wrong use.
    """
    if not operator and (namespace is not None or label):
        given = "--namespace" if namespace is not None else "--label"
        raise WrongUse(f"{given} is of the manifests of --operator: give that as well.")
    metadata = _metadata(namespace, label or ())
    shipped = dict(_shipped())
    wanted = _manifests(shipped, metadata) if operator else shipped
    place = Path(folder)
    try:
        old, kept = _compared(place, wanted)
        if old and not force:
            raise WrongUse(_would_replace(folder, old))
        written = [name for name in wanted if name not in kept]
        for name in written:
            _write(place / name, wanted[name])
    except OSError as error:
        raise WrongUse(f"The files cannot be written to {folder}: {error}.") from error
    _print(folder, wanted, written, operator=operator)
    for name in kept:
        if kept[name]:
            print_note(f"{name} is kept as you have it; this version's differs.")
    return COMPLETED


# --- what there is ------------------------------------------------------------------------


def _shipped() -> Iterator[tuple[str, bytes]]:
    package = files("dotflow_otel")
    root: Traversable = package / "grafana"
    if not root.is_dir():  # a checkout, which has it beside the package
        root = Path(str(package)).parent / "grafana"
    for part, ending in _PARTS.items():
        yield from _files_in(root / part, part, ending)


def _files_in(folder: Traversable, path: str, ending: str) -> Iterator[tuple[str, bytes]]:
    for each in sorted(folder.iterdir(), key=lambda found: found.name):
        name = f"{path}/{each.name}"
        if each.is_file() and name.endswith(ending):
            yield name, each.read_bytes()
        elif each.is_dir() and path != "rules":  # where the tests of rules are
            yield from _files_in(each, name, ending)


# --- manifests ----------------------------------------------------------------------------

_RULES: Final = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
{metadata}spec:
{groups}"""

_PODS: Final = """\
# Which pods are scraped. What is yours to change: by which labels they are found, and the name of
# the port on which they serve metrics.
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: dotflow
{metadata}spec:
  # The label of a pod that becomes `job`: let it be the service's name, as in
  # observe(service_name=...), by which the boards ask for traces.
  jobLabel: app.kubernetes.io/name
  selector:
    matchLabels:
      app.kubernetes.io/part-of: dotflow
  podMetricsEndpoints:
    - port: metrics
      path: /metrics
      interval: 15s
"""


def _metadata(namespace: str | None, labels: Sequence[str]) -> str:
    lines = []
    if namespace is not None:
        if not _NAMESPACE.fullmatch(namespace):
            raise WrongUse(
                f"--namespace {namespace!r} is no name of Kubernetes: give lower case letters, "
                "digits and '-', such as monitoring."
            )
        lines.append(f'  namespace: "{namespace}"')
    if labels:
        lines.append("  labels:")
    for each in labels:
        if not _LABEL.fullmatch(each):
            raise WrongUse(
                f"--label {each!r} is no label of Kubernetes: give KEY=VALUE, such as "
                "release=prometheus."
            )
        key, _, value = each.partition("=")
        lines.append(f'    "{key}": "{value}"')
    return "".join(f"{line}\n" for line in lines)


def _manifests(shipped: Mapping[str, bytes], metadata: str) -> dict[str, bytes]:
    found = {name: data for name, data in shipped.items() if name.startswith("dashboards/")}
    for name, data in shipped.items():
        if name.startswith("rules/"):
            file = name.removeprefix("rules/")
            text = _rule_manifest(file.removesuffix(".yml"), data.decode("utf-8"), metadata)
            found[f"operator/{file}"] = text.encode("utf-8")
    found["operator/dotflow-podmonitor.yml"] = _PODS.format(metadata=metadata).encode("utf-8")
    return found


def _rule_manifest(name: str, rules: str, metadata: str) -> str:
    # Text below text: what is in the rules, comments included, stays as it is.
    about, _, groups = rules.partition("groups:\n")
    lines = (f"  {line}" if line else line for line in f"groups:\n{groups}".splitlines())
    indented = "\n".join(lines) + "\n"
    return about + _RULES.format(name=name, metadata=metadata, groups=indented)


# --- files --------------------------------------------------------------------------------


def _compared(place: Path, wanted: Mapping[str, bytes]) -> tuple[list[str], dict[str, bool]]:
    """Return which files would be replaced; and which stay, each with whether it differs."""
    old: list[str] = []
    kept: dict[str, bool] = {}
    for name, data in wanted.items():
        file = place / name
        if not file.exists() and not file.is_symlink():
            continue
        if file.is_file() and file.read_bytes() == data:
            kept[name] = False
        elif name in _YOURS:
            kept[name] = True
        else:
            old.append(name)
    return old, kept


def _would_replace(folder: str, old: Sequence[str]) -> str:
    more = f" and {len(old) - _SHOWN} more" if len(old) > _SHOWN else ""
    return (
        f"{', '.join(old[:_SHOWN])}{more} in {folder} would be replaced, for they differ from this "
        "version's, so nothing was written: add --force to replace them, or choose another folder."
    )


def _write(file: Path, data: bytes) -> None:
    # At once, whatever happens meanwhile: Grafana and Prometheus may be reading.
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _print(
    folder: str, wanted: Mapping[str, bytes], written: Sequence[str], *, operator: bool
) -> None:
    shown = printable(folder)
    same = len(wanted) - len(written)
    there = f"; {same} {'is' if same == 1 else 'are'} there already" if same else ""
    print(f"Wrote {len(written)} file{'' if len(written) == 1 else 's'} to {shown}{there}.")
    for name in written:
        print(f"  {name}")
    if operator:
        print(f"\nNext: kubectl apply -f {shown}/operator")
    else:
        rules = printable(str(Path(folder).resolve() / "rules"))
        print(f"\nNext, in prometheus.yml: rule_files: [{rules}/*.yml]")
    print("The dashboards: import them in Grafana, or have it provision their folder.")
