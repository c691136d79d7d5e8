"""Receipts: records of how samples were made, from which they can be reproduced byte for byte.

The objects of `sample --json` have the sample's index, seed and prompt. Their `receipt` has the rest: the model's
fingerprint, the options that differ from their defaults, the engine and its arithmetic, and the version. A state is
named by its file and sha256; a primer is included.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from seqgen import config
from seqgen.api import sampling, states
from seqgen.api.sampling import SampleRequest
from seqgen.config import MusicOptions, SampleOptions, SearchOptions
from seqgen.errors import DataError, ModelError, UserError
from seqgen.generation.text import Sample
from seqgen.untrusted import as_bytes, parse_json
from seqgen.version import __version__

if TYPE_CHECKING:
    from seqgen.api.loaded import LoadedModel

T = TypeVar("T")

_COMPARED = ("text", "bars", "tokens", "finish_reason")
_MAX_LINE_BYTES = 1 << 28
_FLAGS = ("stop_at_end", "adaptive", "to_be_continued")  # written only if true
_PROVENANCE = ("model", "folder", "engine", "arithmetic", "device", "precision", "seqgen")
_JOB_SAMPLES = 1024  # at most, because their receipts are in memory together
_MAX_LENGTH = 100_000  # bars of a piece, which a record only counts; and of samples whose candidates may be longer


@dataclass(frozen=True)
class Receipt:
    """A parsed receipt. `record` is the object it came in; `where` names its line in messages."""

    where: str
    record: Mapping[str, Any]
    index: int
    request: SampleRequest  # without the state
    provenance: Mapping[str, str]  # by the names of _PROVENANCE
    state: Mapping[str, str] | None

    def is_same_job(self, other: Receipt) -> bool:
        """Whether the two samples differ only in their indices."""
        return (self.request, self.provenance, self.state) == (other.request, other.provenance, other.state)


def make_receipt(
    model: LoadedModel, request: SampleRequest, shown_prompt: str = "", state_file: str = ""
) -> dict[str, Any]:
    """Make the receipt of a request. `shown_prompt` is the prompt in the sample's record; it is not repeated.

    Raises `ModelError` if the model was adapted to another text than the prompt.
    """
    if model.is_adapted and not request.adaptive:
        raise ModelError("there is no receipt of a model that was adapted to a text: it is made from other weights")
    options: dict[str, Any] = {"length": request.options.length_for(model.task)}
    for part in (request.options, request.search, request.music_options):
        for item in dataclasses.fields(part):
            value = getattr(part, item.name)
            if item.name not in ("length", "seed") and value != item.default:
                options[item.name] = list(value) if isinstance(value, tuple) else value
    loaded = model.checkpoint
    receipt: dict[str, Any] = {
        "seqgen": __version__, "model": loaded.fingerprint, "folder": loaded.named or str(loaded.folder),
        "engine": model.engine_name, "arithmetic": model.engine.arithmetic, "device": model.device,
        "precision": model.precision, "options": options,
    }  # fmt: skip
    if request.prompt.decode("utf-8", "surrogateescape") != shown_prompt:
        receipt["prompt"] = request.prompt.decode("utf-8", "surrogateescape")
    if request.label is not None:
        receipt["label"] = request.label
    receipt |= {name: True for name in _FLAGS if getattr(request, name)}
    if request.state is not None:
        receipt["state"] = {"file": state_file, "sha256": request.state_sha256}
    if request.primer is not None:
        receipt["primer"] = base64.b64encode(request.primer).decode()
    return receipt


def record(sample: Sample, receipt: Mapping[str, Any], copied: int | None = None) -> dict[str, Any]:
    """Make the object that `sample --json` writes for a text. `copied`: characters of its longest copied run."""
    fields = dataclasses.asdict(sample)
    if copied is not None:
        fields["longest_copy"] = copied
    return {**fields, "receipt": dict(receipt)}


def read(lines: Iterable[bytes], name: str) -> Iterator[Receipt]:
    """Parse receipts from lines of JSON. Raises `DataError`, with the line number, for anything else."""
    number, empty = 0, True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        empty = False
        where = f"{name!r}, line {number:,}"
        if len(line) > _MAX_LINE_BYTES:
            raise DataError(f"{where}: a receipt can't be longer than {_MAX_LINE_BYTES:,} bytes")
        try:
            yield parse(parse_json(line), where)
        except ValueError as error:
            raise DataError(f"{where}: this is not JSON ({error})") from error
    if empty:
        raise DataError(f"{name!r} has no receipt")


def parse(data: Any, where: str = "the record") -> Receipt:
    """Parse the receipt in an object that `sample --json` wrote. Raises `DataError` for anything else."""
    receipt = data.get("receipt") if isinstance(data, dict) else None
    if not isinstance(receipt, dict):
        raise DataError(f"{where}: there is no receipt; `sample --json` writes one")
    try:
        options = {**receipt["options"], "seed": data["seed"]}
        primer = receipt.get("primer")
        request = SampleRequest(
            _take(SampleOptions, options),
            _take(SearchOptions, options),
            _take(MusicOptions, options),
            as_bytes(receipt.get("prompt", data.get("prompt", ""))),
            receipt.get("label"),
            stop_at_end=bool(receipt.get("stop_at_end", False)),
            adaptive=bool(receipt.get("adaptive", False)),
            primer=None if primer is None else base64.b64decode(primer, validate=True),
            to_be_continued=bool(receipt.get("to_be_continued", False)),
        )
        if options:
            raise UserError(f"there is no option {str(next(iter(options)))[:40]!r}")
        provenance = {name: receipt[name] for name in _PROVENANCE}
        state, index = receipt.get("state"), data["index"]
        strings = [
            *provenance.values(),
            *([] if state is None else [state["file"], state["sha256"]]),
            request.label or "",
            data.get("text", ""),
        ]
        if not all(isinstance(text, str) for text in strings) or type(index) is not int or not 0 <= index < 1 << 62:
            raise UserError("a value has the wrong type")
        _check_length(data, request)
    except (KeyError, TypeError, ValueError, AttributeError, UserError, binascii.Error) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DataError(f"{where}: the receipt is damaged, or of another version of seqgen: {why}") from error
    return Receipt(where, data, index, request, provenance, state)


def _check_length(data: Mapping[str, Any], request: SampleRequest) -> None:
    """Raise `UserError` for a length that the record doesn't account for: a forged one could run for hours."""
    length, found, ended = request.options.length, _length_found(data), data.get("finish_reason") != "length"
    if data.get("text") is None and found > _MAX_LENGTH:
        raise UserError(f"a piece can't be replayed beyond {_MAX_LENGTH:,} bars")
    if length is None or (ended and _only_ends(request)):  # `_shortened` bounds it
        return
    if length > max(2 * found + 100, _MAX_LENGTH * ended):
        raise UserError(f"its length is {length:,}, but the sample's is {found:,}")


