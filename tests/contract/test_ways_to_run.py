"""In however a program is started, and wherever its modules are, `parallel` is as `sequential`."""

from __future__ import annotations

import os
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

STEPS = """
from dotflow import action
import helper

FACTOR = 5

class Point:
    def __init__(self, x):
        self.x = x

@action
def one():
    return helper.added(FACTOR, 1)

@action
def two():
    return Point(helper.THREE)

@action
def three():
    import late
    return late.VALUE
"""

TOLD = """
import os, sys
from dotflow import Config, DotFlow
from dotflow.providers import ExecutorLocal, LogDefault

def found(mode, steps):
    log = LogDefault(output="file", path=os.devnull)
    flow = DotFlow(config=Config(log=log, executor=ExecutorLocal(workers=1)))
    flow.task.add(list(steps))
    flow.start(mode=mode, keep_going=True)
    tasks = flow.result_task()
    values = [t.errors[-1].message if t.errors else t.current_context.storage for t in tasks]
    return [getattr(value, "x", value) for value in values]

def told(*steps):
    print("found", *(found(mode, steps) for mode in ("sequential", "parallel")))
"""

HELPERS = {"helper.py": "THREE = 3\ndef added(a, b): return a + b\n", "late.py": "VALUE = 9\n"}
MODULES = {**HELPERS, "steps.py": STEPS}
OWN = f"{TOLD}{STEPS}\n"
WITH_IMPORTED = f"{TOLD}import steps\n{STEPS}\n"
ALL = "told(one, two, three, steps.one, steps.two, steps.three)\n"


def inside(folder: str, files: dict[str, str]) -> dict[str, str]:
    """Return the same files in a folder."""
    return {f"{folder}/{name}": text for name, text in files.items()}


def relative(text: str) -> str:
    """Return the same program with imports from its own package."""
    imported = text.replace("import helper\n", "from . import helper\n")
    return imported.replace("    import late\n", "    from . import late\n")


class Way(NamedTuple):
    """A way to start a program: its files, and the interpreter's arguments."""

    files: dict[str, str]
    arguments: tuple[str, ...] = ("program.py",)
    given: str = ""
    expected: str = "[6, 3, 9] [6, 3, 9]"


TWICE = "[6, 3, 9, 6, 3, 9] [6, 3, 9, 6, 3, 9]"

PLUGINS = f"""{TOLD}
from importlib.util import module_from_spec, spec_from_file_location
def loaded(name):
    spec = spec_from_file_location(name, f"plugins/{{name}}.py")
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
loaded("settings")
plugin = loaded("plugin")
told(plugin.one, plugin.two, plugin.three)
"""

DAEMON = """
child = os.fork()
if child:
    os.waitpid(child, 0)
else:
    os.setsid()
    os.chdir("/")
    os.umask(0)
    os.closerange(3, 64)
    told(one, two)
"""

TEST_IN_PACKAGE = f"""{TOLD}
from dotflow import action
from tests.sub.values import VALUE
from .. import sub

@action
def one(): return VALUE
@action
def two(): return sub.values.VALUE

def test():
    told(one, two)
"""

FROZEN = f"""{OWN}
sys.frozen = True
told(one, two, three)
"""

PYTEST = ("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider")

