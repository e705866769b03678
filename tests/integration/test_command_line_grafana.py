"""`dotflow grafana`: writes what the wheel has for Grafana and Prometheus, and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from backends.promtool import promtool
from command_line import Done, in_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Command = Callable[..., Done]

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
BOARDS = tuple(f"dashboards/dotflow-{name}.json" for name in ("fleet", "overview", "workflow"))
RULES = tuple(f"dotflow-{name}.yml" for name in ("alerts", "recording", "settings", "windows"))
RULE_FILES = tuple(f"rules/{name}" for name in RULES)
PROVISIONING = tuple(f"provisioning/{kind}/dotflow.yml" for kind in ("dashboards", "datasources"))
FILES = (*BOARDS, *RULE_FILES, *PROVISIONING)
MANIFESTS = (*(f"operator/{name}" for name in RULES), "operator/dotflow-podmonitor.yml")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Return what runs a command in this process."""
    return in_process(tmp_path, monkeypatch, capsys)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, by their paths."""
    found = sorted(each for each in folder.rglob("*") if each.is_file())
    return {str(each.relative_to(folder)): each.read_bytes() for each in found}


def shipped(*names: str) -> dict[str, bytes]:
    """Return files of the checkout."""
    return {name: (GRAFANA / name).read_bytes() for name in sorted(names)}


def listed(count: str, folder: str, names: tuple[str, ...], after: str = "") -> str:
    """Return what the command says of what it has written."""
    return "\n".join([f"Wrote {count} to {folder}{after}.", *(f"  {name}" for name in names)])


def test_files_of_this_version(command: Command, tmp_path: Path) -> None:
    """Dashboards, rules and provisioning, byte for byte; a second call has nothing to do."""
    done = command("grafana", "made")
    assert (done.code, done.err) == (0, "")
    assert files_in(tmp_path / "made") == shipped(*FILES)
    next_steps = (
        f"\n\nNext, in prometheus.yml: rule_files: [{tmp_path}/made/rules/*.yml]\n"
        "The dashboards: import them in Grafana, or have it provision their folder.\n"
    )
    assert done.out == listed("9 files", "made", FILES) + next_steps
    again = command("grafana", "made")
    assert again == Done(0, "Wrote 0 files to made; 9 are there already.\n" + next_steps[1:], "")


def test_all_that_the_checkout_has_is_written() -> None:
    """A dashboard, a file of rules or of provisioning that is added is shipped."""
    found = {*GRAFANA.glob("dashboards/*"), *GRAFANA.glob("rules/*.yml")}
    found |= {each for each in GRAFANA.glob("provisioning/**/*") if each.is_file()}
    assert {str(each.relative_to(GRAFANA)) for each in found} == {*FILES}


def test_a_file_that_differs_is_not_replaced(command: Command, tmp_path: Path) -> None:
    """The error names it, and nothing at all is written; --force replaces it."""
    made = tmp_path / "made"
    (made / "dashboards").mkdir(parents=True)
    (made / BOARDS[1]).write_text("{}")
    done = command("grafana", "made")
    assert done == Done(
        2,
        "",
        f"error: {BOARDS[1]} in made would be replaced, for they differ from this version's, so "
        "nothing was written: add --force to replace them, or choose another folder.\n",
    )
    assert files_in(made) == {BOARDS[1]: b"{}"}
    assert command("grafana", "made", "--force").code == 0
    assert files_in(made) == shipped(*FILES)


def test_many_files_that_differ(command: Command, tmp_path: Path) -> None:
    """The error names the first of them, and how many others there are."""
    command("grafana", "made")
    for name in (*BOARDS, *RULE_FILES):
        (tmp_path / "made" / name).write_text("other")
    done = command("grafana", "made")
    first = ", ".join([*BOARDS, "rules/dotflow-alerts.yml", "rules/dotflow-recording.yml"])
    assert done.err.startswith(f"error: {first} and 1 more in made would be replaced")


@pytest.mark.parametrize("flags", [(), ("--force",)], ids=["kept", "forced"])
def test_what_is_yours_is_never_replaced(
    flags: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    """Settings and provisioning stay as somebody has changed them, and a note says so."""
    yours = ("rules/dotflow-settings.yml", *PROVISIONING)
    command("grafana", "made")
    for name in yours:
        (tmp_path / "made" / name).write_text("mine")
    (tmp_path / "made" / BOARDS[0]).unlink()
    done = command("grafana", "made", *flags)
    assert done.code == 0
    assert done.out.startswith(listed("1 file", "made", BOARDS[:1], "; 8 are there already"))
    assert done.err == "".join(
        f"note: {name} is kept as you have it; this version's differs.\n" for name in yours
    )
    assert {(tmp_path / "made" / name).read_text() for name in yours} == {"mine"}


def test_links_and_folders_in_the_way(command: Command, tmp_path: Path) -> None:
    """A link is replaced, not what it leads to; a folder is not, and the error says so."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not ours")
    made = tmp_path / "made"
    (made / "dashboards").mkdir(parents=True)
    (made / BOARDS[0]).symlink_to(elsewhere)
    (made / BOARDS[1]).symlink_to(tmp_path / "nothing")
    done = command("grafana", "made")
    assert done.err.startswith(f"error: {BOARDS[0]}, {BOARDS[1]} in made would be replaced")
    assert command("grafana", "made", "--force").code == 0
    assert elsewhere.read_text() == "not ours"
    assert not (tmp_path / "nothing").exists()
    assert files_in(made) == shipped(*FILES)

    (made / BOARDS[0]).unlink()
    (made / BOARDS[0]).mkdir()
    done = command("grafana", "made", "--force")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: The files cannot be written to made: [Errno 21] Is a")
    assert not list((made / "dashboards").glob(".*"))


