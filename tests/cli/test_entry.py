"""The command line as such: help, version, exit codes, and what happens when its libraries are missing."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

import alura_async
from alura_async.cli.entry import COMMANDS, alura, run

from .process import ROOT, python
from .process import alura as alura_of_a_clone

BLOCKED = """
import sys
sys.modules[{missing!r}] = None
from alura_async.cli import main
main()
"""

INTERRUPTED = """
import signal, sys
class PressCtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, PressCtrlC())
sys.argv = ["alura", "demo", "--help"]
from alura_async.cli import main
main()
"""


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_library_is_one_clear_line_and_exit_code_2(missing: str) -> None:
    done = python(BLOCKED.format(missing=missing))
    assert done.returncode == 2
    assert done.stderr == (
        "the alura command needs the extra \"cli\": in a clone of the project, pip install '.[cli,sandbox]'\n"
    )
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no signal can be sent to oneself there")
@pytest.mark.parametrize("module", ["rich", "alura_async.cli.demo"])
def test_ctrl_c_while_it_is_still_being_imported_ends_it_quietly(module: str) -> None:
    done = python(INTERRUPTED.format(module=module))
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() in ("", "alura: interrupted")


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
