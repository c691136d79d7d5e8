"""The architecture: floors, import cycles, who prints, docstrings, the map, words, and the linters."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.syntax_tree import PACKAGE, failing, nodes, parse, source_files

# Top-level modules and packages by floor. A module imports from its own package and from lower floors.
FLOORS = {
    "cli": 11,
    "server": 10, "sklearn": 10,
    "api": 9,
    "tasks": 8,
    "training": 7,
    "evaluation": 6, "inspection": 6, "interop": 6,
    "generation": 5, "rendering": 5,
    "plots": 4, "checkpoint": 4,
    "model": 3,
    "tokenizers": 2, "corpus": 2,
    "music": 1, "automata": 1, "config": 1, "native": 1,
    "specs": 0, "streams": 0, "decompression": 0, "untrusted": 0, "tensors": 0, "errors": 0, "version": 0, "locks": 0,
    "processors": 0, "time_limit": 0, "quantities": 0,
}  # fmt: skip
GROUND = 0  # the only floor on which modules import from each other
ENTRY_POINTS = {"__init__", "__main__"}  # of the package: they import lazily, from any floor
MAX_MODULES = 20  # of a folder
MAX_TEST_LINES = 650

TESTS = Path(__file__).resolve().parent
INTERNALS = PACKAGE / "docs" / "internals.md"
MODULES = source_files()
C_FILES = sorted([*PACKAGE.rglob("*.c"), *PACKAGE.rglob("*.h")])
TEST_FILES = sorted(path for path in TESTS.rglob("*.py") if "benchmarks" not in path.parts)


def module_name(path: Path) -> str:
    """`cli/main.py` → `cli.main`, `cli/__init__.py` → `cli`, `__init__.py` → `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def calls(path: Path) -> list[ast.Call]:
    return [node for node in nodes(parse(path)) if isinstance(node, ast.Call)]


# ---- Imports ----


def imports(path: Path, code: ast.AST) -> set[str]:
    """Modules that `code`, the text of `path`, imports anywhere in it: inside functions and for type checkers too.

    Names inside seqgen are as `module_name` gives them, others in full: `cli.main`, `numpy.typing`.
    """
    found = set()
    for node in ast.walk(code):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            home = node.module or ""
            if node.level:
                here = ("seqgen", *path.relative_to(PACKAGE).parent.parts)
                home = ".".join([*here[: len(here) - node.level + 1], *filter(None, [home])])
            for alias in node.names:
                found.add(f"{home}.{alias.name}" if is_module(f"{home}.{alias.name}") else home)
    return {name.removeprefix("seqgen.") if name != "seqgen" else "__init__" for name in found}


@functools.cache
def is_module(name: str) -> bool:
    path = PACKAGE.parent / name.replace(".", "/")
    return name.startswith("seqgen.") and (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file())


NAMES = {module_name(module) for module in MODULES}


@functools.cache
def own_imports(path: Path) -> set[str]:
    """Modules of seqgen that `path` imports."""
    return imports(path, parse(path)) & NAMES


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one node, sorted (Tarjan 1972), and nodes that lead to themselves."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(component) > 1 or node in graph.get(node, ()):
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def floor(module: str) -> int:
    return FLOORS[module.split(".")[0]]


def test_floors_of_every_top_level_module_are_set() -> None:
    assert {module_name(path).split(".")[0] for path in MODULES} - ENTRY_POINTS == set(FLOORS)


def not_lower(path: Path) -> list[str]:
    """Modules of its own or a higher floor that `path` imports from other packages."""
    name = module_name(path)
    return [
        other
        for other in sorted(own_imports(path))
        if other.split(".")[0] != name.split(".")[0]
        and (other in ENTRY_POINTS or floor(other) > floor(name) or floor(other) == floor(name) != GROUND)
    ]


def test_imports_of_a_module_are_from_lower_floors() -> None:
    assert failing(not_lower, [path for path in MODULES if module_name(path) not in ENTRY_POINTS]) == {}


def test_imports_of_all_modules_have_no_cycle() -> None:
    assert cycles({module_name(path): own_imports(path) for path in MODULES}) == []


def test_imports_are_found_in_functions_and_type_checking_blocks() -> None:
    code = ast.parse(
        """
import seqgen
import seqgen.api.model
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import seqgen.tasks.text
else:
    import seqgen.tasks.music
def f():
    from seqgen import checkpoint
    from seqgen.corpus import sources as s
class A:
    def g(self):
        if self:
            from .options import add_options
            from . import progress
            from ..errors import UserError
"""
    )
    assert imports(PACKAGE / "cli" / "imagined.py", code) == {
        "__init__", "api.model", "typing", "tasks.text", "tasks.music", "checkpoint", "corpus.sources", "cli.options",
        "cli.progress", "errors",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, [["a", "b"]]),
        ({"a": {"a"}}, [["a"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}, [["a", "b", "c"], ["d", "e"]]),
        ({"a": {"elsewhere"}}, []),
    ],
)
def test_cycles_of_a_graph_are_its_strongly_connected_components(
    graph: dict[str, set[str]], expected: list[list[str]]
) -> None:
    assert cycles(graph) == expected


def test_specs_import_only_errors_and_the_standard_library() -> None:
    allowed = set(sys.stdlib_module_names) | {"errors", "specs"}

    def others(path: Path) -> set[str]:
        return {name.split(".")[0] for name in imports(path, parse(path))} - allowed

    specs = [path for path in MODULES if relative(path).startswith("specs/")]
    assert specs and failing(others, specs) == {}


# ---- What code does ----


PRINTS = re.compile(
    r"print|pprint\.pprint|input|sys\.(__)?(stdout|stderr)(__)?(\.buffer)?\.write(lines)?|typer\.s?echo|click\.s?echo"
    r"|typer\.confirm"
)


def printing(path: Path) -> list[str]:
    return [f"line {node.lineno}" for node in calls(path) if PRINTS.fullmatch(ast.unparse(node.func))]


def test_printing_is_done_by_the_command_line_only() -> None:
    """`native/build.py` is a program of its own, which the build of a wheel runs too."""
    assert (
        failing(printing, [path for path in MODULES if not module_name(path).startswith(("cli", "native.build"))]) == {}
    )


FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"}
FORBIDDEN_FUNCTIONS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {("torch", "load"), ("torch", "save"), ("np", "load"), ("numpy", "load"), ("os", "system")}
FORBIDDEN_KEYWORDS = {"allow_pickle", "shell", "trust_remote_code"}
SHELL_BY_NAME = "completion.get_completion_script"  # typer's function has a parameter `shell`: "bash", "zsh", "fish"


def unsafe(path: Path) -> list[str]:
    """Uses of what could run code that a file brings along."""
    found = []
    for node in nodes(parse(path)):
        names: set[str | tuple[str, str] | None] = set()
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names} & FORBIDDEN_MODULES
        if isinstance(node, ast.ImportFrom):
            names = {(node.module or "").split(".")[0]} & FORBIDDEN_MODULES
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                names |= {node.func.id} & FORBIDDEN_FUNCTIONS
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                names |= {(node.func.value.id, node.func.attr)} & FORBIDDEN_METHODS
            if given := {keyword.arg for keyword in node.keywords} & FORBIDDEN_KEYWORDS:
                names |= given - ({"shell"} if ast.unparse(node.func) == SHELL_BY_NAME else set())
        found += [f"line {node.lineno}: {name}" for name in names if hasattr(node, "lineno")]
    return found


def test_code_in_untrusted_input_is_never_run() -> None:
    assert failing(unsafe, MODULES) == {}


def test_unsafe_code_is_found(tmp_path: Path) -> None:
    lines = ("import pickle", "from yaml import load", "eval('1')", "torch.load('m')", "run('ls', shell=True)")
    (tmp_path / "a.py").write_text("\n".join(lines))
    assert len(unsafe(tmp_path / "a.py")) == len(lines)
    (tmp_path / "b.py").write_text("print(1)\nsys.stdout.buffer.write(b'')\nprinted(1)\n")
    assert printing(tmp_path / "b.py") == ["line 1", "line 2"]


# Arguments of `import_module`: names from tables of the program, never from a file.
DYNAMIC_IMPORTS = {
    ("__init__.py", "_MODULES[name]"), ("cli/main.py", "f'seqgen.cli.commands.{name}'"),
    ("cli/main.py", "'matplotlib'"),
    ("specs/registry.py", "module"), ("corpus/hub.py", "'datasets'"), ("corpus/hub.py", "name"),
    ("corpus/dataset_rows.py", "'pyarrow.parquet'"), ("corpus/tables/excel.py", "'openpyxl'"),
    ("corpus/series/holidays.py", "'holidays'"), ("corpus/arrow.py", "'pyarrow'"),
    ("corpus/parquet.py", "'pyarrow.parquet'"), ("corpus/parquet.py", "'pyarrow.compute'"),
    ("corpus/series/month_names.py", "'babel'"),
    ("corpus/series/tables.py", "'pyarrow.parquet'"), ("corpus/series/tables.py", "'pyarrow'"),
}  # fmt: skip


def test_imports_by_name_are_of_known_modules() -> None:
    found = set()
    for path in MODULES:
        for node in calls(path):
            if ast.unparse(node.func).endswith("import_module"):
                found.add((relative(path), ast.unparse(node.args[0])))
    assert found == DYNAMIC_IMPORTS


# ---- What readers need ----


def undocumented(path: Path) -> list[str]:
    """Public names of a module without a docstring, itself included."""
    code = parse(path)
    return ([] if ast.get_docstring(code) else [path.name]) + [
        node.name
        for node in code.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


def test_docstrings_of_modules_and_public_names_exist() -> None:
    assert failing(undocumented, MODULES) == {}


def test_folders_have_at_most_20_modules() -> None:
    folders: dict[str, int] = {}
    for path in MODULES:
        if path.name != "__init__.py":
            folders[relative(path.parent)] = folders.get(relative(path.parent), 0) + 1
    assert {folder: count for folder, count in folders.items() if count > MAX_MODULES} == {}


def paths_in(text: str) -> set[str]:
    """Files that a Markdown text names in backquotes: `cli/main.py`, `native/draw.c`."""
    return set(re.findall(r"`(?:seqgen/)?([\w/]+\.(?:py|c|h))`", text))


def test_internals_map_names_every_module_and_nothing_else() -> None:
    named = paths_in(INTERNALS.read_text(encoding="utf-8"))
    modules = {relative(path) for path in MODULES if path.name != "__init__.py"}
    c_files = {relative(path) for path in C_FILES}
    packages = {relative(path) for path in MODULES if path.name == "__init__.py"}
    assert (modules | c_files) - named == set(), "not on the map"
    assert {path for path in named if not path.startswith("tests/")} - modules - c_files - packages == set(), "gone"


def test_internals_map_has_a_section_for_every_package() -> None:
    headings = re.findall(r"^#{2,4} `([\w/]+)/`", INTERNALS.read_text(encoding="utf-8"), re.MULTILINE)
    packages = {relative(path.parent) for path in MODULES if path.name == "__init__.py"} - {"."}
    assert set(headings) == packages


# ---- Words ----

# Phrases that GLOSSARY's field terms replaced and that no other sentence needs. Names count too: `_` is a space.
OLD_WORDS = (
    r"way (back|ahead)", r"for the way", r"no better for a while", r"what sorts", r"sorts? texts?",
    r"texts? (is|are) sorted", r"rivals?", r"strangers?", r"(go|goes|going|gone|went) on with", r"made to hold",
    r"hold(s|ing)? (its|their|the) share", r"fault of seqgen", r"honest file", r"what it may not", r"what may not",
    r"how sure", r"numbers that stand for", r"streams side by side", r"(is|are|was|were|be) told", r"told of",
    r"nobody", r"reckon(s|ed)?", r"of late", r"as one likes", r"at one go", r"lets? no more", r"what is kept",
    r"what was kept", r"what is learnt", r"what is held", r"what a person", r"a person can", r"what stands",
    r"what must", r"read along", r"where it stands",
)  # fmt: skip
WORDS = re.compile(rf"\b(?:{'|'.join(OLD_WORDS)})\b")


def words_of(path: Path) -> str:
    """The text of a source file in lower case, its strings and comments without line breaks."""
    text = re.sub(r'"\s*\n\s*[rbf]?"', "", path.read_text(encoding="utf-8"))
    text = re.sub(r"\n\s*(#|\*|//)? ?", " ", text)
    return re.sub(r"\s+", " ", text.replace("_", " ")).lower()


def old_words(path: Path) -> list[str]:
    text = words_of(path)
    return [text[max(0, found.start() - 30) : found.end() + 30] for found in WORDS.finditer(text)]


def test_words_of_a_source_file_are_those_of_the_field() -> None:
    assert failing(old_words, [*MODULES, *C_FILES]) == {}


# ---- Tests ----


def test_lines_of_a_test_file_are_at_most_650() -> None:
    def excess(path: Path) -> int:
        return max(0, len(path.read_text(encoding="utf-8").splitlines()) - MAX_TEST_LINES)

    assert failing(excess, TEST_FILES) == {}


def test_imports_of_a_test_file_are_of_no_other_test_file() -> None:
    def imported(path: Path) -> list[str]:
        found = re.findall(r"^\s*(?:from|import) (tests\.[\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        return [name for name in found if name.split(".")[-1].startswith("test_")]

    assert failing(imported, TEST_FILES) == {}


# ---- Linters ----


def lint(tool: str, *arguments: str) -> None:
    """Run a tool of the extra `test` at the root of the checkout; fail with its output unless it succeeds."""
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed (pip install 'seqgen-rnn[test]')")
    if not (PACKAGE.parent / "pyproject.toml").is_file():
        pytest.skip("no pyproject.toml: not a checkout")
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_check_finds_nothing() -> None:
    lint("ruff", "check", "--no-cache", "seqgen", "tests")


def test_ruff_format_changes_nothing() -> None:
    lint("ruff", "format", "--no-cache", "--check", "seqgen", "tests")


@pytest.mark.slow
def test_mypy_strict_finds_nothing() -> None:
    lint("mypy")
