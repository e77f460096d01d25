"""Which field of a Struct a name on the wire may stand for."""

from __future__ import annotations

import re

import msgspec

from ..core.model import Model


def meant(struct: type[Model], name: str) -> tuple[str, ...]:
    """The fields that a name may stand for, best first: written in camelCase, snake_case, kebab-case or otherwise."""
    folded = re.sub(r"[^a-z0-9]", "", name.lower())
    return tuple(
        field.name
        for field in msgspec.structs.fields(struct)
        if field.name != "_extra" and folded in (field.name.replace("_", ""), field.encode_name.lower())
    )
