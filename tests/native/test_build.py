"""Building the kernels and wheels, with a compiler that is imitated."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from seqgen.native import LIBRARY, build

Commands = list[Sequence[str]]


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Commands]:
    """`compiler("-mavx2")` compiles everything but files with these flags; returns the commands that it gets."""

    def make(*unknown: str, module: ModuleType = build) -> Commands:
        commands: Commands = []

        def run(command: Sequence[str]) -> str | None:
            commands.append(command)
            if set(command) & set(unknown):
                return "unknown flag"
            Path(command[command.index("-o") + 1]).write_bytes(b"compiled")
            return None

        monkeypatch.setattr(module, "_run", run)
        return commands

    return make


def names_in(commands: Commands) -> set[str]:
    """The instruction sets that are compiled."""
    return {word.removeprefix("-DISA=") for command in commands for word in command if word.startswith("-DISA=")}


@pytest.mark.parametrize("target", build.TARGETS.values(), ids=list(build.TARGETS))
def test_compile_kernels_for_a_target_has_every_instruction_set(
    target: build.Target, compiler: Callable[..., Commands], tmp_path: Path
) -> None:
    commands, left_out = compiler(), []
    library = tmp_path / target.library
    assert build.compile_kernels(library, target.tag, lambda name, _: left_out.append(name)) is None
    assert library.read_bytes() == b"compiled"
    assert [path.name for path in tmp_path.iterdir()] == [target.library]
    assert names_in(commands) == {one.name for one in build.INSTRUCTION_SETS[target.machine]}
    assert left_out == []
    for command in commands:
        assert command[1:3] == ["-m", "ziglang"]
        assert command[command.index("-target") + 1] == target.triple
        assert ("-fPIC" in command) == (target.library != "kernels.dll")
        assert not any(word.startswith("-march") for word in command), "zig calls the processors by other names"


def test_compile_kernels_leaves_out_what_the_compiler_does_not_know(
    compiler: Callable[..., Commands], tmp_path: Path
) -> None:
    commands, left_out = compiler("-mavx512f", "-mavxvnni"), []
    build.compile_kernels(tmp_path / "k", "win_amd64", lambda name, message: left_out.append((name, message)))
    assert left_out == [(name, "unknown flag") for name in ("avx512bf16", "avx512vnni", "avx512", "avxvnni")]
    linked = {Path(word).name for word in commands[-1] if word.endswith(".o")}
    assert linked == {f"{name}-{source}.o" for name in ("avx2", "sse2") for source in build.KERNELS}


def test_compile_kernels_unknown_target_returns_those_that_there_are() -> None:
    assert "there are manylinux_2_17_x86_64" in str(build.compile_kernels(platform_tag="amiga"))


def test_native_library_is_the_one_that_is_loaded() -> None:
    assert LIBRARY.name == build.NATIVE_LIBRARY
    assert {target.library for target in build.TARGETS.values()} == {"kernels.so", "kernels.dll"}


# ---- The hook of hatchling ----


class App:
    """Messages of a build."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)

    def abort(self, message: str) -> None:
        raise SystemExit(message)


class HookInterface:
    """What the hook needs of hatchling's class, which the tests don't install."""

    def __init__(self, target_name: str = "wheel") -> None:
        self.target_name, self.app = target_name, App()


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module as hatchling loads it, from a folder of its own."""
    interface = ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.BuildHookInterface = HookInterface  # type: ignore[attr-defined]
    for name in ("hatchling", "hatchling.builders", "hatchling.builders.hooks", "hatchling.builders.hooks.plugin"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    path = tmp_path / "build.py"
    path.write_bytes(Path(build.__file__).read_bytes())
    spec = importlib.util.spec_from_file_location("build_hook", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("SEQGEN_TARGET", raising=False)
    return module


def build_data() -> dict[str, Any]:
    return {"artifacts": [], "force_include": {}, "pure_python": True}


def test_hook_adds_this_machines_library(hooks: ModuleType, compiler: Callable[..., Commands], tmp_path: Path) -> None:
    compiler(module=hooks)
    hook, data = hooks.KernelsHook(), build_data()
    hook.initialize("standard", data)
    hook.finalize("standard", data, "")
    assert data["artifacts"] == [f"seqgen/native/{build.NATIVE_LIBRARY}"]
    assert data["tag"].startswith("py3-none-") and not data["pure_python"]
    assert (tmp_path / build.NATIVE_LIBRARY).exists()
    assert hook.dependencies() == []


def test_hook_without_a_compiler_makes_a_wheel_for_every_platform(
    hooks: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / build.NATIVE_LIBRARY).write_bytes(b"of an earlier build")
    monkeypatch.setenv("CC", "false")
    hook, data = hooks.KernelsHook(), build_data()
    hook.initialize("standard", data)
    assert data == build_data()
    assert len(hook.app.warnings) == 1
    assert "without its compiled kernels" in hook.app.warnings[0]
    assert not (tmp_path / build.NATIVE_LIBRARY).exists()
    source = hooks.KernelsHook("sdist")
    source.initialize("standard", data)
    assert data == build_data()


def test_hook_with_a_target_adds_its_library_and_leaves_this_machines_alone(
    hooks: ModuleType, compiler: Callable[..., Commands], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "kernels.so"
    own.write_bytes(b"this machine's")
    compiler(module=hooks)
    monkeypatch.setenv("SEQGEN_TARGET", "win_amd64")
    hook, data = hooks.KernelsHook(), build_data()
    hook.initialize("standard", data)
    ((built, inside),) = data["force_include"].items()
    assert inside == "seqgen/native/kernels.dll"
    assert Path(built).read_bytes() == b"compiled"
    assert (data["tag"], data["pure_python"], data["artifacts"]) == ("py3-none-win_amd64", False, [])
    hook.finalize("standard", data, "")
    assert not Path(built).exists()
    assert own.read_bytes() == b"this machine's"
    assert [one.split(">")[0] for one in hook.dependencies()] == ["ziglang"]


@pytest.mark.parametrize("unknown", ["-mavxvnni", "-O3", None], ids=["one set", "everything", "the target"])
def test_hook_with_a_target_fails_rather_than_leave_anything_out(
    unknown: str | None, hooks: ModuleType, compiler: Callable[..., Commands], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(*[unknown] if unknown else [], module=hooks)
    monkeypatch.setenv("SEQGEN_TARGET", "win_amd64" if unknown else "amiga")
    with pytest.raises(SystemExit, match="cannot build the kernels"):
        hooks.KernelsHook().initialize("standard", build_data())
