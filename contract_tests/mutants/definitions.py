"""Where a definition stands in a source file, by its name, however its lines are written."""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# What may stand before a name where TypeScript defines it.
WORDS = (
    r"abstract|async|class|const|declare|default|export|function\*?|get|interface|let|override|"
    "private|protected|public|readonly|set|static|type"
)


class Place(NamedTuple):
    """The first line of a definition, the one behind its last, and its body's first, if any."""

    begin: int
    end: int
    body: int | None


def find(lines: Sequence[str], file: str, where: str) -> Place:
    """The place, counted from 0, of the definition with this dotted name in this file's lines.

    It may be of a function, a class, a type, a constant (`COLUMNS`), or of what one of them holds
    (`Users.create`); in Python its decorators belong to it, and its body begins behind the
    docstring. Raises AssertionError unless it is there once.
    """
    found = _in_python(lines, where) if file.endswith(".py") else _in_typescript(lines, where)
    assert len(found) == 1, f"{file} has {len(found)} definitions of {where}, not one"
    return found[0]


def indentation(line: str) -> str:
    """The spaces that a line begins with."""
    return line[: len(line) - len(line.lstrip(" "))]


def _in_python(lines: Sequence[str], where: str) -> list[Place]:
    nodes: list[ast.AST] = [ast.parse("\n".join(lines))]
    for name in where.split("."):
        nodes = [inner for node in nodes for inner, its in _defined_in(node) if its == name]
    return [_python_place(node) for node in nodes if isinstance(node, ast.stmt)]


def _defined_in(node: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """What it defines, under an `if` or the like too, and the names."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield child, child.name
            case ast.Assign():
                yield from ((child, one.id) for one in child.targets if isinstance(one, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield child, name
            case _:
                yield from _defined_in(child)


def _python_place(node: ast.stmt) -> Place:
    body = None
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        is_documented = ast.get_docstring(node) is not None and len(node.body) > 1
        body = _first_line(node.body[1 if is_documented else 0])
    return Place(_first_line(node), node.end_lineno or 0, body)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return (decorators[0].lineno if decorators else node.lineno) - 1


def _in_typescript(lines: Sequence[str], where: str) -> list[Place]:
    found = [Place(0, len(lines), 0)]
    for at, name in enumerate(where.split(".")):
        # Only a member may have no word before its name.
        defines = re.compile(
            rf" *(?:(?:{WORDS}) ){'*' if at else '+'}\*?{re.escape(name)}(?![\w$])"
        )
        found = [
            _typescript_place(lines, number)
            for _, end, body in found
            if body is not None
            for number in range(body, end)
            if defines.match(lines[number])
            and indentation(lines[number]) == indentation(lines[body])
        ]
    return found


def _typescript_place(lines: Sequence[str], begin: int) -> Place:
    """A definition's further lines are deeper than its first, or begin with what closes there."""
    margin = indentation(lines[begin])
    belongs = re.compile(rf"{margin}[ )\]}}>`]|\s*$")
    end = next((n for n in range(begin + 1, len(lines)) if not belongs.match(lines[n])), len(lines))
    while not lines[end - 1].strip():
        end -= 1
    opens = re.compile(rf"{margin}\S(?:.* )?{{$")
    body = next((n + 1 for n in range(begin, end) if opens.match(lines[n])), None)
    return Place(begin, end, body)