def _length_found(data: Mapping[str, Any]) -> int:
    """The length of the sample in a record: characters, or bars of music."""
    text = data.get("text")
    found = data.get("bars", 0) if text is None else len(text)
    if type(found) is not int or found < 0:
        raise UserError("a value has the wrong type")
    return found


def _only_ends(request: SampleRequest) -> bool:
    """Whether the length of a request does nothing but end its samples."""
    return request.search.best_of == 1 and not request.search.beam and request.options.grammar is None


def _shortened(request: SampleRequest, job: Sequence[Receipt]) -> SampleRequest:
    """The request with a length that samples which are as the receipts say don't reach before they end."""
    length = request.options.length
    if length is None or not _only_ends(request):
        return request
    longest = max(2 * _length_found(receipt.record) + 100 for receipt in job)
    return dataclasses.replace(request, options=dataclasses.replace(request.options, length=min(length, longest)))


def _take(cls: type[T], options: dict[str, Any]) -> T:
    """Make an options dataclass from its part of `options`, which is removed there."""
    names = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
    return config.check(config.from_json(cls, {name: options.pop(name) for name in names if name in options}))


def jobs(receipts: Iterable[Receipt]) -> Iterator[list[Receipt]]:
    """Group consecutive receipts that can be replayed as one batch."""
    job: list[Receipt] = []
    for receipt in receipts:
        if job and not (receipt.is_same_job(job[0]) and receipt.index == job[-1].index + 1):
            yield job
            job = []
        job.append(receipt)
        if len(job) == _JOB_SAMPLES:
            yield job
            job = []
    if job:
        yield job


def model_folder(receipt: Receipt) -> str:
    """The model that a receipt names. Raises `DataError` for one on the hub: receipts must not choose downloads."""
    folder = receipt.provenance["folder"]
    if folder.startswith("hf:"):
        raise DataError(f"{receipt.where}: the receipt names a model on the hub; name it as MODEL")
    return folder


