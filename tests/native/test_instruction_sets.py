"""One kernel source for every instruction set: 8-bit results are the same bits on all of them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import seqgen
from seqgen import native
from seqgen.errors import UserError
from seqgen.generation.engines.native import NativeEngine
from seqgen.native import instruction_set, instruction_sets, library
from seqgen.native.build import GENERIC, INSTRUCTION_SETS
from tests.helpers.kernels import library_by, random_engine
from tests.helpers.running import Command

AVAILABLE = instruction_sets() or ("none",)
CELLS = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu")]
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models" / "tidewater-lstm"
# Of logits and states of 8-bit engines after 20 steps of 7 streams; see `run_quantized`.
QUANTIZED_SHA256 = "06b972e1d9d184c863fafc5f86855365da0e24dbaa4b25c293e27393bcec2ff7"
QUANTIZED_TEXT = (
    "whe had be untinged to say the told that thy be neesster to of a stail listen and of the quay once d"
    'o low on Rubin. "I can with stepored ut and stop at soune. Corbe for the ludcered was me tell the ch'
)


@pytest.fixture(params=AVAILABLE)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "none":
        pytest.skip("there are no compiled kernels")
    with library_by("SEQGEN_ISA", request.param):
        yield request.param


def run(engine: NativeEngine) -> bytes:
    rng = np.random.default_rng(8)
    state, found = engine.initial(7), []
    for _ in range(20):
        logits, state = engine.step(rng.integers(65, size=7), state)
        found += [logits.tobytes(), state.tobytes()]
    return b"".join(found)


def run_quantized() -> str:
    return hashlib.sha256(
        b"".join(run(random_engine(cell, True, activation)) for cell, activation in CELLS)
    ).hexdigest()


def test_quantized_engines_have_the_same_bits_on_every_instruction_set(isa: str) -> None:
    assert instruction_set() == isa
    assert run_quantized() == QUANTIZED_SHA256


def test_sample_with_8_bits_writes_the_same_text_on_every_instruction_set(isa: str) -> None:
    model = seqgen.load(GOLDEN)
    model.checkpoint.config["training"]["rounding_cost"] = 0.0
    (sample,) = model.sample("The ", n=1, length=200, temperature=0.8, seed=5)
    assert model.engine.arithmetic == "8 bits"
    assert sample.text == QUANTIZED_TEXT


@pytest.mark.parametrize(("cell", "activation"), CELLS)
def test_float32_engines_agree_between_instruction_sets(cell: str, activation: str) -> None:
    """Those that fuse multiply and add have the same bits; without, the last digits differ."""
    if AVAILABLE == ("none",):
        pytest.skip("there are no compiled kernels")
    found = {}
    for name in AVAILABLE:
        with library_by("SEQGEN_ISA", name):
            found[name] = run(random_engine(cell, False, activation))
    fused = {name: value for name, value in found.items() if name not in ("sse2", "generic")}
    assert len(set(fused.values())) <= 1
    values = [np.frombuffer(value, dtype=np.float32) for value in found.values()]
    for other in values[1:]:
        np.testing.assert_allclose(other, values[0], rtol=1e-3, atol=1e-3)


def test_library_unknown_instruction_set_is_a_user_error() -> None:
    if AVAILABLE == ("none",):
        pytest.skip("there are no compiled kernels")
    message = f"SEQGEN_ISA=avx9: not available here; choose one of .*{AVAILABLE[-1]}"
    with library_by("SEQGEN_ISA", "avx9"), pytest.raises(UserError, match=message):
        library()


def test_command_unknown_instruction_set_is_one_line(seqgen_command: Command) -> None:
    if AVAILABLE == ("none",):
        pytest.skip("there are no compiled kernels")
    done = seqgen_command("sample", GOLDEN, "-l", 5, SEQGEN_ISA="avx9")
    assert done.returncode == 2
    assert done.stderr.startswith(b"seqgen: error: SEQGEN_ISA=avx9: not available here")
    assert done.stderr.count(b"\n") == 1


def test_best_instruction_set_comes_first() -> None:
    names = [one.name for sets in (*INSTRUCTION_SETS.values(), GENERIC) for one in sets]
    order = [names.index(name) for name in instruction_sets()]
    assert order == sorted(order)


@pytest.mark.slow
def test_aarch64_kernels_have_the_same_bits_under_qemu(tmp_path: Path) -> None:
    """The 8-bit and float32 products, the activations and the draw of NEON and DOTPROD, against the generic C code."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu, qemu-user)")
    source = Path(__file__).with_name("kernel_digest.c")
    folder = Path(native.__file__).parent
    digests = {}
    for name, command, flags in (
        ("generic", ["cc"], ["-DISA=generic", "-DVECTOR=16"]),
        ("neon", [compiler], ["-DISA=neon", "-DVECTOR=16", "-static"]),
        ("dotprod", [compiler], ["-DISA=dotprod", "-DVECTOR=16", "-march=armv8.2-a+dotprod", "-static"]),
    ):
        program = tmp_path / name
        common = ["-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-w", f"-I{folder}"]
        for part, contract in (("kernels.c", "off"), ("products.c", "fast")):
            path = str(tmp_path / f"{name}-{part}.o")
            line = [*command, *common, *flags, f"-ffp-contract={contract}", "-c", str(folder / part), "-o", path]
            subprocess.run([word for word in line if word != "-static"], check=True)
        objects = [str(tmp_path / f"{name}-{part}.o") for part in ("kernels.c", "products.c")]
        subprocess.run(
            [*command, *common, *flags, str(source), str(folder / "threads.c"), *objects, "-o", str(program), "-lm"],
            check=True,
        )
        runner = [] if name == "generic" else [emulator, "-cpu", "max"]
        digests[name] = subprocess.run([*runner, str(program)], check=True, capture_output=True, text=True).stdout
    assert digests["neon"] == digests["dotprod"] == digests["generic"]
    assert digests["generic"].count("\n") == 6