# --- for the operator ---------------------------------------------------------------------


def groups_of(text: bytes) -> Any:
    """Return the groups of a file of rules."""
    return yaml.safe_load(text)["groups"]


def test_manifests(command: Command, tmp_path: Path) -> None:
    """A PrometheusRule for each file of rules, and a PodMonitor, beside the dashboards."""
    done = command("grafana", "made", "--operator")
    assert (done.code, done.err) == (0, "")
    assert "\n\nNext: kubectl apply -f made/operator\n" in done.out
    files = files_in(tmp_path / "made")
    assert sorted(files) == sorted([*BOARDS, *MANIFESTS])
    for name in RULES:
        manifest = yaml.safe_load(files[f"operator/{name}"])
        assert manifest == {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": name.removesuffix(".yml")},
            "spec": {"groups": groups_of((GRAFANA / "rules" / name).read_bytes())},
        }
    assert yaml.safe_load(files["operator/dotflow-podmonitor.yml"]) == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "dotflow"},
        "spec": {
            "jobLabel": "app.kubernetes.io/name",
            "selector": {"matchLabels": {"app.kubernetes.io/part-of": "dotflow"}},
            "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
        },
    }


# What the operator's schema admits in a group and in a rule.
GROUP = {
    "name",
    "labels",
    "interval",
    "query_offset",
    "rules",
    "partial_response_strategy",
    "limit",
}
RULE = {"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}


@pytest.mark.parametrize("name", RULES)
def test_rules_are_what_the_operator_admits(name: str, command: Command, tmp_path: Path) -> None:
    """Keys that it does not know would be dropped; labels and annotations are texts."""
    command("grafana", "made", "--operator")
    manifest = yaml.safe_load((tmp_path / "made" / "operator" / name).read_text())
    for group in manifest["spec"]["groups"]:
        assert group.keys() <= GROUP
        for rule in group["rules"]:
            assert rule.keys() <= RULE
            texts = {**rule.get("labels", {}), **rule.get("annotations", {})}
            assert all(type(text) is str for text in texts.values())
            assert type(rule["expr"]) is str
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(manifest["spec"]))
    verdict = promtool("check", "rules", tmp_path / "rules.yml")
    assert verdict.ok, verdict.said


def test_where_manifests_belong(command: Command, tmp_path: Path) -> None:
    """Their namespace, and labels by which a Prometheus chooses them, are given."""
    done = command(
        *("grafana", "made", "--operator", "--namespace", "monitoring"),
        *("--label", "release=prometheus", "--label", "example.org/team=Data_1", "--label", "on="),
    )
    assert done.code == 0
    labels = {"release": "prometheus", "example.org/team": "Data_1", "on": ""}
    for name in MANIFESTS:
        metadata = yaml.safe_load((tmp_path / "made" / name).read_text())["metadata"]
        assert metadata["namespace"] == "monitoring"
        assert metadata["labels"] == labels


