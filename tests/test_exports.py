"""The names that users import are those that are listed, and every error is one of them."""

from __future__ import annotations

import re
import subprocess
import sys
import types

import pytest

import alura_async
from alura_async import AluraError, errors
from alura_async.core.model import Model, OpenEnum
from alura_async.core.surface import Group


def test_the_list_of_names_is_what_is_there() -> None:
    there = {
        name
        for name, value in vars(alura_async).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, types.ModuleType)
    }
    assert set(alura_async.__all__) == there | {"__version__"}
    assert len(set(alura_async.__all__)) == len(alura_async.__all__)


def test_the_list_of_names_is_sorted_constants_then_classes_then_the_rest() -> None:
    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2), name

    assert alura_async.__all__ == sorted(alura_async.__all__, key=rank)


@pytest.mark.parametrize("name", alura_async.__all__)
def test_each_name_can_be_imported_and_explains_itself(name: str) -> None:
    value = getattr(alura_async, name)
    if isinstance(value, type | types.FunctionType):
        assert value.__doc__, name
        assert value.__name__ == name
        assert value.__module__.startswith("alura_async.")


def test_a_star_brings_them_all() -> None:
    program = "from alura_async import *; import alura_async; print(set(alura_async.__all__) <= set(globals()))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def test_every_error_is_exported() -> None:
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, AluraError)
    }
    assert len(defined) > 25
    assert defined <= set(alura_async.__all__)
    assert "Outcome" in alura_async.__all__


def test_every_group_and_every_response_type_is_exported() -> None:
    groups = {found.__name__ for found in Group.__subclasses__() if found.__module__.startswith("alura_async.groups.")}
    assert len(groups) == 9
    models = {found.__name__ for found in Model.__subclasses__() if found.__module__.startswith("alura_async.groups.")}
    enums = {found.__name__ for found in OpenEnum.__subclasses__() if found.__module__.startswith("alura_async.")}
    assert groups | models | enums <= set(alura_async.__all__)


def test_the_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:[a-z]+\d+)?", alura_async.__version__)


def test_types_come_along() -> None:
    """The marker that tells a type checker to read this package."""
    from importlib.resources import files

    assert files(alura_async).joinpath("py.typed").is_file()
