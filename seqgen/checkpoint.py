"""Read and write model folders.

    config.json         task, hyper-parameters, training sources, metrics
    model.safetensors   the weights, nothing else; those of further networks are called `member.K.NAME`, K from 1
    tokenizer.json      (+ tokenizer.model)
    metrics.jsonl       one object per validation
    resume/             the state training resumes from; state.json names the newest file
    corpus.safetensors  an index of the training corpus, if the model keeps one
    ranker.safetensors  the ranking of replies, of a dialogue model
    README.md           the model card

Nothing here can run code: only JSON, safetensors and SentencePiece's own format are read. Every write is atomic. The
weights carry the identity of the configuration and tokenizer they belong to, so files of two models can't be mixed up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from seqgen import tokenizers
from seqgen.config import (
    FORMAT_VERSION,
    AnyClassifierConfig,
    AnyNetworkConfig,
    ForecasterConfig,
    NetworkConfig,
    TrainOptions,
    check,
    check_ranges,
    from_json,
    network_config_class,
)
from seqgen.corpus.cache.store import FileStamp, content_stamp, stamp
from seqgen.errors import ModelChangedError, ModelError, UserError, did_you_mean
from seqgen.model.ngrams import BUCKETS
from seqgen.model.weight_shapes import weight_shapes
from seqgen.specs.tasks import TASKS, NetworkSpec, TaskSpec, network_of
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.streams import expand, reason, write_bytes
from seqgen.tensors import parse as parse_tensors
from seqgen.tokenizers import Codec
from seqgen.untrusted import check_json_size, one_line, parse_json, require_inside

CONFIG, WEIGHTS, METRICS, CARD, RESUME, CORPUS, RANKER = (
    "config.json", "model.safetensors", "metrics.jsonl", "README.md", "resume", "corpus.safetensors",
    "ranker.safetensors",
)  # fmt: skip
_STATE, _PRETRAINED = "state.json", "pretrained.safetensors"  # in resume/
_PIECES = "tokenizer.model"  # SentencePiece's, no JSON
TOKENIZER_FILES = ("tokenizer.json", _PIECES)
FILES = (CONFIG, WEIGHTS, METRICS, CARD, CORPUS, RANKER, *TOKENIZER_FILES)  # beside those in resume/
MAX_NETWORKS = 16  # in one model
MAX_STEPS = 1 << 60  # of a training; what is computed from them stays a number
MAX_SECONDS = 1e13  # of a training: the longest budget, and what came before its clock started
MAX_SOURCES = 200_000  # named in config.json, which is no larger than `_MAX_FILE_BYTES`
MAX_ROUNDING_COST = 0.005  # bits per token that weights rounded to 8 bits may cost
_TEMPERATURES = (0.1, 10.0)  # training fits one from 0.9 to 1.6
_MAX_FILE_BYTES = 1 << 26  # of config.json, tokenizer.json or tokenizer.model; real ones are far smaller
_MAX_CARD_SOURCES = 20

if TYPE_CHECKING:
    from seqgen.corpus.series.read import Series
    from seqgen.corpus.series.scaling import Scaler  # slow to import, and only forecasting needs it

Weights = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Trained:
    """How long a model has been trained: the steps of its first network, and the seconds of all.

    Raises `UserError` for values that no run has.
    """

    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        # Less than 0 seconds where the clock of a machine that slept jumped back.
        check_ranges(self, {"step": (0, MAX_STEPS), "seconds": (-MAX_SECONDS, MAX_SECONDS)})


@dataclass(frozen=True)
class Checkpoint:
    """A validated model folder: `config` is config.json; the weights are read on demand."""

    folder: Path
    config: dict[str, Any]
    network: AnyNetworkConfig
    preprocessor: Codec | Scaler  # from tokenizer.json
    members: tuple[AnyNetworkConfig, ...] = ()  # further networks, whose predictions are averaged with the first's
    named: str = ""  # the folder as it was named, where `folder` was made absolute

    def anchored(self) -> Checkpoint:
        """The same, whose files, which are read later, are found wherever the working folder is then."""
        return dataclasses.replace(self, folder=self.folder.absolute(), named=self.named or str(self.folder))

    @property
    def networks(self) -> tuple[AnyNetworkConfig, ...]:
        """The configurations of all its networks."""
        return (self.network, *self.members)

    @property
    def task(self) -> str:
        return str(self.config["task"])

    @property
    def spec(self) -> TaskSpec:
        """The row of its task."""
        return TASKS.find(self.task)

    @property
    def network_spec(self) -> NetworkSpec:
        """The row of its network."""
        return network_of(self.network)

    @property
    def language_config(self) -> NetworkConfig:
        """The configuration of a network that predicts ids. Raises `ModelError` for any other network."""
        if not isinstance(self.network, NetworkConfig):
            raise ModelError(f"this is a model for {self.task}: it can't write or score")
        return self.network

    @property
    def classifier_config(self) -> AnyClassifierConfig:
        """The configuration of a classifier. Raises `ModelError` for a model of another task."""
        if not isinstance(self.network, AnyClassifierConfig):
            raise ModelError(f"this is a model for {self.task}; `seqgen classify` needs one for classify")
        return self.network

    @property
    def classifier_configs(self) -> list[AnyClassifierConfig]:
        """The configurations of all its networks, which are classifiers."""
        self.classifier_config  # noqa: B018 - raises for a model of another task
        return cast("list[AnyClassifierConfig]", list(self.networks))

    @property
    def forecaster_config(self) -> ForecasterConfig:
        """The configuration of a forecaster. Raises `ModelError` for a model of another task."""
        if not isinstance(self.network, ForecasterConfig):
            raise ModelError(f"this is a model for {self.task}; `seqgen forecast` needs one for forecast")
        return self.network

    @property
    def forecaster_configs(self) -> list[ForecasterConfig]:
        """The configurations of all its networks, which are forecasters."""
        self.forecaster_config  # noqa: B018 - raises for a model of another task
        return cast("list[ForecasterConfig]", list(self.networks))

    @property
    def codec(self) -> Codec:
        """The codec between bytes and ids. Raises `ModelError` for a model that reads numbers."""
        if not TOKENIZERS.find(self.preprocessor.name).encodes_bytes:
            raise ModelError(f"this is a model for {self.task}: it reads tables of numbers; use `seqgen forecast`")
        return cast("Codec", self.preprocessor)

    @property
    def scaler(self) -> Scaler:
        """The scaler of a forecaster's columns. Raises `ModelError` for a model that reads bytes."""
        if TOKENIZERS.find(self.preprocessor.name).encodes_bytes:
            raise ModelError(f"this is a model for {self.task}: it can't forecast")
        return cast("Scaler", self.preprocessor)

    @property
    def may_be_rounded(self) -> bool:
        """Whether 8-bit weights cost at most `MAX_ROUNDING_COST` when training measured them."""
        cost = self.config.get("rounding_bits_per_token")
        return isinstance(cost, float) and cost <= MAX_ROUNDING_COST

    @property
    def is_finished(self) -> bool:
        """Whether the part that --val-fraction held out was learnt too, at the end."""
        return bool(self.config.get("finished"))

    @property
    def has_learnt_all(self) -> bool:
        """Whether a model of text has learnt its sources whole: no part of them was held out, or it was learnt too.

        Raises `ModelError` if the training options are damaged.
        """
        options = self.options
        if self.is_finished or self.has_own_valid or not options.val_fraction:
            return True
        if not self.network_spec.only_classifies:
            return False
        # Its linear model learns that part before the run, and its further networks hold out others.
        return options.finish and bool(getattr(self.network, "features", 0) or self.members)

    def learnt_rows(self, series: Series) -> tuple[int, int]:
        """`Scaler.learnt_rows` of the training rows, and with what a finished model learnt of the held-out ones; 0 for
        both of a series without times that doesn't begin as the one that was learnt.

        The statistics of a model of --init-from are of other rows than those that it learnt last.
        """
        counted = series.times is None and not self.config["training"].get("init_from")
        if counted and not self.scaler.begins_as_learnt(series):
            return 0, 0
        return self.scaler.learnt_rows(series, False), self.scaler.learnt_rows(series, True)

    @property
    def trained(self) -> Trained:
        """How long it has been trained. Raises `ModelError` if that is damaged."""
        saved, names = self.config["training"], ("step", "seconds")
        try:
            return from_json(Trained, {name: saved[name] for name in names if name in saved})
        except UserError as error:
            raise ModelError(f"{str(self.folder / CONFIG)!r} is damaged: training: {error}") from error

    @property
    def temperature(self) -> float:
        """The correction in its output layer, by training with dropout. Raises `ModelError` if it is damaged."""
        try:
            return temperature_of(self.config)
        except UserError as error:
            raise ModelError(f"{str(self.folder / CONFIG)!r} is damaged: {error}") from error

    @property
    def options(self) -> TrainOptions:
        """The training options that this version knows. Raises `ModelError` if they are damaged."""
        saved = self.config["training"].get("options")
        known = {field.name for field in dataclasses.fields(TrainOptions)}
        try:
            if not isinstance(saved, dict | None):
                raise UserError("they are not a JSON object")
            return check(from_json(TrainOptions, {n: value for n, value in (saved or {}).items() if n in known}))
        except UserError as error:
            raise ModelError(f"{str(self.folder / CONFIG)!r} is damaged: training options: {error}") from error

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Name, bytes and sha256 of each training source; malformed entries are left out."""
        return sources_of(self.config)

    @property
    def valid_sources(self) -> list[dict[str, Any]]:
        """Name, bytes and sha256 of each `--valid` source; malformed entries are left out."""
        return sources_of(self.config, "valid_sources")

    @property
    def has_own_valid(self) -> bool:
        """Whether the validation set was a source of its own (`--valid`), not a fraction of the training sources."""
        return bool(self.config["data"].get("valid_sources"))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of network, tokenizer and weights.

        Raises:
            ModelError: the weights can't be read.
            ModelChangedError: they are not those that were read before.
        """
        digest = hashlib.sha256(str(self.config["identity"]).encode())
        try:
            with open(self.folder / WEIGHTS, "rb") as file:
                self._check_unchanged(stamp(file.fileno()))
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ModelError(f"cannot read {str(self.folder / WEIGHTS)!r}: {reason(error)}") from error
        return digest.hexdigest()[:32]

    def weights(self) -> dict[str, npt.NDArray[np.float32]]:
        """Read the weights of the first network, of most models the only one; see `all_weights`."""
        return self.all_weights()[0]

    def all_weights(self) -> list[dict[str, npt.NDArray[np.float32]]]:
        """Read the weights of each of `networks` as float32 arrays by name.

        Raises:
            ModelError: the file is missing, truncated or another model's; or a tensor is missing, extra, of the wrong
                shape or dtype, or not finite.
            ModelChangedError: they are not those that were read before, or another model's that has replaced this one.
        """
        path = self.folder / WEIGHTS
        with contextlib.suppress(OSError):  # `read_weights` says that it is missing
            self._check_unchanged(stamp(path))
        try:
            return read_weights(path, self.networks, identity(self.network, tokenizers.dump(self.preprocessor)))
        except ModelError as error:
            if self._is_replaced():
                raise self._changed() from error
            raise

    def _check_unchanged(self, weights: FileStamp) -> None:
        """Raise `ModelChangedError` unless the file of the weights is the one that was read first."""
        found = content_stamp(weights)
        if self.__dict__.setdefault("_weights_stamp", found) != found:
            raise self._changed()

    def _is_replaced(self) -> bool:
        """Whether the folder has another model's config.json now."""
        try:
            return bool(_parse(_read(self.folder / CONFIG))["identity"] != self.config["identity"])
        except (ModelError, ValueError, KeyError, TypeError):
            return False

    def _changed(self) -> ModelChangedError:
        return ModelChangedError(
            f"{str(self.folder)!r} was trained further or replaced since it was loaded; load it again"
        )


