"""The project itself: what lies in it, what it pins, what importing it costs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import pytest

import dotflow
from dotflow.core.model import Task

if TYPE_CHECKING:
    from collections.abc import Container

ROOT = Path(__file__).resolve().parents[2]

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "constraints-oldest.txt",
    "constraints.txt",
    "dotflow",
    "dotflow_otel",
    "examples",
    "grafana",
    "pyproject.toml",
    "tests",
}

# Each by the reason why `import dotflow` does without it.
UNWANTED = {
    "telemetry": {"opentelemetry", "prometheus_client", "structlog", "dotflow_otel"},
    "http": {"http", "urllib.request", "socket", "ssl", "requests", "urllib3"},
    "concurrency": {"asyncio", "concurrent.futures", "multiprocessing", "subprocess"},
    "command line": {"dotflow.cli", "dotflow.main", "typer", "click", "rich", "pydantic"},
    "slow": {"cloudpickle", "dataclasses", "importlib.metadata", "inspect", "json", "tempfile"},
}


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """The files that git knows or would add; without git, as from an archive, no test."""
    listing = _output("git", "ls-files", "-co", "--exclude-standard", "-z")
    if listing is None:
        pytest.skip("not a git work tree")
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def _texts(files: list[Path]) -> dict[str, str]:
    return {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8", errors="replace")
        for file in files
    }


def _loaded_by(statement: str) -> set[str]:
    # Without site, which may load modules of its own; so this interpreter's path is handed on.
    code = (
        "import json, sys\n"
        "sys.path[:] = json.loads(sys.argv[1])\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        "print('\\n'.join(set(sys.modules) - before))"
    )
    encoded = json.dumps([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, encoded], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_top_level_holds_what_it_should(tracked: list[Path]) -> None:
    """A new file at the top level is a decision, made here."""
    assert {file.relative_to(ROOT).parts[0] for file in tracked} <= TOP_LEVEL


def test_markers_are_of_places_that_there_are(
    project: dict[str, Any], pytestconfig: pytest.Config
) -> None:
    """A test file that moves keeps its marker; each marker is registered."""
    conftest: Any = pytestconfig.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    registered = project["tool"]["pytest"]["ini_options"]["markers"]
    assert sorted(conftest.MARKED) == [marker.partition(":")[0] for marker in registered]
    places = [place for marked in conftest.MARKED.values() for place in marked]
    assert [place for place in places if not (conftest.TESTS / place).exists()] == []


def test_what_runs_on_dask_is_marked() -> None:
    """Of the tests of all executors, those on Dask have its marker, and no others."""
    executors = "tests/contract/test_executors.py"
    listing = _output(sys.executable, "-m", "pytest", "--collect-only", "-q", executors)
    marked = _output(
        sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "dask", executors
    )
    assert listing
    assert marked
    names = [line for line in listing.splitlines() if "[dask" in line]
    assert names
    assert [line for line in marked.splitlines() if "::" in line] == names


@pytest.mark.parametrize("package", ["dotflow", "dotflow_otel"])
def test_package_is_typed(package: str) -> None:
    """Type checkers of programs that use the package read its annotations."""
    assert (ROOT / package / "py.typed").is_file()


def test_version_is_single_sourced(project: dict[str, Any]) -> None:
    """The distribution takes its version from `dotflow.__version__`."""
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "dotflow/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", dotflow.__version__)


def test_core_depends_on_cloudpickle_alone(project: dict[str, Any]) -> None:
    """Telemetry, scheduling and the rest are extras."""
    names = [re.split(r"[<>=]", line)[0] for line in project["project"]["dependencies"]]
    assert names == ["cloudpickle"]


PINS = [
    "constraints.txt",
    "constraints-oldest.txt",
    *sorted(
        f"{folder}/{path.name}"
        for folder in ("tests/benchmarks/peers", "tests/versions")
        for path in (ROOT / folder).glob("*.txt")
    ),
]


@pytest.mark.parametrize("name", PINS)
def test_pins_are_names_and_versions(name: str) -> None:
    """Pins name no address, file, hash or registry, so they hold wherever packages come from."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==(\d+!)?[\w.]+", pin)] == []


