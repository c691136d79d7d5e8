"""A model is a folder: folder in, folder out.

    config.json         what it is, what it was trained on, how well it does
    model.safetensors   the weights, nothing else
    tokenizer.json      (+ tokenizer.model)
    metrics.jsonl       one object a validation
    resume/             what training needs to go on: state.json names the newest file
    corpus.safetensors  the training corpus and where anything stands in it, if it was to be kept
    README.md           a card for people

Nothing here can run code: JSON, safetensors and SentencePiece's own format are all that is read. Every file is
written whole or not at all, and the weights carry the identity of the configuration and tokenizer they belong to, so
files of two models can't be taken for one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from seqgen import tokenizers
from seqgen.card import card, sources_of
from seqgen.config import (
    FORMAT_VERSION,
    NETWORK_CONFIGS,
    AnyNetworkConfig,
    ForecasterConfig,
    GenerativeConfig,
    NetworkConfig,
    TrainOptions,
    check,
    from_json,
    network_config_class,
)
from seqgen.errors import ModelError, UserError
from seqgen.model.ngrams import BUCKETS
from seqgen.model.weight_shapes import weight_shapes
from seqgen.streams import expand, reason, write_bytes
from seqgen.tokenizers import Codec
from seqgen.tokenizers.labelled import LabelledCodec
from seqgen.untrusted import parse_json, require_inside

CONFIG, WEIGHTS, METRICS, CARD, RESUME, CORPUS = (
    "config.json", "model.safetensors", "metrics.jsonl", "README.md", "resume", "corpus.safetensors",
)  # fmt: skip
_STATE = "state.json"  # in resume/
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
MAX_ROUNDING_COST = 0.005  # bits a token that rounded weights may cost
_LARGEST_TEXT = 1 << 26  # bytes of JSON or SentencePiece model that are read: no honest one comes near

if TYPE_CHECKING:
    from seqgen.corpus.series.scaling import Scaler  # tables of numbers are much to import for a model of text

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Checkpoint:
    """A model folder, read and checked. `config` is config.json as it stands; the weights are read when asked for."""

    folder: Path
    config: dict[str, Any]
    network: AnyNetworkConfig
    preprocessor: Codec | Scaler  # what tokenizer.json holds: how the model reads what it is given

    @property
    def task(self) -> str:
        return str(self.config["task"])

    @property
    def language_config(self) -> NetworkConfig:
        """The network, if it is one that predicts ids. Raises `ModelError` otherwise."""
        if not isinstance(self.network, NetworkConfig):
            raise ModelError(f"this is a model for {self.task}: it can't write or score")
        return self.network

    @property
    def codec(self) -> Codec:
        """What turns bytes into ids. Raises `ModelError` for a model that reads numbers."""
        if self.task == "forecast":
            raise ModelError(f"this is a model for {self.task}: it reads tables of numbers; use `seqgen forecast`")
        return cast("Codec", self.preprocessor)

    @property
    def scaler(self) -> Scaler:
        """What turns a table into numbers to read. Raises `ModelError` for a model that reads bytes."""
        if self.task != "forecast":
            raise ModelError(f"this is a model for {self.task}, which forecasts nothing")
        return cast("Scaler", self.preprocessor)

    @property
    def may_be_rounded(self) -> bool:
        """Whether weights of 8 bits were measured to write nearly as well (see `generation.compiled`)."""
        cost = self.config.get("rounding_bits_per_token")
        return isinstance(cost, float) and cost <= MAX_ROUNDING_COST

    @property
    def options(self) -> TrainOptions:
        """The settings that it was trained with, as far as this program knows them. Raises `ModelError` for what none
        can be."""
        kept = self.config["training"].get("options")
        known = {field.name for field in dataclasses.fields(TrainOptions)}
        try:
            if not isinstance(kept, dict | None):
                raise UserError("they are no table")
            return check(from_json(TrainOptions, {n: value for n, value in (kept or {}).items() if n in known}))
        except UserError as error:
            raise ModelError(f"{str(self.folder / CONFIG)!r} is damaged: of its settings, {error}") from error

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Name, bytes and sha256 of every source it was trained on; what is malformed is left out."""
        return self.sources_of("sources")

    def sources_of(self, part: str) -> list[dict[str, Any]]:
        """The same of `sources` or of `valid_sources`."""
        return sources_of(self.config, part)

    @cached_property
    def fingerprint(self) -> str:
        """What tells this model from every other one: of its network, its tokenizer and the bytes of its weights.
        Raises `ModelError` where they can't be read."""
        digest = hashlib.sha256(str(self.config["identity"]).encode())
        try:
            with open(self.folder / WEIGHTS, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ModelError(f"cannot read {str(self.folder / WEIGHTS)!r}: {reason(error)}") from error
        return digest.hexdigest()[:32]

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights as float32 arrays, by name.

        Raises:
            ModelError: the file is missing, truncated, of another model, or any tensor is missing, extra, of another
                shape or type, or not finite.
        """
        return read_weights(
            self.folder / WEIGHTS, self.network, identity(self.network, tokenizers.dump(self.preprocessor))
        )


def load(folder: str | os.PathLike[str]) -> Checkpoint:
    """Reads a model folder, strictly. Raises `ModelError` that names the file and what is wrong with it."""
    folder = expand(folder)
    if not folder.is_dir():
        raise ModelError(f"there is no model {str(folder)!r}" + (" (it is a file)" if folder.exists() else ""))
    if not (folder / CONFIG).exists():
        raise ModelError(f"{str(folder)!r} is not a model: it has no {CONFIG}")
    for name in (CONFIG, WEIGHTS, METRICS, CARD, f"{RESUME}/{_STATE}", *TOKENIZER_FILES):
        require_inside(folder, name)
    try:
        config = parse_json(_read(folder / CONFIG))
    except ValueError as error:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: {reason(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ModelError(f"{str(folder / CONFIG)!r} is no model configuration: it has no format number")
    if config["format"] < 1:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: there never was a format {config['format']}")
    if config["format"] > FORMAT_VERSION:
        raise ModelError(
            f"{str(folder)!r} was written by a newer seqgen (format {config['format']}, this one reads {FORMAT_VERSION}): "
            "upgrade seqgen"
        )
    parts = all(isinstance(config.get(name), dict) for name in ("network", "training", "data", "metrics"))
    parts = parts and all(isinstance(config.get(name), str) for name in ("seqgen", "tokenizer"))
    if config.get("task") not in tuple(NETWORK_CONFIGS) or not parts:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: it names no known task, or a part of it is missing")
    try:
        network = from_json(network_config_class(config["task"], config["network"]), config["network"])
    except UserError as error:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: {reason(error)}") from error
    files = {name: _read(folder / name) for name in TOKENIZER_FILES if (folder / name).exists()}
    if "tokenizer.json" not in files:
        raise ModelError(f"{str(folder)!r} has no tokenizer.json: without it the weights mean nothing")
    try:
        preprocessor = parse_preprocessor(config["task"], files)
        _check_fit(config["task"], network, preprocessor)
    except ModelError as error:
        raise ModelError(f"{str(folder)!r}: {error}") from error
    if config.get("identity") != identity(network, tokenizers.dump(preprocessor)):
        raise ModelError(f"{str(folder)!r}: config.json and tokenizer.json are of two different models")
    return Checkpoint(folder, config, network, preprocessor)


def parse_preprocessor(task: str, files: Mapping[str, bytes]) -> Codec | Scaler:
    """What tokenizer.json, and the file beside it, tell. Raises `ModelError` where it is another task's."""
    kind = tokenizers.saved_tokenizer_name(files)
    if (kind == "series") != (task == "forecast") or (kind == "midi") != (task == "music"):
        raise ModelError(f"it is damaged: a model for {task} does not read {kind}")
    if task != "forecast":
        return tokenizers.parse(files)
    from seqgen.corpus.series.scaling import Scaler

    return Scaler.from_dict(tokenizers.read_tokenizer_json(files))


def _check_fit(task: str, network: AnyNetworkConfig, preprocessor: Codec | Scaler) -> None:
    """Raises `ModelError` where tokenizer.json can't be of this network."""
    if task == "forecast":
        scaler = cast("Scaler", preprocessor)
        there = (len(scaler.targets), len(scaler.covariates), scaler.known)
        if not isinstance(network, ForecasterConfig) or there != (network.targets, network.past, network.known):
            raise ModelError("tokenizer.json belongs to another model: it has other columns")
        return
    preprocessor = cast("Codec", preprocessor)
    if isinstance(network, ForecasterConfig) or preprocessor.vocab_size != network.vocab_size:
        size = "none" if isinstance(network, ForecasterConfig) else f"{network.vocab_size:,}"
        raise ModelError(
            f"tokenizer.json belongs to another model: it has {preprocessor.vocab_size:,} ids, the network {size}"
        )
    told = preprocessor.labels if isinstance(preprocessor, LabelledCodec) else 0
    if told != (len(network.labels) if isinstance(network, GenerativeConfig) else 0):
        raise ModelError(f"tokenizer.json belongs to another model: it has {told:,} labels")


def identity(network: AnyNetworkConfig, tokenizer_files: Mapping[str, bytes]) -> str:
    """A fingerprint of what weights belong to: the shape of the network and the meaning of its ids."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(network), sort_keys=True).encode())
    for name in sorted(tokenizer_files):
        digest.update(hashlib.sha256(tokenizer_files[name]).digest())
    return digest.hexdigest()


def read_weights(path: Path, network: AnyNetworkConfig, belongs_to: str) -> dict[str, npt.NDArray[np.float32]]:
    """The float32 tensors of a safetensors file, checked against `weight_shapes(network)`."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise ModelError(f"{str(path)!r} is missing")
    expected = weight_shapes(network)
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("identity") != belongs_to:
                raise ModelError(f"{str(path)!r} is of another model than the config.json beside it")
            names = set(file.keys())
            if names != set(expected):
                odd = ", ".join(sorted(names ^ set(expected))[:4])
                raise ModelError(f"{str(path)!r} does not hold the weights of this network: {odd}")
            weights = {}
            for name, shape in expected.items():
                part = file.get_slice(name)
                if tuple(part.get_shape()) != shape or part.get_dtype() != "F32":
                    raise ModelError(
                        f"{str(path)!r}: {name} is {part.get_dtype()} {part.get_shape()}, not F32 {list(shape)}"
                    )
                weights[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} is damaged or truncated: {reason(error)}") from error
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise ModelError(f"{str(path)!r}: {name} holds numbers that are not finite")
    keys = weights.get("wide_keys")  # the one tensor of numbers that are places
    if keys is not None and ((keys < 0) | (keys >= BUCKETS) | (keys != np.floor(keys))).any():
        raise ModelError(f"{str(path)!r}: wide_keys holds numbers that are none of n-grams")
    return weights


def write_weights(path: Path, weights: Weights, belongs_to: str) -> None:
    """Writes weights as float32 safetensors, atomically."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(weight, dtype=np.float32) for name, weight in weights.items()}
    write_bytes(path, save(arrays, metadata={"identity": belongs_to}))


def write_config(folder: Path, config: Mapping[str, Any], name: str = "") -> None:
    """config.json and, from it, the card, for a model that will be known as `name` (by default, the folder's)."""
    text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / CONFIG, text.encode("utf-8", "replace") + b"\n")
    write_bytes(folder / CARD, card(config, name or folder.name).encode("utf-8", "replace"))


def create(
    folder: Path, config: Mapping[str, Any], preprocessor: Codec | Scaler, weights: Weights, name: str = ""
) -> None:
    """Writes all of a new model, to be known as `name`, into the empty folder `folder`."""
    for name, data in tokenizers.dump(preprocessor).items():
        write_bytes(folder / name, data)
    write_config(folder, config, name)
    write_weights(folder / WEIGHTS, weights, str(config["identity"]))


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Writes metrics.jsonl anew: it is short, and so it is never half a line."""
    lines = [json.dumps(record, allow_nan=False) + "\n" for record in records]
    write_bytes(folder / METRICS, "".join(lines).encode())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The objects of metrics.jsonl, each with its `step`; an empty list where there is none, or no such file."""
    try:
        found = [parse_json(line) for line in _read(folder / METRICS).splitlines()]
    except (ModelError, ValueError):
        return []
    return [record for record in found if isinstance(record, dict) and isinstance(record.get("step"), int)]


def write_resume(folder: Path, tensors: Mapping[str, npt.NDArray[Any]], position: Mapping[str, Any]) -> None:
    """Saves what training needs to go on: one safetensors file, then state.json that names it."""
    from safetensors.numpy import save

    place = folder / RESUME
    name = f"step-{position['step']}.safetensors"
    # Equal names hold equal content in a run that repeats itself exactly, so writing over one is safe.
    write_bytes(place / name, save(dict(tensors)))
    state = {"format": FORMAT_VERSION, "file": name, "position": position}
    write_bytes(place / _STATE, json.dumps(state).encode())
    for old in place.glob("step-*.safetensors"):
        if old.name != name:
            with contextlib.suppress(OSError):
                old.unlink()


def read_resume(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The tensors and the position that were saved last. Raises `ModelError` where there is nothing to go on from."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    place = folder / RESUME
    if not (place / _STATE).exists():
        raise ModelError(f"{str(folder)!r} can't be resumed: it has no {RESUME}/{_STATE}")
    try:
        state = parse_json(_read(place / _STATE))
        if state["format"] != FORMAT_VERSION:
            raise ValueError(f"it is of format {state['format']}, not {FORMAT_VERSION}")
        if not re.fullmatch(r"step-\d+\.safetensors", state["file"]):
            raise ValueError("it names a strange file")
        if not isinstance(state["position"], dict):
            raise ValueError("it has no position")
        require_inside(folder, f"{RESUME}/{state['file']}")
        return load_file(place / state["file"]), state["position"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(place)!r} is damaged, so training can't be resumed: {reason(error)}") from error


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            raise ModelError(f"{str(path)!r} is far too large to be what its name says")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {reason(error)}") from error


def staging(folder: Path) -> Path:
    """Where a new model is built before it takes its place: a hidden sibling of `folder`."""
    return folder.with_name(f".{folder.name}.new.part")


def finite_or_none(value: float) -> float | None:
    """A number as JSON can hold it: None where it is not finite."""
    return value if np.isfinite(value) else None