def _models_in(folder: Path) -> list[str]:
    """The models in a folder, for messages."""
    try:
        return sorted(str(path.parent) for path in folder.glob(f"*/{CONFIG}"))
    except OSError:
        return []


def load(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read and validate a model folder. Raises `ModelError`, which names the file and its fault."""
    folder = expand(folder)
    if not folder.is_dir():
        hint = did_you_mean(str(folder), _models_in(folder.parent))
        if folder.exists():
            is_inside = (folder.parent / CONFIG).exists()
            remedy = f"its folder {str(folder.parent)!r} is one" if is_inside else "name a folder that `train` wrote"
            hint = f" (it is a file); {remedy}"
        raise ModelError(f"there is no model {str(folder)!r}{hint}")
    if not (folder / CONFIG).exists():
        models = _models_in(folder)
        hint = f"; it holds models: name one, such as {models[0]!r}" if models else ""
        raise ModelError(f"{str(folder)!r} is not a model: it has no {CONFIG}{hint}")
    for name in (*FILES, f"{RESUME}/{_STATE}"):
        require_inside(folder, name)
    try:
        config = _parse(_read(folder / CONFIG))
    except ValueError as error:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: {reason(error)}") from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise ModelError(f"{str(folder / CONFIG)!r} is not a model configuration: it has no format number")
    if config["format"] < 1:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: format {config['format']} never existed")
    if config["format"] > FORMAT_VERSION:
        raise ModelError(
            f"{str(folder)!r} was written by a newer seqgen (format {config['format']}, this version reads "
            f"{FORMAT_VERSION}): upgrade seqgen"
        )
    complete = all(isinstance(config.get(name), dict) for name in ("network", "training", "data", "metrics"))
    complete = complete and all(isinstance(config.get(name), str) for name in ("seqgen", "tokenizer"))
    if config.get("task") not in TASKS.names() or not complete:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: its task is unknown or a section is missing")
    try:
        network = from_json(network_config_class(config["task"], config["network"]), config["network"])
        members = _parse_members(config, network)
    except UserError as error:
        raise ModelError(f"{str(folder / CONFIG)!r} is damaged: {reason(error)}") from error
    config["network"] = {**dataclasses.asdict(network), **config["network"]}  # fields that it leaves to their defaults
    files = {name: _read(folder / name) for name in TOKENIZER_FILES if (folder / name).exists()}
    if "tokenizer.json" not in files:
        raise ModelError(f"{str(folder)!r} has no tokenizer.json, and the weights are useless without it")
    try:
        preprocessor = parse_preprocessor(config["task"], files)
        for each in (network, *members):
            if mismatch := preprocessor.mismatch(each):
                raise ModelError(f"tokenizer.json belongs to another model: {mismatch}")
    except ModelError as error:
        raise ModelError(f"{str(folder)!r}: {error}") from error
    if config["tokenizer"] != preprocessor.name:  # config.json's own words; commands choose readers by them
        raise ModelError(
            f"{str(folder / CONFIG)!r} is damaged: its tokenizer is {one_line(config['tokenizer'])[:40]!r}, and "
            f"that of tokenizer.json is {preprocessor.name!r}"
        )
    if config.get("identity") != identity(network, tokenizers.dump(preprocessor)):
        raise ModelError(f"{str(folder)!r}: config.json and tokenizer.json belong to two different models")
    return Checkpoint(folder, config, network, preprocessor, members)


def _parse_members(config: Mapping[str, Any], first: AnyNetworkConfig) -> tuple[AnyNetworkConfig, ...]:
    """The configurations of a model's further networks.

    Raises `UserError` if they are malformed, or if their predictions can't be averaged with the first's.
    """
    listed, spec = config.get("members", []), network_of(first)
    if not isinstance(listed, list) or len(listed) >= MAX_NETWORKS:
        raise UserError(f"members must be a list of at most {MAX_NETWORKS - 1} networks")
    members = tuple(from_json(type(first), each) for each in listed)
    if members and not spec.averages_members:
        raise UserError(f"a {spec.name} has one network, not {len(members) + 1}")
    for number, member in enumerate(members, 1):
        for name in spec.shared_fields:
            if getattr(member, name) != getattr(first, name):
                raise UserError(f"{name} of member {number} is not that of the first network")
    return members


def parse_preprocessor(task: str, files: Mapping[str, bytes]) -> Codec | Scaler:
    """Make the codec or scaler that the tokenizer files describe. Raises `ModelError` for another task's files."""
    kind = tokenizers.saved_tokenizer_name(files)
    if kind in TOKENIZERS and kind not in TASKS.find(task).accepted_tokenizers:
        raise ModelError(f"it is damaged: a model for {task} does not read {kind}")
    return cast("Codec | Scaler", tokenizers.parse(files))


def identity(network: AnyNetworkConfig, tokenizer_files: Mapping[str, bytes]) -> str:
    """Digest of the network's configuration and its tokenizer, which weights are tied to."""
    added = {item.name: item.default for item in dataclasses.fields(network) if item.metadata.get("added")}
    fields = {n: value for n, value in dataclasses.asdict(network).items() if n not in added or value != added[n]}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for name in sorted(tokenizer_files):
        digest.update(hashlib.sha256(tokenizer_files[name]).digest())
    return digest.hexdigest()


def read_weights(
    path: Path, networks: Sequence[AnyNetworkConfig], belongs_to: str
) -> list[dict[str, npt.NDArray[np.float32]]]:
    """Read the float32 tensors of a safetensors file, checked against `weight_shapes` of each network.

    Networks beyond those are ignored: a run that is killed between the two writes of a new member leaves one that
    config.json doesn't list yet.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise ModelError(f"{str(path)!r} is missing")
    expected = {
        _member_prefix(number) + name: shape
        for number, network in enumerate(networks)
        for name, shape in weight_shapes(network).items()
    }
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("identity") != belongs_to:
                raise ModelError(f"{str(path)!r} belongs to another model than the config.json beside it")
            names = {name for name in file.keys() if _member_number(name) < len(networks)}  # noqa: SIM118
            if names != set(expected):
                differing = ", ".join(sorted(names ^ set(expected))[:4])
                raise ModelError(f"{str(path)!r} does not hold the weights of this network: {differing}")
            weights = {}
            for name, shape in expected.items():
                tensor = file.get_slice(name)
                if tuple(tensor.get_shape()) != shape or tensor.get_dtype() != "F32":
                    raise ModelError(
                        f"{str(path)!r}: {name} is {tensor.get_dtype()} {tensor.get_shape()}, not F32 {list(shape)}"
                    )
                weights[name] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} is damaged or truncated: {reason(error)}") from error
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise ModelError(f"{str(path)!r}: {name} has values that are not finite")
    for name, keys in weights.items():
        if not name.endswith("wide_keys"):  # the only tensor of indices: n-gram buckets
            continue
        if ((keys < 0) | (keys >= BUCKETS) | (keys != np.floor(keys))).any():
            raise ModelError(f"{str(path)!r}: {name} has values that are not n-gram buckets")
    prefixes = [_member_prefix(number) for number in range(len(networks))]
    return [
        {name: weights[prefix + name] for name in weight_shapes(network)}
        for prefix, network in zip(prefixes, networks, strict=True)
    ]


def _member_prefix(number: int) -> str:
    """What the names of a network's tensors begin with: nothing for the first, `member.K.` for the others."""
    return f"member.{number}." if number else ""


def _member_number(name: str) -> int:
    """The number of the network that a tensor belongs to."""
    found = re.match(r"member\.([1-9]\d{0,3})\.", name)
    return int(found[1]) if found else 0


def write_weights(path: Path, weights: Weights, belongs_to: str, members: Sequence[Weights] = ()) -> None:
    """Write the weights of a model's first network and of its further ones as float32 safetensors, atomically."""
    from safetensors.numpy import save

    arrays = {
        _member_prefix(number) + name: np.ascontiguousarray(weight, dtype=np.float32)
        for number, each in enumerate((weights, *members))
        for name, weight in each.items()
    }
    write_bytes(path, save(arrays, metadata={"identity": belongs_to}))


def write_config(folder: Path, config: Mapping[str, Any], name: str = "") -> None:
    """Write config.json and the model card made from it, titled `name` or, by default, after the folder."""
    text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / CONFIG, text.encode("utf-8", "replace") + b"\n")
    write_bytes(folder / CARD, card(config, name or folder.name).encode("utf-8", "replace"))


