"""The mutants of a module: every single edit of it that one of these rules makes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}


class Mutant(NamedTuple):
    """One edit: UTF-8 bytes from `start` to `end` are replaced."""

    line: int
    start: int
    end: int
    text: str

    def apply(self, source: str) -> str:
        """The module with this edit."""
        code = source.encode()
        return (code[: self.start] + self.text.encode() + code[self.end :]).decode()

    def told(self, source: str) -> str:
        """The edit, on one line."""
        was = " ".join(source.encode()[self.start : self.end].decode().split())
        return f"{was}  →  {' '.join(self.text.split())}"


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: set[Mutant] = set()
    for node, text in _edits(ast.parse(source)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        found.add(Mutant(node.lineno, start, starts[node.end_lineno - 1] + node.end_col_offset, text))
    return sorted(found)


def _edits(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """What may be put in place of a node, or of one below it."""
    if isinstance(node, ast.expr):
        for text in _of_expression(node):
            yield node, f"({text})"
    elif isinstance(node, ast.stmt):
        for text in _of_statement(node):
            yield node, text
        condition = getattr(node, "test", None)
        is_for_types = isinstance(condition, ast.Name) and condition.id == "TYPE_CHECKING"
        if (
            isinstance(condition, ast.expr)
            and not isinstance(condition, ast.Compare | ast.UnaryOp)
            and not is_for_types
        ):
            yield condition, f"(not ({ast.unparse(condition)}))"
    for name, below in ast.iter_fields(node):
        # Types are checked by others, and what an `assert` says is no rule of ours.
        if name in ("annotation", "returns", "bases", "type_params") or isinstance(node, ast.Assert):
            continue
        for child in below if isinstance(below, list) else [below]:
            # A text that is put together is not looked into.
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _edits(child)


def _of_expression(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=others):
            for place, op in enumerate(ops):
                swapped = [*ops[:place], _SWAPS[type(op)](), *ops[place + 1 :]]
                yield ast.unparse(ast.Compare(left, swapped, others))  # type: ignore[arg-type]
        case ast.BoolOp(op=op, values=values):
            yield ast.unparse(ast.BoolOp(_SWAPS[type(op)](), values))  # type: ignore[arg-type]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SWAPS:
            yield ast.unparse(ast.BinOp(left, _SWAPS[type(op)](), right))  # type: ignore[arg-type]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield ast.unparse(operand)
        case ast.IfExp(test=test, body=body, orelse=other):
            yield ast.unparse(ast.IfExp(test, other, body))
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int() | float() as value):
            yield repr(value + 1)
            yield repr(value - 1)
        case _:
            pass


def _of_statement(node: ast.stmt) -> Iterator[str]:
    match node:
        # To those who ask yes or no, None is the same answer as False.
        case ast.Return(value=None | ast.Constant(value=None | False)):
            pass
        case ast.Return():
            yield "return None"
        case ast.Expr(value=ast.Constant()):
            pass
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Delete() | ast.Break() | ast.Continue():
            yield "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "pass"
        case ast.AnnAssign(target=ast.Attribute(), value=ast.expr()):
            yield "pass"
        case _:
            pass