WAYS = {
    "command": Way(MODULES, ("-c", WITH_IMPORTED + ALL), expected=TWICE),
    "command, in another folder": Way(
        MODULES,
        ("-c", f"{WITH_IMPORTED}\nos.chdir('/')\ntold(one, two, steps.one, steps.two)"),
        expected="[6, 3, 6, 3] [6, 3, 6, 3]",
    ),
    "piped in": Way(MODULES, ("-",), WITH_IMPORTED + ALL, TWICE),
    "interactive": Way(
        {**MODULES, "tell.py": TOLD},
        ("-i", "-q"),
        "from tell import told\nfrom steps import *\ntold(one, two, three)\n",
    ),
    "isolated": Way(
        {
            **MODULES,
            "program.py": "import os, sys\n"
            "sys.path[:0] = [os.environ['PYTHONPATH'], os.path.dirname(__file__)]\n"
            + WITH_IMPORTED
            + ALL,
        },
        ("-I", "program.py"),
        expected=TWICE,
    ),
    "package": Way(
        inside(
            "package",
            {
                **HELPERS,
                "__init__.py": "",
                "steps.py": relative(STEPS),
                "__main__.py": f"{TOLD}from . import steps\n{relative(STEPS)}{ALL}",
            },
        ),
        ("-m", "package"),
        expected=TWICE,
    ),
    "archive": Way(
        inside("app", {**MODULES, "__main__.py": f"{WITH_IMPORTED}os.chdir('/')\n{ALL}"}),
        ("app.pyz",),
        expected=TWICE,
    ),
    "executed text": Way(
        {**HELPERS, "cell.txt": f"{OWN}told(one, two, three)"}
        | {"program.py": "exec(open('cell.txt').read(), {'__name__': 'cell'})"},
    ),
    "executed text without a name": Way(
        {**HELPERS, "cell.txt": f"{OWN}told(one, two, three)"}
        | {"program.py": "exec(open('cell.txt').read(), {})"},
    ),
    "run by runpy": Way(
        {**HELPERS, "cell.py": f"{OWN}told(one, two, three)"}
        | {"program.py": "import runpy\nrunpy.run_path('cell.py')"},
    ),
    "no main module": Way(
        {
            **MODULES,
            "program.py": f"{TOLD}from steps import *\ndel sys.modules['__main__']\n"
            "told(one, two, three)",
        },
    ),
    "relative path, in another folder": Way(
        inside("lib", MODULES)
        | {
            "program.py": f"import sys\nsys.path.insert(0, 'lib')\n{WITH_IMPORTED}"
            f"os.chdir('/')\n{ALL}"
        },
        expected=TWICE,
    ),
    "path for the import only": Way(
        inside("lib", MODULES)
        | {
            "program.py": f"import sys\nsys.path.insert(0, 'lib')\n{WITH_IMPORTED}import late\n"
            f"sys.path.pop(0)\n{ALL}"
        },
        expected=TWICE,
    ),
    "path for the import only, to another of that name": Way(
        inside("lib", MODULES)
        | {
            "helper.py": "THREE = 'wrong'\n",
            "program.py": f"import sys\nsys.path.insert(0, 'lib')\n{WITH_IMPORTED}import late\n"
            f"sys.path.pop(0)\n{ALL}",
        },
        expected=TWICE,
    ),
    "plugins": Way(
        {
            **HELPERS,
            "plugins/settings.py": "FACTOR = 5",
            "plugins/plugin.py": "import settings\n" + STEPS.replace("FACTOR,", "settings.FACTOR,"),
            "program.py": PLUGINS,
        }
    ),
    "forked daemon": Way({**HELPERS, "program.py": OWN + DAEMON}, expected="[6, 3] [6, 3]"),
    "spawned child": Way(
        {
            **HELPERS,
            "program.py": f"{OWN}import multiprocessing\ndef go(): told(one, two, three)\n"
            "if __name__ == '__main__':\n"
            "    child = multiprocessing.get_context('spawn').Process(target=go)\n"
            "    child.start()\n    child.join()\n",
        }
    ),
    "exit handler": Way(
        {
            **HELPERS,
            "program.py": f"{OWN}import atexit\natexit.register(lambda: told(one, two, three))",
        }
    ),
    "folder that is gone": Way(
        {
            **HELPERS,
            "program.py": f"{OWN}os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
            "told(one, two, three)",
        }
    ),
    "frozen by name": Way({**HELPERS, "program.py": FROZEN}),
    "unittest in another folder": Way(
        inside("tests", HELPERS)
        | {
            "tests/test_it.py": f"{OWN}import unittest\nclass TestIt(unittest.TestCase):\n"
            "    def test(self):\n        os.chdir('/')\n        told(one, two, three)\n"
        },
        ("-m", "unittest", "discover", "-s", "tests"),
    ),
    "pytest": Way(
        inside("tests", HELPERS)
        | {"tests/test_it.py": f"{OWN}def test():\n    told(one, two, three)\n"},
        (*PYTEST, "tests"),
    ),
    "pytest without a path": Way(
        {
            "tests/__init__.py": "",
            "tests/sub/__init__.py": "",
            "tests/sub/values.py": "VALUE = 4",
            "tests/sub/test_it.py": TEST_IN_PACKAGE,
        },
        ("pytest_alone.py", *PYTEST[2:], "--import-mode=importlib", "tests"),
        expected="[4, 4] [4, 4]",
    ),
}

# As the command `pytest` does, which has the folder of its own on the path, not that of the tests.
PYTEST_ALONE = "import sys\ndel sys.path[0]\nimport pytest\nsys.exit(pytest.main(sys.argv[1:]))\n"


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_program_finds_its_modules_in_workers(way: Way, tmp_path: Path) -> None:
    """Also those to which the path leads no more, or to others of their names."""
    for name, text in {**way.files, "pytest_alone.py": PYTEST_ALONE}.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    if (tmp_path / "app").exists():
        zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")
    done = subprocess.run(
        [sys.executable, *way.arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        input=way.given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if "found" in line]
    assert [line[line.index("found") :] for line in lines] == [f"found {way.expected}"], done.stderr
    assert done.returncode == 0, done.stderr