def create(
    folder: Path, config: Mapping[str, Any], preprocessor: Codec | Scaler, weights: Weights, name: str = ""
) -> None:
    """Write a whole new model into the empty folder `folder`; `name` is the card's title."""
    for filename, data in tokenizers.dump(preprocessor).items():
        write_bytes(folder / filename, data)
    write_config(folder, config, name)
    write_weights(folder / WEIGHTS, weights, str(config["identity"]))


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Rewrite metrics.jsonl as a whole, so that it never ends in half a line."""
    lines = [json.dumps(record, allow_nan=False) + "\n" for record in records]
    write_bytes(folder / METRICS, "".join(lines).encode())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the records of metrics.jsonl; empty if the file is missing or damaged."""
    try:
        found = [_parse(line) for line in _read(folder / METRICS).splitlines()]
    except (ModelError, ValueError):
        return []
    return [record for record in found if isinstance(record, dict) and isinstance(record.get("step"), int)]


def write_resume(folder: Path, tensors: Mapping[str, npt.NDArray[Any]], position: Mapping[str, Any]) -> None:
    """Save the state to resume from: one safetensors file, then the state.json that names it."""
    from safetensors.numpy import save

    target = folder / RESUME
    name = f"step-{position['step']}.safetensors"
    # A deterministic run writes equal content under equal names, so overwriting one is safe.
    write_bytes(target / name, save(dict(tensors)))
    state = {"format": FORMAT_VERSION, "file": name, "position": position}
    write_bytes(target / _STATE, json.dumps(state).encode())
    for old in target.glob("step-*.safetensors"):
        if old.name != name:
            with contextlib.suppress(OSError):
                old.unlink()


