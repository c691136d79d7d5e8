"""The source files of the package: their syntax trees, and the names of table rows in their conditions."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "seqgen"


def source_files(*skipped: str) -> list[Path]:
    """Python files of the package, but for those in `skipped` folders or files."""
    paths = (path for path in PACKAGE.rglob("*.py") if "_corpora" not in path.parts)
    return sorted(path for path in paths if not str(path.relative_to(PACKAGE)).startswith(skipped))


def failing(check: Callable[[Path], object], paths: Iterable[Path]) -> dict[str, object]:
    """What `check` finds in each file, without the files in which it finds nothing."""
    found = {path.relative_to(PACKAGE.parent).as_posix(): check(path) for path in paths}
    return {name: value for name, value in found.items() if value}


@functools.cache
def parse(path: Path) -> ast.Module:
    """The syntax tree of a file, which several tests of a process read."""
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes(tree: ast.AST) -> list[ast.AST]:
    """Every node of a tree."""
    return list(ast.walk(tree))


def named_in_conditions(tree: ast.AST, names: Collection[str]) -> list[tuple[int, str]]:
    """Lines where something is compared with one of `names`, or chosen by it from a dict of two or more such keys."""
    found = []
    for node in nodes(tree):
        found += [(getattr(node, "lineno", 0), text) for text in _compared(node) if text in names]
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant) and key.value in names]
            if len(keys) > 1:
                found += [(node.lineno, str(key)) for key in keys]
    return sorted(found)


def classes_in_conditions(tree: ast.AST, names: Collection[str]) -> list[tuple[int, str]]:
    """Lines where something is chosen by its being of one of these classes.

    Assertions and guards (`if not isinstance(…): raise`) choose nothing: they narrow a type.
    """
    found = []
    for node in nodes(tree):
        tests: Iterable[ast.AST] = ()
        if isinstance(node, ast.If) and len(node.body) == 1 and isinstance(node.body[0], ast.Raise):
            continue
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            tests = (node.test,)
        elif isinstance(node, ast.comprehension):
            tests = node.ifs
        for test in tests:
            for call in ast.walk(test):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "isinstance":
                    classes = {each.id for each in ast.walk(call.args[1]) if isinstance(each, ast.Name)}
                    found += [(call.lineno, name) for name in sorted(classes) if name in names]
    return found


def _compared(node: ast.AST) -> Iterator[str]:
    """String constants that a comparison, a `match` or a look-up in a tuple, list or set compares with."""
    if isinstance(node, ast.Compare):
        for side in (node.left, *node.comparators):
            parts = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
            yield from (part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))
    elif isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant):
        yield str(node.value.value)
