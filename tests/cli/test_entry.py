"""The command line as such: help, version, exit codes, and what happens when its libraries are missing."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import alura_async
from alura_async.cli.entry import COMMANDS, alura, run

from .process import ROOT, environment, python
from .process import alura as alura_of_a_clone

BLOCKED = """
import sys
sys.modules[{missing!r}] = None
from alura_async.cli import main
main()
"""

# Python runs this before anything else.
PRESS_CTRL_C = """
import signal, sys
class PressCtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, PressCtrlC())
"""
SCRIPT = """
import sys
from alura_async.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_library_is_one_clear_line_and_exit_code_2(missing: str) -> None:
    done = python(BLOCKED.format(missing=missing))
    assert done.returncode == 2
    assert done.stderr == (
        "the alura command needs the extra \"cli\": in a clone of the project, pip install '.[cli,sandbox]'\n"
    )
    assert done.stdout == ""


def interrupted(folder: Path, at: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python, and press Ctrl-C when it begins to import a module."""
    (folder / "sitecustomize.py").write_text(PRESS_CTRL_C.format(module=at), encoding="utf-8")
    (folder / "alura").write_text(SCRIPT, encoding="utf-8")
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(PYTHONPATH=f"{folder}{os.pathsep}{ROOT}"),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


can_press = pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to oneself there")


@can_press
@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("-m", "alura_async"), "alura_async._version"),
        (("-m", "alura_async"), "rich"),
        (("alura",), "alura_async.wallet"),
        (("alura",), "alura_async.cli.demo"),
    ],
)
def test_ctrl_c_while_it_is_still_being_imported_ends_it_quietly(
    command: tuple[str, ...], module: str, tmp_path: Path
) -> None:
    done = interrupted(tmp_path, module, *command, "demo", "--help")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() in ("", "alura: interrupted")


@can_press
@pytest.mark.parametrize(
    "program",
    [
        "from alura_async import Alura",
        "from alura_async.cli import main",
        # A module of a program's own that uses the command's.
        "import module",
        "import sys; sys.argv = ['-m', 'alura_async']; import alura_async",
    ],
)
def test_ctrl_c_is_heard_as_ever_by_whoever_else_imports_the_package(program: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("from alura_async.cli import main", encoding="utf-8")
    heard = f"""
try:
    {program}
except KeyboardInterrupt:
    print("heard")
"""
    done = interrupted(tmp_path, "alura_async.wallet", "-c", heard)
    assert (done.returncode, done.stdout.strip()) == (0, "heard"), done.stderr


@pytest.mark.parametrize("ends_in", ["alura_async", "alura_async.cli"])
def test_nothing_listens_for_ctrl_c_once_the_package_has_been_imported(ends_in: str) -> None:
    done = python(
        "import signal, sys\n"
        "sys.argv = ['alura', '--version']\n"
        f"import {ends_in}\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    assert done.stdout == "True\n"


def test_a_thread_of_the_command_may_import_the_package() -> None:
    done = python(
        "import sys, threading\n"
        "sys.argv = ['alura']\n"
        "thread = threading.Thread(target=lambda: print(__import__('alura_async').__name__))\n"
        "thread.start()\n"
        "thread.join()"
    )
    assert done.stdout == "alura_async\n", done.stderr


def test_importing_the_package_imports_neither_the_command_nor_its_libraries() -> None:
    done = python(
        "import sys, alura_async\n"
        "print([name for name in sys.modules if f'{name}.'.startswith(('alura_async.cli.', 'rich.', 'click.'))])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_help_of_the_command_names_every_subcommand() -> None:
    shown = CliRunner().invoke(alura, ["--help"])
    assert shown.exit_code == 0
    for name in COMMANDS:
        assert f"  {name} " in shown.output


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_subcommand_explains_itself_and_its_exit_code(name: str) -> None:
    shown = CliRunner().invoke(alura, [name, "-h"])
    assert shown.exit_code == 0
    assert "exit code" in " ".join(shown.output.split())
    assert max(map(len, shown.output.splitlines())) <= 80


def test_a_hint_names_the_command_as_it_was_started() -> None:
    shown = alura_of_a_clone("dmeo")
    assert "No such command 'dmeo'" in shown.stderr
    (hint,) = re.findall("^Try '(.*)' for help", shown.stderr, re.MULTILINE)
    followed = subprocess.run(shlex.split(hint), cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert f"Run: {hint.rpartition(' ')[0]} demo\n" in followed.stdout


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"alura {alura_async.__version__}\n"


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dmeo"]) == 2
    assert "No such command 'dmeo'" in capsys.readouterr().err


def test_an_error_of_the_sdk_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sandbox", "--speed", "nan"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("alura: speed=nan")
    assert shown.err.count("\n") == 1
    assert shown.out == ""