def read_resume(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Read the tensors and the position saved last. Raises `ModelError` if there are none or they are damaged."""
    source = folder / RESUME
    if not (source / _STATE).exists():
        raise ModelError(f"{str(folder)!r} can't be resumed: it has no {RESUME}/{_STATE}")
    try:
        state = _parse(_read(source / _STATE))
        if state["format"] != FORMAT_VERSION:
            raise ValueError(f"its format is {state['format']}, not {FORMAT_VERSION}")
        if not re.fullmatch(r"step-\d+\.safetensors", state["file"]):
            raise ValueError("the file name in it is not one of seqgen's")
        if not isinstance(state["position"], dict):
            raise ValueError("it has no position")
        require_inside(folder, f"{RESUME}/{state['file']}")
        file = source / state["file"]
        return parse_tensors(file.read_bytes(), str(file))[0], state["position"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{str(source)!r} is damaged, so training can't be resumed: {reason(error)}") from error


def write_pretrained(folder: Path, weights: Weights) -> None:
    """Save the weights that pretraining ended with, which further networks of a resumed run start from."""
    from safetensors.numpy import save

    write_bytes(folder / RESUME / _PRETRAINED, save({name: np.array(weight) for name, weight in weights.items()}))


def has_pretrained(folder: Path) -> bool:
    """Whether the run of a model folder keeps the result of its pretraining; those of older versions may not."""
    return (folder / RESUME / _PRETRAINED).exists()


def read_pretrained(folder: Path, network: AnyNetworkConfig) -> dict[str, npt.NDArray[np.float32]]:
    """Read the result of `write_pretrained`. Raises `ModelError` if it is missing, damaged or of another network."""
    path, expected = folder / RESUME / _PRETRAINED, weight_shapes(network)
    require_inside(folder, f"{RESUME}/{_PRETRAINED}")
    try:
        weights = parse_tensors(path.read_bytes(), str(path))[0]
    except OSError as error:
        raise ModelError(f"{str(path)!r} is damaged, so training can't be resumed: {reason(error)}") from error
    for name, weight in weights.items():
        if expected.get(name) != weight.shape or weight.dtype != np.float32 or not np.isfinite(weight).all():
            raise ModelError(f"{str(path)!r} is damaged, so training can't be resumed: {name}")
    return {name: weight.copy() for name, weight in weights.items()}


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ModelError(f"cannot read {str(path)!r}: it is larger than {_MAX_FILE_BYTES:,} bytes")
        data = path.read_bytes()
        if path.name != _PIECES:
            check_json_size(data)
        return data
    except ValueError as error:
        raise ModelError(f"{str(path)!r} is damaged: {error}") from error
    except OSError as error:
        raise ModelError(f"cannot read {str(path)!r}: {reason(error)}") from error


def _parse(data: bytes) -> Any:
    """Parse JSON of a model. Raises `ValueError` also for NaN and infinities, which could not be written again."""
    value = parse_json(data)
    json.dumps(value, allow_nan=False)
    return value


def staging(folder: Path) -> Path:
    """The hidden sibling of `folder` that a new model is built in before it is renamed."""
    return folder.with_name(f".{folder.name}.new.part")


def finite_or_none(value: float) -> float | None:
    """`value`, or None if JSON can't hold it because it is not finite."""
    return value if np.isfinite(value) else None


def sources_of(config: Mapping[str, Any], part: str = "sources") -> list[dict[str, Any]]:
    """Name, bytes and sha256 of each of a config's `sources` or `valid_sources`, without malformed entries."""
    listed = config["data"].get(part)
    entries = [source for source in listed if isinstance(source, dict)] if isinstance(listed, list) else []
    types = {"name": str, "sha256": str, "bytes": int, "encoding": str}
    plain = {"encoding": "utf-8"}  # which its entry leaves out
    return [entry for entry in entries if all(isinstance((plain | entry).get(key), types[key]) for key in types)]


def temperature_of(config: Mapping[str, Any]) -> float:
    """The temperature that is in the weights of a config's model. Raises `UserError` for a value that no fit gives."""
    value, (least, most) = config.get("temperature", 1.0), _TEMPERATURES
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise UserError(f"temperature must be from {least:g} to {most:g}, not {str(value)[:24]!r}")
    return float(value)


def card(config: Mapping[str, Any], name: str) -> str:
    """Format the model card (README.md) from config.json: what the model is, its sources, metrics and use."""
    network, metrics, sources = config["network"], config["metrics"], sources_of(config)
    more, members = len(sources) - _MAX_CARD_SOURCES, config.get("members", [])
    averaged = f"The mean of {len(members) + 1} networks that were trained one after another." if members else ""
    lines = [
        f"# {name}",
        "",
        f"{network['cell'].upper()} ({network['num_layers']} × {network['rnn_size']} units) for {config['task']}, "
        f"trained with seqgen {config['seqgen']} ({config['tokenizer']} tokenizer).",
        *([averaged] if averaged else []),
        "",
        "## Trained on",
        *[
            f"- {source['name']} ({source['bytes']:,} bytes, sha256 {source['sha256'][:16]}…)"
            for source in sources[:_MAX_CARD_SOURCES]
        ],
        *([f"- and {more:,} more"] if more > 0 else []),
        "",
        "## Metrics",
        *([f"- {key}: {value:.4f}" for key, value in metrics.items() if isinstance(value, float)] or ["- none yet"]),
        "",
        "Measured on the validation set, which also chose the best step; `seqgen evaluate` measures on other data.",
        *(["The validation set was learnt too, after it had been measured on."] if config.get("finished") else []),
        "",
        "## Use",
        "```",
        f"seqgen {TASKS.find(config['task']).command} {name}",
        f"seqgen info {name}",
        "```",
        "",
        "The folder is data only: loading it runs no code.",
        "",
    ]
    return "\n".join(map(one_line, lines))
