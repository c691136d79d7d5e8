"""What this machine and installation give: each part is examined by itself, so that a broken one hides no other.

Nothing here raises for a broken part: its `Finding` says what is wrong, and the remedy.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from seqgen.streams import reason
from seqgen.version import __version__

DISTRIBUTION = "seqgen-rnn"
CPU_BUILD = "pip install torch --index-url https://download.pytorch.org/whl/cpu"

# Extras by name: the packages that they import, and what they add.
EXTRAS = {
    "baselines": (("sklearn", "pyppmd"), "baselines of `evaluate`: TF-IDF with logistic regression, PPMd"),
    "excel": (("openpyxl",), "reads .xlsx workbooks"),
    "onnx": (("onnx",), "`export` to ONNX"),
    "serve": (("starlette", "uvicorn"), "`serve`: models over HTTP"),
    "holidays": (("holidays",), "`train --holidays`: public holidays known in advance"),
}
# Import names of the packages that are always installed.
PACKAGES = (
    "numpy", "safetensors", "sentencepiece", "typer", "rich", "mido", "matplotlib", "datasets", "pyarrow", "zstandard",
    "babel", "charset_normalizer", "shellingham",
)  # fmt: skip

_PROBE_UNITS, _PROBE_BATCH = 256, (32, 64)
_PROBE_SECONDS = 1.0  # for learning, and again for writing
_NOVEL = 1_000_000  # characters


@dataclass(frozen=True)
class Finding:
    """A part of the machine or the installation.

    Attributes:
        text: what there is, or what is wrong.
        remedy: what to do about it; empty if nothing is wrong.
        prevents_training: whether training doesn't work without it.
        facts: the same for programs.
    """

    name: str
    text: str
    remedy: str = ""
    prevents_training: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        status = "ok" if not self.remedy else "error" if self.prevents_training else "warning"
        return {"status": status, "text": self.text, **({"remedy": self.remedy} if self.remedy else {}), **self.facts}


def examine() -> Iterator[Finding]:
    """Yield the findings one by one; the last takes about two seconds."""
    parts: tuple[tuple[str, Callable[[], Finding], bool], ...] = (  # (…, whether training needs it)
        ("seqgen", _seqgen, False),
        ("python", _python, True),
        ("torch", _torch, True),
        ("packages", _packages, True),
        ("processor", _processor, False),
        ("kernels", _kernels, False),
        ("threads", _threads, False),
        ("gpu", _gpu, False),
        ("memory", _memory, False),
        ("cache", _cache, True),
        *((f"extra {name}", _extra(name), False) for name in EXTRAS),
        ("learning", _learning, True),
        ("writing", _writing, False),
    )
    has_torch = True
    for name, part, is_needed in parts:
        if part in _NEED_TORCH and not has_torch:
            yield Finding(name, "not examined: needs PyTorch")
            continue
        try:
            finding = part()
        except Exception as error:  # whatever is broken, the others are examined
            finding = Finding(name, _message(error), _remedy(error), is_needed)
        has_torch = has_torch and not (part is _torch and finding.remedy)
        yield finding


def _message(error: BaseException) -> str:
    text = reason(error) if isinstance(error, OSError) and error.errno else str(error)
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _remedy(error: BaseException) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and missing.partition(".")[0] == "torch":
        return CPU_BUILD
    if missing:
        return f"pip install {missing.partition('.')[0]}"
    return f"install again: pip install --force-reinstall {DISTRIBUTION}"


def _seqgen() -> Finding:
    folder = Path(__file__).resolve().parents[1]
    return Finding("seqgen", f"{__version__} in {folder}", facts={"version": __version__, "folder": str(folder)})


def _python() -> Finding:
    version = platform.python_version()
    old = sys.version_info < (3, 11)
    remedy = "install Python 3.11 or newer, and seqgen with it" if old else ""
    system = f"{platform.system()} {platform.machine()}"
    return Finding(
        "python", f"{version} on {system}, {sys.executable}", remedy, old, {"version": version, "system": system}
    )


def _torch() -> Finding:
    try:
        import torch
    except Exception as error:  # missing, or one of its libraries can't be loaded
        missing = isinstance(error, ModuleNotFoundError)
        text = "not installed" if missing else f"can't be loaded: {_message(error)}"
        return Finding("torch", text, f"{CPU_BUILD} {'' if missing else '--force-reinstall'}".rstrip(), True)
    cuda, hip = torch.version.cuda, getattr(torch.version, "hip", None)
    build = f"CUDA {cuda}" if cuda else f"ROCm {hip}" if hip else "CPU build"
    return Finding("torch", f"{torch.__version__}, {build}", facts={"version": torch.__version__, "build": build})


def _packages() -> Finding:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        remedy = f"pip install {' '.join(missing).replace('_', '-')}"
        return Finding("packages", f"not installed: {', '.join(missing)}", remedy, True, {"missing": missing})
    import numpy  # noqa: F401 - the one that is most often broken

    return Finding("packages", f"all {len(PACKAGES)} installed", facts={"missing": []})


def _processor() -> Finding:
    from seqgen.processors import process_core_count, process_cpu_count

    name = _processor_name()
    cores, usable = process_core_count(), process_cpu_count()
    text = f"{name}: {cores} {'core' if cores == 1 else 'cores'}"
    text += f", {usable} usable processors" if usable != cores else ""
    return Finding("processor", text, facts={"name": name, "cores": cores, "processors": usable})


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown"


def _kernels() -> Finding:
    from seqgen import native

    slower = "numpy and PyTorch do the same, slower"
    if os.environ.get("SEQGEN_NATIVE") == "0":
        return Finding("kernels", f"disabled by SEQGEN_NATIVE=0: {slower}", "unset SEQGEN_NATIVE", facts=_NO_KERNELS)
    build = f"install a C compiler, then: pip install --force-reinstall --no-deps {DISTRIBUTION}"
    if not native.LIBRARY.exists():
        return Finding("kernels", f"not compiled: {slower}", build, facts=_NO_KERNELS)
    try:
        loaded = native.library()
    except Exception as error:  # SEQGEN_ISA names another instruction set; every command fails
        return Finding("kernels", str(error), "unset SEQGEN_ISA", True, _NO_KERNELS)
    if loaded is None:
        return Finding("kernels", f"{_why_not_loaded(native.LIBRARY)}: {slower}", build, facts=_NO_KERNELS)
    used, available = native.instruction_set(), native.instruction_sets()
    others = f" of {', '.join(available)}" if len(available) > 1 else ""
    return Finding("kernels", f"{used} in use{others}", facts={"instruction_set": used, "available": list(available)})


_NO_KERNELS: dict[str, Any] = {"instruction_set": None, "available": []}


def _why_not_loaded(library: Path) -> str:
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"can't be loaded ({str(error)[:160]})"
    return "of another version of seqgen"


def _threads() -> Finding:
    import torch

    from seqgen.training import device

    compute = device.choose("cpu")
    threads, why = torch.get_num_threads(), compute.reasons
    text = f"{threads}, {why.get('threads', '')}; {compute.precision}: {why.get('precision', '')}"
    return Finding("threads", text, facts={"threads": threads, "precision": compute.precision})


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        shown = ", ".join(f"{each.name} ({each.total_memory / 1e9:.0f} GB)" for each in devices)
        return Finding("gpu", shown, facts={"devices": [each.name for each in devices]})
    facts: dict[str, Any] = {"devices": []}
    if torch.backends.mps.is_available():
        return Finding("gpu", "Apple's, used with --device mps only: the CPU is faster", facts=facts)
    if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/proc/driver/nvidia/version").exists():
        if torch.version.cuda is None:
            remedy = "pip install --force-reinstall torch, from https://pytorch.org/get-started for your CUDA version"
            return Finding("gpu", "there is one, but this build of PyTorch is for the CPU", remedy, facts=facts)
        return Finding("gpu", "there is one, but PyTorch can't use it", "update the NVIDIA driver", facts=facts)
    return Finding("gpu", "none: training runs on the CPU", facts=facts)


def _memory() -> Finding:
    facts: dict[str, Any] = {}
    for name, key in (("SC_PHYS_PAGES", "bytes"), ("SC_AVPHYS_PAGES", "free_bytes")):
        if hasattr(os, "sysconf") and name in os.sysconf_names:
            facts[key] = os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    available = [line.split() for line in _lines("/proc/meminfo") if line.startswith("MemAvailable:")]
    if available:
        facts["free_bytes"] = int(available[0][1]) * 1024
    limits = [int(text) for path in ("memory.max", "memory/memory.limit_in_bytes")
              for text in _lines(f"/sys/fs/cgroup/{path}") if text.isdigit() and len(text) < 18]  # fmt: skip
    if not facts:
        return Finding("memory", "this system doesn't tell")
    text = f"{facts['bytes'] / 1e9:,.1f} GB" if "bytes" in facts else ""
    if "free_bytes" in facts:
        text += f", {facts['free_bytes'] / 1e9:,.1f} GB available"
    if limits and min(limits) < facts.get("bytes", 0):
        facts["limit_bytes"] = min(limits)
        text += f", limited to {min(limits) / 1e9:,.1f} GB"
    free = min([facts.get("free_bytes", 1 << 62), *limits])
    remedy = "close other programs: training needs about 1 GB" if free < 800_000_000 else ""
    return Finding("memory", text, remedy, facts=facts)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []


def _cache() -> Finding:
    from seqgen.corpus.cache.contents import list_entries
    from seqgen.corpus.cache.folder import cache_folder, fallback_warning

    remedy = "set SEQGEN_CACHE to a folder that can be written"
    try:
        folder = cache_folder()
    except Exception as error:
        return Finding("cache", str(error), remedy, True)
    existing = folder
    while not os.path.lexists(existing) and existing.parent != existing:
        existing = existing.parent
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        return Finding("cache", f"{folder} can't be written: {reason(error)}", remedy, True, {"folder": str(folder)})
    entries = list_entries()
    size = sum(entry.size for entry in entries)
    text = f"{folder}, {size / 1e6:,.1f} MB" if entries else f"{folder}, empty"
    facts = {"folder": str(folder), "bytes": size, "entries": len(entries)}
    warning = fallback_warning()
    return Finding("cache", warning or text, remedy if warning else "", facts=facts)


def _extra(name: str) -> Callable[[], Finding]:
    packages, adds = EXTRAS[name]

    def part() -> Finding:
        missing = [package for package in packages if find_spec(package) is None]
        text = f"not installed; {adds}: pip install '{DISTRIBUTION}[{name}]'" if missing else f"installed: {adds}"
        return Finding(f"extra {name}", text, facts={"installed": not missing, "adds": adds})

    return part


def _learning() -> Finding:
    from seqgen.config import NetworkConfig
    from seqgen.training import device
    from seqgen.training.plans.language import measure_speed

    compute = device.choose()
    network = NetworkConfig(vocab_size=_codec().vocab_size, rnn_size=_PROBE_UNITS)
    measure = measure_speed(compute, _PROBE_SECONDS / 2)
    began, speeds = time.monotonic(), [measure(network, *_PROBE_BATCH)]
    while time.monotonic() - began < _PROBE_SECONDS:
        speeds.append(measure(network, *_PROBE_BATCH))
    minute = 60 * max(speeds)
    text = (
        f"{_rounded(minute)} characters a minute ({network.summary} on {compute.device}): "
        f"once through a novel of 1 MB in {_duration(_NOVEL / max(speeds))}"
    )
    return Finding("learning", text, facts={"characters_per_minute": round(minute)})


def _writing() -> Finding:
    import numpy as np

    from seqgen.config import NetworkConfig, SampleOptions
    from seqgen.generation.engines.choose import make_engine
    from seqgen.generation.prompts import prime
    from seqgen.generation.streaming import samples
    from seqgen.model.weight_shapes import weight_shapes

    codec = _codec()
    network = NetworkConfig(vocab_size=codec.vocab_size, rnn_size=_PROBE_UNITS)
    random = np.random.Generator(np.random.Philox(key=0))
    weights = {
        name: random.standard_normal(shape, dtype=np.float32) * np.float32(0.05)
        for name, shape in weight_shapes(network).items()
    }
    engine = make_engine(network, weights)
    prompt = prime(engine, codec, b"")
    written, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < _PROBE_SECONDS:
        options = SampleOptions(length=200, seed=written)
        written += sum(len(sample.text) for sample in samples(engine, codec, prompt, options))
    minute = 60 * written / passed
    return Finding(
        "writing",
        f"{_rounded(minute)} characters a minute: a novel of 1 MB in {_duration(60 * _NOVEL / minute)}",
        facts={"characters_per_minute": round(minute)},
    )


_NEED_TORCH = (_threads, _gpu, _learning)


def _codec() -> Any:
    from seqgen import tokenizers

    letters = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:!?'\"-()\n"
    return tokenizers.fit("char", [letters.encode()])


def _rounded(number: float) -> str:
    """A number with two or three significant digits: the next measurement differs anyway."""
    digits = max(0, len(str(int(number))) - 3)
    return f"{round(number, -digits):,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.0f} hours"