def test_every_dependency_is_pinned(project: dict[str, Any]) -> None:
    """What the project asks for stands in constraints.txt."""
    table = project["project"]
    asked = [*project["build-system"]["requires"], *table["dependencies"]]
    for extra in table["optional-dependencies"].values():
        asked += extra
    names = {_normal(re.split(r"[\[<>=]", line)[0]) for line in asked} - {"dotflow"}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert names <= {_normal(pin.partition("==")[0]) for pin in pins}


def test_oldest_pins_are_the_lower_bounds(project: dict[str, Any]) -> None:
    """`make test-oldest` runs on the very versions that the project says it works with."""
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"]]
    for extra in ("cli", "dask", "otel", "scheduler"):
        asked += extras[extra]
    bounds = dict(line.split(">=") for line in asked)
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pins = {_normal(name): pin for name, _, pin in (line.partition("==") for line in lines)}
    oldest = {name: pins[_normal(name)] for name in bounds}
    assert oldest == {name: f"{bound}.0" for name, bound in bounds.items()}


def _pinned(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


LANES = [name for name in PINS if name.startswith("tests/versions/")]


@pytest.mark.parametrize("name", LANES)
def test_a_lane_is_of_the_version_that_it_is_called_after(name: str) -> None:
    """All of OpenTelemetry is of that release, older than what all other tests run on."""
    pins = _pinned(name)
    release = re.fullmatch(r".*/otel-(\d+\.\d+)\.txt", name)
    assert release
    telemetry = {pin for pin in pins if pin.startswith("opentelemetry-")}
    numbers = {pins[pin] for pin in telemetry - {"opentelemetry-semantic-conventions"}}
    (number,) = numbers
    assert number.startswith(f"{release[1]}.")
    newest = _pinned("constraints.txt")["opentelemetry-sdk"]
    assert [int(part) for part in number.split(".")] < [int(part) for part in newest.split(".")]


@pytest.mark.parametrize("name", LANES)
def test_what_a_lane_pins_replaces_other_pins(name: str) -> None:
    """`make` finds what it replaces in constraints.txt by the name as it is spelled there."""
    spelled = {_normal(pin): pin for pin in _pinned("constraints.txt")}
    pins = _pinned(name)
    assert {pin: spelled.get(_normal(pin), pin) for pin in pins} == {pin: pin for pin in pins}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_entry_points_name_the_telemetry_providers(project: dict[str, Any]) -> None:
    """`dotflow.providers` finds the telemetry providers by their names of 1.x."""
    names = [
        "TracerOpenTelemetry",
        "MetricsPrometheus",
        "MetricsOpenTelemetry",
        "LogStructlog",
    ]
    group = project["project"]["entry-points"]["dotflow.providers"]
    assert group == {name: f"dotflow_otel:{name}" for name in names}


def test_entry_points_of_the_command_line(project: dict[str, Any]) -> None:
    """The program is `dotflow.main:main`; telemetry is what `--observe` and `--history` find."""
    table = project["project"]
    assert table["scripts"] == {"dotflow": "dotflow.main:main"}
    assert table["entry-points"]["dotflow.configurations"] == {
        "observe": "dotflow_otel:observe",
        "history": "dotflow_otel:record_history",
    }


@pytest.mark.parametrize("reason", UNWANTED)
def test_import_loads_none_of(reason: str) -> None:
    """What `dotflow` offers loads nothing that a plain sequential run may not need."""
    loaded = _loaded_by("from dotflow import DotFlow")
    assert "dotflow.core.workflow" in loaded
    assert loaded & UNWANTED[reason] == set()


def test_bare_import_loads_nothing_else() -> None:
    """`import dotflow` alone loads no other module of it: those come with the first look-up."""
    loaded = _loaded_by("import dotflow")
    assert {name for name in loaded if name.startswith("dotflow")} == {"dotflow"}


def test_bare_import_is_enough_for_submodules() -> None:
    """After `import dotflow` alone its modules are found, as in dotflow 1.x."""
    loaded = _loaded_by(
        "import dotflow; dotflow.core.exception, dotflow.providers, dotflow.abc, dotflow.settings"
    )
    assert "dotflow.core.workflow" in loaded


def test_every_module_can_be_imported_first(tracked: list[Path]) -> None:
    """No module of the core needs another to have been imported before it."""
    names = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in tracked
        if file.suffix == ".py" and file.is_relative_to(ROOT / "dotflow")
    ]
    assert "dotflow.core.workflow" in names
    # Each in a fork of one interpreter, which is faster than an interpreter for each.
    code = (
        "import importlib, os, sys\n"
        f"for name in {names!r}:\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        importlib.import_module(name)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(pid, 0)[1]:\n"
        "        sys.exit(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_module_imports_itself(tracked: list[Path]) -> None:
    """Nor does one by way of others, annotations and imports inside functions included."""
    modules = {_module(path): path for path in tracked if _is_source(path)}
    graph = {name: _imported(path, modules) - {name} for name, path in modules.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def _is_source(path: Path) -> bool:
    return path.suffix == ".py" and path.relative_to(ROOT).parts[0] in {"dotflow", "dotflow_otel"}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path, modules: Container[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{each.name}" for each in node.names]
            found |= {name if name in modules else f"{node.module}" for name in names}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return {name for name in found if name in modules}


def _anchors(page: str) -> set[str]:
    """Return what the headings of a page are linked by, as forges make it."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"(?ms)^```.*?^```", "", page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_one_place_changes_the_state_of_tasks(tracked: list[Path]) -> None:
    """Only the writer assigns what a task has; where tasks are added they get their place."""
    state = set(Task.__slots__) - {"attached"}
    found: dict[str, set[str]] = {}
    for path in tracked:
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0].startswith("dotflow"):
            for node in ast.walk(ast.parse(path.read_text())):
                if _is_assigned_to_a_task(node) and node.attr in state:
                    found.setdefault(path.name, set()).add(node.attr)
    assert found.pop("task.py") == found.pop("model.py") == {"index"}
    assert set(found) == {"writer.py"}
    assert found["writer.py"] > {"status", "failure", "ready_at", "queue_duration", "duration"}


def _is_assigned_to_a_task(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value).rpartition(".")[2] in {"task", "each", "before"}
    )


def test_one_place_registers_calls_for_the_life_of_a_process(tracked: list[Path]) -> None:
    """What a fork or the exit calls goes through `dotflow.core.process`, which keeps the order."""
    calls = ("os.register_at_fork(", "atexit.register(")
    found = {
        path.name
        for path in tracked
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0].startswith("dotflow")
        if any(call in path.read_text() for call in calls)
    }
    assert found == {"process.py"}


def test_telemetry_leaves_the_environment_as_it_is() -> None:
    """No file of the telemetry changes `os.environ`, which other threads and children read."""
    changes = re.compile(
        r"environ\.(pop|update|setdefault|clear)\(|del os\.environ|environ\[.*\] ="
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "dotflow_otel").rglob("*.py")
        for line in path.read_text().splitlines()
        if changes.search(line)
    ]
    assert found == []


def test_links_of_pages_lead_somewhere(tracked: list[Path]) -> None:
    """What a page links to in this repository is there: file, picture and heading."""
    pages = [file for file in tracked if file.suffix == ".md"]
    assert {file.name for file in pages} >= {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    anchors = {file: _anchors(file.read_text(encoding="utf-8")) for file in pages}
    broken = []
    for page in pages:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            if "://" in link:
                continue
            if not target.exists() or (anchor and anchor not in anchors.get(target, ())):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def test_the_map_leads_somewhere(tracked: list[Path]) -> None:
    """What CONTRIBUTING says to open is there, and it names every package."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, _, table = page.partition("\n| to change | open |\n")
    rows = [row.split(" | ", 1) for row in table.partition("\n\n")[0].splitlines()[1:]]
    opened = re.findall(r"`([^` ]+)`", " ".join(where for _, where in rows))
    assert len(rows) > 30
    assert [name for name in opened if not (ROOT / name).exists()] == []
    initial = [file.relative_to(ROOT) for file in tracked if file.name == "__init__.py"]
    packages = {str(file.parent) for file in initial if len(file.parts) == 3}
    assert "dotflow/core" in packages
    assert sorted(packages - {"/".join(Path(name).parts[:2]) for name in opened}) == []


def test_no_absolute_path_of_a_machine(tracked: list[Path]) -> None:
    """No tracked file names the folder this work tree is in, nor the user's home."""
    places = {str(place) for place in (ROOT, Path.home()) if len(place.parts) > 1}
    found = {
        name: place
        for name, text in _texts(tracked).items()
        for place in places
        if f"{place}/" in text
    }
    assert found == {}


def test_no_registry_is_named(tracked: list[Path]) -> None:
    """No tracked file chooses where packages come from: that is the machine's setting."""
    chosen = re.compile(r"--(extra-)?index-url\b|--find-links\b|PIP_(EXTRA_)?INDEX_URL\b")
    this = str(Path(__file__).relative_to(ROOT))
    texts = _texts(tracked)
    assert [name for name, text in texts.items() if name != this and chosen.search(text)] == []


# Private by their names, and public by the contract: what subclasses of 1.x set or extend.
PROMISED = {"_callback_workflow", "_format", "_level", "_logger"}


def _is_private(name: str) -> bool:
    return (
        name.strip("_") != ""
        and name.startswith("_")
        and not name.startswith("__")
        and name not in PROMISED
    )


def _defined(tree: ast.AST) -> set[str]:
    """Return the private names that a file defines: of functions, classes, values and fields."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return {name for name in found if _is_private(name)}


def _named(tree: ast.AST) -> set[tuple[int, str]]:
    """Return the private names that a file takes from elsewhere, by their lines.

    Those are imports, fields of anything but `self`, `cls` and `super()`, texts that are such a
    name or lead to one, as `monkeypatch.setattr` gets them, and programs that are texts.
    """
    found: set[tuple[int, str]] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found.update((node.lineno, each.name) for each in node.names)
        elif isinstance(node, ast.Attribute):
            if ast.unparse(node.value) not in {"self", "cls", "super()"}:
                found.add((node.lineno, node.attr))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"[\w.]+", node.value):
                found.add((node.lineno, node.value.rpartition(".")[2]))
            elif "import" in node.value:
                names = re.findall(r"(?:\.|\bimport )(_[a-zA-Z]\w*)", node.value)
                found.update((node.lineno, name) for name in names)
    return {(line, name) for line, name in found if _is_private(name)}


def _trees(folder: str) -> dict[Path, ast.AST]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


# Names of others that are also names here: suffixes of metrics, fields of the SDK and of Python.
OF_OTHERS = {
    "_ASYNC_CALLING_THREAD",
    "_DOTFLOW_COMPLETE",
    "_base_executable",
    "_bucket",
    "_count",
    "_created",
    "_data",
    "_inheriting",
    "_instrumenting_library_version",
    "_instrumenting_module_name",
    "_logs",
    "_made",
    "_sampler",
    "_schema_url",
    "_seconds",
    "_sum",
    "_thread",
    "_total",
    "_value",
    "_xoptions",
}


def test_no_test_names_a_private_name() -> None:
    """Tests are of behaviour; where a moment must be hit, the code has a public name for it.

    A private module may be imported: what it defines is public within the package.
    """
    private = set().union(*(_defined(tree) for tree in _trees("dotflow").values()))
    private |= set().union(*(_defined(tree) for tree in _trees("dotflow_otel").values()))
    modules = {path.stem for name in ("dotflow", "dotflow_otel") for path in _trees(name)}
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path, tree in _trees("tests").items()
        if path.name != "test_private_names.py"  # which is about them
        for line, name in sorted(_named(tree))
        if name in private - _defined(tree) - modules - OF_OTHERS
    ]
    assert found == []
