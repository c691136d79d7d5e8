"""The house is kept: floors, prints, lengths, words for readers, and nothing heavy where it is not needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Who stands on which floor. A module imports only from lower floors, and from the package that it is in itself.
FLOORS = {
    "errors": 0,
    "config": 1, "streams": 1, "strangers": 1, "music": 1, "native": 1, "automata": 1,
    "tensors": 2, "tokenizers": 2, "corpus": 2, "card": 2,
    "model": 3,
    "checkpoint": 4, "generation": 4,
    "training": 5, "evaluation": 5, "plots": 5,
    "tasks": 6,
    "api": 7,
    "cli": 8,
}  # fmt: skip
FACES = {"__init__", "__main__"}  # of the package: they lead to other floors, lazily
LONGEST = 400  # lines of a file that can still be read in one sitting
HEAVY = ("torch", "numpy", "sentencepiece", "datasets", "safetensors", "rich", "zstandard", "pyppmd", "mido")

PACKAGE = Path(__file__).resolve().parents[1] / "seqgen"
README = PACKAGE.parent / "README.md"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_corpora" not in path.parts)


def name_of(path: Path) -> str:
    """`cli/train.py` → `cli.train`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])


def each(modules: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", modules, ids=[str(path.relative_to(PACKAGE)) for path in modules])


every_module = each(MODULES)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: those inside functions too, but not what is for type checkers only."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not is_for_types_only(child):
            yield from walk(child)
        elif isinstance(child, ast.If):
            for other in child.orelse:
                yield from walk(other)


def imports(path: Path, nodes: Iterator[ast.AST]) -> set[str]:
    """Full names of the modules that `nodes` import: `seqgen.config`, `numpy.typing`."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:  # relative: from the package that the module is in
                here = ("seqgen", *path.relative_to(PACKAGE).parent.parts)
                home = ".".join([*here[: len(here) - node.level + 1], *filter(None, [home])])
            inside = {f"{home}.{alias.name}" for alias in node.names}
            is_package = home == "seqgen" or (
                home.startswith("seqgen.") and (PACKAGE / home[7:].replace(".", "/")).is_dir()
            )
            found |= inside if is_package else {home}
    return found


def floor(module: str) -> int:
    return FLOORS[module.split(".")[0]]


# ---- Floors ----


def test_every_module_has_a_floor() -> None:
    rooms = {name_of(path).split(".")[0] for path in MODULES} - FACES
    assert rooms == set(FLOORS)


@each([path for path in MODULES if name_of(path) not in FACES])
def test_a_module_imports_from_lower_floors_only(path: Path) -> None:
    me = name_of(path)
    wrong = []
    for wanted in imports(path, walk(tree(path))):
        if not wanted.startswith("seqgen."):  # somebody else's, or the bare package, for its version
            continue
        other = wanted.removeprefix("seqgen.")
        if other == "__version__" or other.split(".")[0] == me.split(".")[0]:
            continue
        if floor(other) >= floor(me):
            wrong.append(f"{me} (floor {floor(me)}) imports {other} (floor {floor(other)})")
    assert not wrong


def test_imports_are_found_wherever_they_hide(tmp_path: Path) -> None:
    """The test above is only as good as this."""
    source = PACKAGE / "cli" / "imagined.py"
    code = ast.parse(
        """
import seqgen.api.model
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import seqgen.never
else:
    import seqgen.otherwise
def f():
    from seqgen import checkpoint
    from seqgen.corpus import sources as s
class A:
    def g(self):
        if self:
            from .common import Output
            from ..errors import UserError
"""
    )
    assert {name for name in imports(source, walk(code)) if name.startswith("seqgen")} == {
        "seqgen.api.model", "seqgen.otherwise", "seqgen.checkpoint", "seqgen.corpus.sources", "seqgen.cli.options",
        "seqgen.errors",
    }  # fmt: skip


# ---- Who speaks ----


@each([path for path in MODULES if name_of(path).split(".")[0] != "cli"])
def test_only_the_command_line_prints(path: Path) -> None:
    said = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "pprint.pprint", "input") or re.fullmatch(
                r"(sys\.(__)?(stdout|stderr)(__)?(\.buffer)?\.write(lines)?|typer\.s?echo|click\.s?echo|typer\.confirm)",
                called,
            ):
                said.append(f"line {node.lineno}: {called}")
    assert not said


# ---- For who reads it ----


@every_module
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@every_module
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{path.name} has no docstring"


@every_module
def test_what_others_may_use_says_what_it_does(path: Path) -> None:
    silent = [
        node.name
        for node in tree(path).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not silent, "without a docstring"


def map_of_the_house() -> str | None:
    """The README's section of that name; None while there is none."""
    text = README.read_text(encoding="utf-8")
    heading = re.search(r"^#+ .*map of the house.*$", text, re.IGNORECASE | re.MULTILINE)
    if heading is None:
        return None
    rest = text[heading.end() :]
    end = re.search(r"^## ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def mentioned(section: str) -> set[str]:
    """Files that a map names: `cli/train.py` anywhere, or `train.py` on or below a line that begins with `cli/`.

    A folder that is named stands for its `__init__.py`.
    """
    found = set()
    folder = ""
    for line in section.splitlines():
        opened = re.match(r"[^\w/]*(?:seqgen/)?(\w+)/(?!\w)", line)
        if opened:
            folder = "" if opened[1] == "seqgen" else opened[1] + "/"
            found.add(folder + "__init__.py")
        for inside, name in re.findall(r"(?:(\w+)/)?(\w+\.py)\b", line):
            found |= {f"{inside}/{name}"} if inside and inside != "seqgen" else {folder + name, name}
    return found


def test_the_readme_knows_every_module() -> None:
    section = map_of_the_house()
    if section is None:
        pytest.skip("the README has no map of the house yet")
    there = {str(path.relative_to(PACKAGE)) for path in MODULES} - {"__init__.py"}
    assert there - mentioned(section) == set(), "not on the map"


def test_a_map_is_read_as_people_write_it() -> None:
    section = """
seqgen/
  cli/        8  one file a command: `train.py`,
                 sample.py
  errors.py   0
- `tasks/text.py`, the only one so far
"""
    assert mentioned(section) >= {"cli/__init__.py", "cli/train.py", "cli/sample.py", "errors.py", "tasks/text.py"}
    assert "tasks/train.py" not in mentioned(section)


# ---- Nothing heavy before it is needed ----


@pytest.mark.parametrize("face", sorted(FACES))
def test_the_packages_face_imports_nothing_heavy(face: str) -> None:
    code = tree(PACKAGE / f"{face}.py")
    at_once = imports(PACKAGE / f"{face}.py", (node for node in code.body if not is_for_types_only(node)))
    assert not {name.split(".")[0] for name in at_once} & set(HEAVY)
    assert {name for name in at_once if name.startswith("seqgen.")} <= {"seqgen.cli.main"}  # itself light: see below


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that are there after `statement` in a new Python."""
    code = f"{statement}\nimport sys\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split()) & set(HEAVY)


@pytest.mark.parametrize("module", ["seqgen", "seqgen.errors", "seqgen.config", "seqgen.streams", "seqgen.cli.main"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    # rich comes with typer, whose business it is
    assert loaded_by(f"import {module}") - {"rich"} == set()