def test_manifests_that_are_yours(command: Command, tmp_path: Path) -> None:
    """The settings and the PodMonitor stay; rules that differ are replaced by --force alone."""
    command("grafana", "made", "--operator")
    yours = ("operator/dotflow-settings.yml", "operator/dotflow-podmonitor.yml")
    done = command("grafana", "made", "--operator", "--namespace", "monitoring")
    assert (done.code, done.out) == (2, "")
    done = command("grafana", "made", "--operator", "--namespace", "monitoring", "--force")
    assert done.code == 0
    assert [line.split()[1] for line in done.err.splitlines()] == [*yours]
    for name in MANIFESTS:
        metadata = yaml.safe_load((tmp_path / "made" / name).read_text())["metadata"]
        assert ("namespace" in metadata) == (name not in yours)


# --- wrong use ----------------------------------------------------------------------------


class Wrong(NamedTuple):
    """A wrong use, and what is said of it."""

    arguments: tuple[str, ...]
    said: str


WRONG = {
    "no folder": Wrong((), "Missing argument 'DIR'. See 'dotflow grafana --help'."),
    "a file": Wrong(
        ("steps.py",),
        "The files cannot be written to steps.py: [Errno 20] Not a directory: "
        "'steps.py/dashboards'.",
    ),
    "labels alone": Wrong(
        ("made", "--label", "a=b"),
        "--label is of the manifests of --operator: give that as well.",
    ),
    "a namespace alone": Wrong(
        ("made", "--namespace", "a"),
        "--namespace is of the manifests of --operator: give that as well.",
    ),
    "no label": Wrong(
        ("made", "--operator", "--label", "release"),
        "--label 'release' is no label of Kubernetes: give KEY=VALUE, such as release=prometheus.",
    ),
    "a label that is YAML": Wrong(
        ("made", "--operator", "--label", 'a=b"\nspec: {}'),
        "--label 'a=b\"\\nspec: {}' is no label of Kubernetes: give KEY=VALUE, such as "
        "release=prometheus.",
    ),
    "no namespace": Wrong(
        ("made", "--operator", "--namespace", "Mine"),
        "--namespace 'Mine' is no name of Kubernetes: give lower case letters, digits and '-', "
        "such as monitoring.",
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_wrong_use(wrong: Wrong, command: Command, tmp_path: Path) -> None:
    """One line says what was wrong; nothing is written."""
    done = command("grafana", *wrong.arguments)
    assert done == Done(2, "", f"error: {wrong.said}\n")
    assert not (tmp_path / "made").exists()


# --- from a wheel -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The program and folder of an environment with the wheel, and no checkout on its path."""
    folder = tmp_path_factory.mktemp("installed")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    wheel = (sys.executable, "-m", "pip", "wheel", *quiet, "--no-build-isolation", str(ROOT))
    _run(*wheel, "--wheel-dir", folder)
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    (made,) = folder.glob("*.whl")
    _run(sys.executable, "-m", "pip", "--python", python, "install", *quiet, made)
    # What it depends on; a `.pth` file in there, such as that of the checkout, is not read.
    site = Path(yaml.__file__).parents[1]
    (own,) = (folder / "venv" / "lib").glob("*/site-packages")
    (own / "dependencies.pth").write_text(f"{site}\n")
    return {"program": python.with_name("dotflow"), "site": own, "folder": folder}


def _run(*command: str | Path, **variables: str) -> str:
    # Those of pip that `make` sets name files of the checkout.
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("PIP_")
    }
    done = subprocess.run(
        command,
        cwd="/",
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_from_a_wheel(installed: Mapping[str, Path], tmp_path: Path) -> None:
    """The wheel has the files, and an installed program writes them."""
    package = installed["site"] / "dotflow_otel"
    assert files_in(package / "grafana") == shipped(*FILES)
    out = _run(installed["program"], "grafana", tmp_path / "made")
    assert out.startswith(f"Wrote 9 files to {tmp_path / 'made'}.\n")
    assert files_in(tmp_path / "made") == shipped(*FILES)
    for name in BOARDS:
        assert json.loads((tmp_path / "made" / name).read_bytes())["title"]
    overview = _run(installed["program"], "--help")
    assert "recover   Send the traces of runs that were killed." in overview


@pytest.mark.slow
def test_promtool_finds_the_rules_right(installed: Mapping[str, Path], tmp_path: Path) -> None:
    """As they are written by an installed program."""
    _run(installed["program"], "grafana", tmp_path)
    verdict = promtool("check", "rules", *(tmp_path / name for name in RULE_FILES))
    assert verdict.ok, verdict.said
    assert verdict.said.count("SUCCESS") == len(RULE_FILES)
