"""Type checkers read user code of both surfaces as people mean it, and find each mistake on its line.

`typing/surface.py` is right, `typing/mistakes.py` is wrong on the lines that say so: `# type: ignore[…]` holds mypy's
names of the mistake, `# pyright: ignore[…]` pyright's. Here the checkers see both files without these comments, and
what they report has to be exactly what the comments say. Of the programs that people copy they report nothing.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alura_async.cli import in_python
from tests.test_readme import BOT, PULL, ROUTE, SANDBOX, SCRIPT, STORE

pytestmark = pytest.mark.timeout(180)

USER_CODE = Path(__file__).parent / "typing"
FILES = ("surface.py", "mistakes.py")
# Those of the README that stand by themselves, and what the demo shows.
PROGRAMS = {
    "bot.py": BOT,
    "script.py": SCRIPT,
    "pull.py": PULL,
    "store.py": STORE,
    "sandbox.py": SANDBOX,
    "route.py": ROUTE,
    "demo.py": 'wallet: str = ""; base_url: str = ""\n' + in_python.SOURCE,
}

_MYPY = re.compile(r"  # type: ignore\[([\w, -]+)\]")
_PYRIGHT = re.compile(r"  # pyright: ignore\[([\w, -]+)\]")

Mistakes = set[tuple[str, int, str]]
"""File, line, and the checker's name for it."""


@pytest.fixture(scope="module")
def plain_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user code as it would be without the comments, and the programs."""
    folder = tmp_path_factory.mktemp("plain-code")
    for name in FILES:
        text = (USER_CODE / name).read_text("utf-8")
        (folder / name).write_text(_PYRIGHT.sub("", _MYPY.sub("", text)), "utf-8")
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text, "utf-8")
    shutil.copy(USER_CODE / "pyrightconfig.json", folder)
    return folder


@pytest.fixture(scope="module")
def mypys_lines(plain_code: Path, pytestconfig: pytest.Config) -> list[str]:
    """What mypy says of all of it, in one go: what it reads first takes the time."""
    pytest.importorskip("mypy")
    kept = getattr(pytestconfig, "cache", None)
    cache = plain_code / "cache" if kept is None else kept.mkdir("mypy")
    found = run(
        *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-pretty", "--hide-error-context"),
        *("--no-error-summary", f"--cache-dir={cache}", *FILES, *PROGRAMS),
        folder=plain_code,
    )
    assert found.stderr == ""
    return found.stdout.splitlines()


def marked(comment: re.Pattern[str]) -> Mistakes:
    """The mistakes that the comments announce."""
    return {
        (name, number, rule.strip())
        for name in FILES
        for number, line in enumerate((USER_CODE / name).read_text("utf-8").splitlines(), 1)
        for found in comment.finditer(line)
        for rule in found[1].split(",")
    }


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker on what is installed, not on what lies beside the tests."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=150)


def test_each_wrong_line_is_announced_for_both_checkers() -> None:
    by_mypy, by_pyright = ({(name, line) for name, line, _ in marked(comment)} for comment in (_MYPY, _PYRIGHT))
    wrong = {place for place in by_mypy | by_pyright if place[0] == "mistakes.py"}
    assert len(wrong) > 80
    assert wrong <= by_mypy & by_pyright


def test_mypy_reads_both_surfaces_and_finds_each_mistake(mypys_lines: list[str]) -> None:
    reported: Mistakes = set()
    for line in mypys_lines:
        if line.startswith(tuple(PROGRAMS)):
            continue
        if match := re.match(r"([\w.]+):(\d+): error: .*  \[([\w-]+)\]$", line):
            reported.add((match[1], int(match[2]), match[3]))
        else:
            # Nothing else is wrong, in our own code above all.
            assert re.match(r"(surface|mistakes)\.py:\d+: note: ", line), "\n".join(mypys_lines)
    assert reported == marked(_MYPY), "\n".join(mypys_lines)


@pytest.mark.parametrize("program", PROGRAMS)
def test_mypy_has_nothing_to_say_of_what_people_copy(program: str, mypys_lines: list[str]) -> None:
    assert [line for line in mypys_lines if line.startswith(program)] == []


def test_pyright_reads_both_surfaces_and_finds_each_mistake(plain_code: Path) -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    found = run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", folder=plain_code)
    if not found.stdout.startswith("{"):
        assert run(sys.executable, "-m", "pyright", "--version", folder=plain_code).returncode, found.stderr
        pytest.skip("pyright does not start here: it needs node")
    diagnostics: list[dict[str, Any]] = json.loads(found.stdout)["generalDiagnostics"]
    reported: Mistakes = {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each.get("rule", each["message"]))
        for each in diagnostics
    }
    assert reported == marked(_PYRIGHT), found.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("ty", "check", "--python", sys.prefix, "--output-format", "concise"),
        ("pyrefly", "check", "--python-interpreter-path", sys.executable, "--output-format", "min-text"),
    ],
    ids=["ty", "pyrefly"],
)
def test_what_younger_checkers_say_is_printed(command: tuple[str, ...]) -> None:
    """Advice: they change from week to week, so the only promise is that they run."""
    program = Path(sys.executable).with_name(command[0])
    if not program.exists():
        pytest.skip(f"{command[0]} is not installed")
    found = run(str(program), *command[1:], str(USER_CODE / "surface.py"), folder=USER_CODE)
    print(found.stdout + found.stderr)