def check(model: LoadedModel, receipt: Receipt) -> None:
    """Raise `ModelError` if the receipt is another model's."""
    if receipt.provenance["model"] != model.checkpoint.fingerprint:
        raise ModelError(
            f"{receipt.where}: the receipt belongs to another model than {str(model.checkpoint.folder)!r}, or to an "
            "earlier state of its training"
        )


def with_state(model: LoadedModel, receipt: Receipt, other_file: str | None = None) -> tuple[SampleRequest, str]:
    """Load the state of a receipt from the file it names, or from `other_file`.

    Returns the complete request, and the name of the state's file as the receipt has it. Raises `ModelError` if the
    file has another state.
    """
    if receipt.state is None:
        if other_file is not None:
            raise UserError(f"{receipt.where}: the receipt names no state, so --state-in can't be used")
        return receipt.request, ""
    name = other_file or receipt.state["file"]
    if not name:
        raise UserError(f"{receipt.where}: the state was not in a file; name one with --state-in FILE")
    data = states.read(name)
    digest = hashlib.sha256(data).hexdigest()
    if digest != receipt.state["sha256"]:
        raise ModelError(f"{name!r} is not the receipt's state; if that has moved, name it with --state-in FILE")
    request = dataclasses.replace(receipt.request, state=states.parse(model, data, name), state_sha256=digest)
    return request, receipt.state["file"]


def check_reproduced(model: LoadedModel, receipt: Receipt, made: Mapping[str, Any]) -> None:
    """Raise `ModelError` if the new record `made` differs from the receipt's."""
    same = all(receipt.record.get(key, made.get(key)) == made.get(key) for key in _COMPARED)
    nats = receipt.record.get("log_probability")
    if same and (not isinstance(nats, float) or math.isclose(nats, made["log_probability"], rel_tol=1e-5)):
        return
    before, now = receipt.provenance["arithmetic"], model.engine.arithmetic
    why = f"its arithmetic was {before}, here it is {now}" if before != now else "the record was changed"
    raise ModelError(f"{receipt.where}: cannot reproduce sample {receipt.index}: {why}")


def replay(model: LoadedModel, data: Mapping[str, Any], state_file: str | None = None) -> dict[str, Any]:
    """Generate the text of a record again. Raises as `parse`, `check` and `replay_texts` do."""
    receipt = parse(data)
    check(model, receipt)
    (made,) = replay_texts(model, [receipt], state_file)
    return made


def replay_texts(model: LoadedModel, job: Sequence[Receipt], state_file: str | None = None) -> Iterator[dict[str, Any]]:
    """Generate the texts of a job again, each compared with its receipt before it is yielded.

    Raises as `with_state`, `bounded_request` and `check_reproduced` do.
    """
    request, name = with_state(model, job[0], state_file)
    drawn = bounded_request(model, job, request)
    replaying = model.for_replay(job[0].provenance)
    made = records(replaying, request, len(job), job[0].index, name, drawn)
    for receipt in job:
        sample = next(made, None)
        if sample is None:
            raise ModelError(f"{receipt.where}: cannot reproduce sample {receipt.index}: --beam finds fewer texts")
        check_reproduced(replaying, receipt, sample)
        yield sample


def bounded_request(model: LoadedModel, job: Sequence[Receipt], request: SampleRequest) -> SampleRequest:
    """The request that draws the samples of a job again, which is over soon where they differ from the receipts.

    Raises `DataError` for options that exclude each other, or are of another task.
    """
    try:
        sampling.check(model, request, len(job), job[0].index)
    except (UserError, ModelError) as error:
        raise DataError(f"{job[-1].where}: the receipt is damaged: {error}") from error
    return _shortened(request, job)


def records(
    model: LoadedModel, request: SampleRequest, count: int, first: int = 0, state_file: str = "",
    drawn: SampleRequest | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Generate `count` texts, numbered from `first`, as the objects that `sample --json` writes.

    Args:
        drawn: the request that they are generated by; `request`, which is in their receipts, by default.
    """
    from seqgen.generation.sampling.beam import generate

    job = sampling.prepare(model, drawn or request)
    copied, receipt = sampling.copy_measure(model), make_receipt(model, request, job.prompt.text, state_file)
    for _, sample in generate(job, count, first):
        if sample is not None:
            yield record(sample, receipt, None if copied is None else copied(sample.text))
