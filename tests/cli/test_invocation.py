"""How the command names itself, so that what a reader copies works where it was shown."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import pytest

from alura_async.cli.invocation import command_line

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the paths are those of other systems")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an environment, in which nothing is on the path; the command was started by `python -m`."""
    folder = tmp_path / "a clone"
    _program(folder / ".venv" / "bin" / "python")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(folder / ".venv" / "bin" / "python"))
    monkeypatch.setattr(sys, "argv", [str(folder / "alura_async" / "__main__.py"), "demo"])
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(folder / ".venv" / "bin"))
    return folder


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_in_a_clone_it_is_the_python_below_this_folder(here: Path) -> None:
    assert command_line("sandbox") == ".venv/bin/python -m alura_async sandbox"


def test_elsewhere_it_is_the_whole_path(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command_line("sandbox") == f"'{here}/.venv/bin/python' -m alura_async sandbox"
    # A bare name would be looked for on the path.
    monkeypatch.chdir(here / ".venv" / "bin")
    assert command_line("sandbox") == f"'{here}/.venv/bin/python' -m alura_async sandbox"


def test_a_python_on_the_path_needs_its_name_only(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(_program(tmp_path / "bin" / "python3")))
    assert command_line("sandbox") == "python3 -m alura_async sandbox"


def test_an_installed_command_on_the_path_needs_its_name_only(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = _program(here / ".venv" / "bin" / "alura")
    monkeypatch.setenv("PATH", str(installed.parent))
    assert command_line("sandbox") == "alura sandbox"
    monkeypatch.setattr(sys, "argv", [str(installed), "demo"])
    assert command_line("sandbox") == "alura sandbox"


def test_an_installed_command_that_is_not_on_the_path_is_named_as_it_was_typed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(here / ".venv" / "bin" / "alura")
    monkeypatch.setattr(sys, "argv", [".venv/bin/alura", "demo"])
    assert command_line("sandbox") == ".venv/bin/alura sandbox"


def test_a_link_to_an_installed_command_counts(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = _program(here / ".venv" / "bin" / "alura")
    link = tmp_path / "bin" / "alura"
    link.parent.mkdir()
    link.symlink_to(installed)
    monkeypatch.setattr(sys, "argv", [str(link), "demo"])
    assert command_line("sandbox") == "alura sandbox"


def test_somebody_elses_command_of_that_name_is_not_ours(here: Path, tmp_path: Path) -> None:
    _program(tmp_path / "bin" / "alura")
    assert command_line("sandbox") == ".venv/bin/python -m alura_async sandbox"
