"""What is checked, and how: `nox -l` lists it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests"]
# "Where present": a machine with one of them is enough, also in CI.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
CODE = ["alura_async", "tests", "benchmarks", "noxfile.py"]
HERE = Path(__file__).parent
# On two cores, two processes take 60 % of the time of one; the tests of a file share what they prepared.
SIDE_BY_SIDE = ["--numprocesses=2", "--dist=loadfile"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff."""
    _install_locked(session)
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy and pyright must agree; ty and pyrefly are asked for their opinion."""
    _install_locked(session)
    # What the frame methods return is of packages that only `frames` needs otherwise.
    session.install("-r", str(HERE / "requirements-frames.txt"))
    session.run("mypy")
    session.run("pyright")
    session.run("ty", "check", "alura_async", success_codes=[0, 1])
    session.run("pyrefly", "check", "alura_async", success_codes=[0, 1])


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite, on the built and installed wheel."""
    _install_locked(session)
    _install_wheel(session)
    # Beside the checkout's package the installed one would never be imported, so the tests run elsewhere.
    elsewhere = Path(session.create_tmp()) / "tests-of-the-wheel"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    for name in ("tests", "benchmarks"):
        shutil.copytree(HERE / name, elsewhere / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
        shutil.copy(HERE / name, elsewhere)
    session.chdir(elsewhere)
    session.run("python", "-m", "pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session(python="3.11", venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """The test suite on the oldest versions of the runtime dependencies that we declare."""
    session.install("--resolution", "lowest-direct", ".[bulk,cli,sandbox]")
    # What is installed stays as it is where it will do.
    session.install("--group", "test")
    session.run("python", "-m", "pytest", *SIDE_BY_SIDE, *session.posargs)


@nox.session(name="property")
def property_(session: nox.Session) -> None:
    """The sandbox's money and clock, and the limiter, over thousands of random histories; by default 2000 each."""
    _install_locked(session)
    examples = session.posargs[0] if session.posargs else "2000"
    session.run(
        "python",
        "-m",
        "pytest",
        "--timeout=3600",
        "tests/sandbox/test_conservation.py",
        "tests/test_lanes.py",
        env={"ALURA_PROPERTY_EXAMPLES": examples},
    )


@nox.session
def shapes(session: nox.Session) -> None:
    """Any value of any response type, written in any reasonable way, is read as itself; 50,000 of them by default."""
    _install_locked(session)
    session.run(
        "python",
        "-m",
        "pytest",
        "--timeout=7200",
        "--numprocesses=2",
        "tests/test_reshaping.py",
        "tests/bulk/test_decoding.py",
        env={"ALURA_SHAPE_EXAMPLES": session.posargs[0] if session.posargs else "50000"},
    )


@nox.session
def races(session: nox.Session) -> None:
    """A server that closes idle connections just as calls go out, 1,000 times for each kind of call."""
    _install_locked(session)
    session.run("python", "-m", "pytest", "--timeout=300", "tests/faults/test_stale.py", env={"ALURA_RACES": "1000"})


@nox.session
def faults(session: nox.Session) -> None:
    """Everything that can go wrong between the client and a server, in full size; the suite has a share of it."""
    _install_locked(session)
    # The figures are in the report.
    report = Path(session.create_tmp()) / "faults.xml"
    settings = ["--timeout=600", f"--junit-xml={report}", "-o", "junit_family=xunit1"]
    session.run("python", "-m", "pytest", *settings, "tests/faults", env={"ALURA_FAULT_SCALE": "1"})


@nox.session
def mutation(session: nox.Session) -> None:
    """Small faults put into the modules that decide about money: at least 85 % must fail a test. `-- retry` is one."""
    _install_locked(session)
    session.run("python", "-m", "tests.mutation", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job, on the embedded sandbox."""
    _install_locked(session)
    _install_wheel(session)
    session.run("alura", "demo", *(session.posargs or ["--plain"]))


@nox.session
def live(session: nox.Session) -> None:
    """A real server against this SDK, by reads only: its document, and what it answers. Needs ALURA_BASE_URL."""
    if not os.environ.get("ALURA_BASE_URL"):
        session.error(
            "ALURA_BASE_URL is not set: set it to the server's address, and ALURA_PRIVATE_KEY, ALURA_KEYSTORE or "
            "ALURA_TOKEN to read more than what is public"
        )
    _install_locked(session)
    _install_wheel(session)
    session.run("alura", "contract", "check", "--live", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed, side by side with its peers. Give names to run some of them."""
    _install_locked(session)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def bulk(session: nox.Session) -> None:
    """Bulk pulls in full size: millions of candles through faults, beside closes, and killed a hundred times."""
    _install_locked(session)
    settings = ["--timeout=3600", "-s", *(session.posargs or ["tests/bulk"])]
    session.run("python", "-m", "pytest", *settings, env={"ALURA_BULK_SCALE": "1", "ALURA_BULK_EXAMPLES": "2000"})


@nox.session
def frames(session: nox.Session) -> None:
    """The columns and the store, read by pandas, pyarrow and DuckDB besides polars."""
    session.install("-r", str(HERE / "requirements-frames.txt"))
    session.run("python", "-m", "pytest", "tests/bulk", "tests/test_readme.py", *session.posargs)


@nox.session
def schemathesis(session: nox.Session) -> None:
    """The sandbox against its OpenAPI document: thousands of good and bad calls, in about two minutes."""
    session.install("-r", str(HERE / "requirements-fuzz.txt"))
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """The sandbox under mixed load for ten minutes: memory and file descriptors stay flat. `-- 120` is shorter."""
    _install_locked(session)
    session.run("python", "-m", "benchmarks.soak", *session.posargs)


@nox.session(name="client-soak")
def client_soak(session: nox.Session) -> None:
    """The client for ten minutes, under faults: memory flat, the ledger agrees. `-- 300 --creates 4`: many creates."""
    _install_locked(session)
    session.run("python", "-m", "benchmarks.client_soak", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """What servers, files and tokens may hold, 5000 times each: nothing but our own errors. `-- 50000` is longer."""
    _install_locked(session)
    session.run(
        "python",
        "-m",
        "pytest",
        "--timeout=7200",
        "--hypothesis-show-statistics",
        "tests/fuzz/test_parsers.py",
        "tests/test_intents.py::test_a_damaged_file_raises_nothing_but_a_journal_error",
        env={"ALURA_FUZZ_EXAMPLES": session.posargs[0] if session.posargs else "5000"},
    )


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Write the lock files anew; `nox -s lock -- --upgrade` takes the newest versions."""
    everything = ["--universal", "--generate-hashes", "--python-version", "3.11", "-q"]
    named = ["--custom-compile-command", "nox -s lock"]
    extras = ["--extra", "cli", "--extra", "sandbox"]
    compile_ = ["uv", "pip", "compile", "pyproject.toml", *everything, *named, *extras]
    session.run(*compile_, "-o", "requirements.txt", *session.posargs)
    session.run(*compile_, "--group", "fuzz", "-o", "requirements-fuzz.txt", *session.posargs)
    compile_ += ["--extra", "bulk"]
    session.run(*compile_, "--group", "dev", "-o", "requirements-dev.txt", *session.posargs)
    session.run(*compile_, "--group", "test", "--group", "frames", "-o", "requirements-frames.txt", *session.posargs)


def _install_locked(session: nox.Session) -> None:
    session.install("-r", str(HERE / "requirements-dev.txt"))


def _install_wheel(session: nox.Session) -> None:
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    # hatchling is in the lock, so nothing is fetched to build.
    session.run("python", "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), silent=True)
    (wheel,) = wheels.glob("*.whl")
    session.install("--no-deps", "--force-reinstall", str(wheel))
