"""`import alura_async` is cheap: what a call may need is imported when a call needs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# What costs more than all of ours, and what only an extra brings.
HEAVY = {
    "aiohttp",
    "anyio",
    "click",
    "coincurve",
    "eth_account",
    "eth_keys",
    "eth_utils",
    "jwt",
    "numpy",
    "polars",
    "pydantic",
    "referencing",
    "requests",
    "rich",
    "sqlite3",
    "yarl",
}


def loaded_after(program: str) -> set[str]:
    """The modules of a fresh process that ran this."""
    program += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(found.stdout))


@pytest.mark.parametrize(
    "program",
    [
        "import alura_async",
        "from alura_async import *",
        "import alura_async; alura_async.AsyncAlura()",
        "import alura_async; alura_async.Alura(token='t0ken').close()",
        "from alura_async import User; User.withdraw.request(amount='12.50')",
        "from alura_async import User; User.profile.route.shape",
    ],
)
def test_nothing_heavy_is_loaded_before_a_call(program: str) -> None:
    loaded = loaded_after(program)
    assert "alura_async.client" in loaded
    assert not loaded & HEAVY


def test_the_sandbox_the_command_and_the_contract_are_loaded_by_those_who_want_them() -> None:
    assert not loaded_after("import alura_async") & {
        "alura_async.sandbox",
        "alura_async.cli",
        "alura_async.contract",
    }


def test_nothing_is_printed_and_no_thread_started_by_importing() -> None:
    program = "import alura_async, threading; assert threading.active_count() == 1; assert threading.enumerate()"
    found = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_an_address_in_one_case_needs_no_library() -> None:
    program = "from alura_async import User; User.send_usdc.request(amount=1, destination='0x' + 'ab' * 20)"
    assert not loaded_after(program) & HEAVY
