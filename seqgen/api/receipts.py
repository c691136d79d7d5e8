"""Receipts: what a sample says of how it was made, from which it is made again, byte for byte.

The objects that `sample --json` writes hold their number, seed and prompt; `receipt` holds the rest: which model (by
its fingerprint), which options beside their defaults, what computed it and how, and which version. A state that it went
on from is named by its file and sha256; a primer is in it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import seqgen
from seqgen import config
from seqgen.api import sampling as writing
from seqgen.api import states
from seqgen.api.sampling import SampleRequest
from seqgen.config import MusicOptions, SampleOptions, SearchOptions
from seqgen.errors import DataError, ModelError, UserError
from seqgen.generation.text import Sample
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.api.model import Model

T = TypeVar("T")

_COMPARED = ("text", "bars", "tokens", "finish_reason")
_LONGEST_LINE = 1 << 28  # bytes
_WISHES = ("stop_at_end", "adaptive", "to_be_continued")  # told where they are so
_WORDS = ("model", "folder", "engine", "arithmetic", "device", "precision", "seqgen")


@dataclass(frozen=True)
class Receipt:
    """A receipt, read and checked. `record` is the object that it came in; `where` names its line, for people."""

    where: str
    record: Mapping[str, Any]
    index: int
    request: SampleRequest  # without the state
    provenance: Mapping[str, str]  # _WORDS
    state: Mapping[str, str] | None

    def is_same_job(self, other: Receipt) -> bool:
        """Whether both are of one job: samples that differ in their numbers alone."""
        return (self.request, self.provenance, self.state) == (other.request, other.provenance, other.state)


def make_receipt(model: Model, request: SampleRequest, shown_prompt: str = "", state_file: str = "") -> dict[str, Any]:
    """The receipt of a sample of this model. `shown_prompt` is what its record says that its prompt is."""
    options: dict[str, Any] = {"length": request.options.length_for(model.task)}
    for part in (request.options, request.search, request.music_options):
        for item in dataclasses.fields(part):
            value = getattr(part, item.name)
            if item.name not in ("length", "seed") and value != item.default:
                options[item.name] = list(value) if isinstance(value, tuple) else value
    receipt: dict[str, Any] = {
        "seqgen": seqgen.__version__, "model": model.checkpoint.fingerprint, "folder": str(model.checkpoint.folder),
        "engine": model.engine_name, "arithmetic": model.engine.arithmetic, "device": model.device,
        "precision": model.precision, "options": options,
    }  # fmt: skip
    if request.prompt.decode("utf-8", "surrogateescape") != shown_prompt:
        receipt["prompt"] = request.prompt.decode("utf-8", "surrogateescape")
    if request.label is not None:
        receipt["label"] = request.label
    receipt |= {name: True for name in _WISHES if getattr(request, name)}
    if request.state is not None:
        receipt["state"] = {"file": state_file, "sha256": request.state_sha256}
    if request.primer is not None:
        receipt["primer"] = base64.b64encode(request.primer).decode()
    return receipt


def record(sample: Sample, receipt: Mapping[str, Any], copied: int | None = None) -> dict[str, Any]:
    """A sample of text as `sample --json` writes it."""
    found = dataclasses.asdict(sample)
    if copied is not None:
        found["longest_copy"] = copied
    return {**found, "receipt": dict(receipt)}


def read(lines: Iterable[bytes], name: str) -> Iterator[Receipt]:
    """The receipts in lines of JSON. Raises `DataError`, which names the line, for what is none."""
    number, empty = 0, True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        empty = False
        where = f"{name!r}, line {number:,}"
        if len(line) > _LONGEST_LINE:
            raise DataError(f"{where}: this is far too long to be a receipt")
        try:
            yield parse(json.loads(line), where)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: this is no JSON ({error})") from error
    if empty:
        raise DataError(f"{name!r} holds no receipt")


def parse(found: Any, where: str = "the record") -> Receipt:
    """The receipt in one object that `sample --json` wrote. Raises `DataError` for anything else."""
    receipt = found.get("receipt") if isinstance(found, dict) else None
    if not isinstance(receipt, dict):
        raise DataError(f"{where}: there is no receipt; `sample --json` writes one")
    try:
        options = {**receipt["options"], "seed": found["seed"]}
        primer = receipt.get("primer")
        request = SampleRequest(
            _taken(SampleOptions, options),
            _taken(SearchOptions, options),
            _taken(MusicOptions, options),
            as_bytes(receipt.get("prompt", found.get("prompt", ""))),
            receipt.get("label"),
            stop_at_end=bool(receipt.get("stop_at_end", False)),
            adaptive=bool(receipt.get("adaptive", False)),
            primer=None if primer is None else base64.b64decode(primer, validate=True),
            to_be_continued=bool(receipt.get("to_be_continued", False)),
        )
        if options:
            raise UserError(f"there is no option {str(next(iter(options)))[:40]!r}")
        provenance = {name: receipt[name] for name in _WORDS}
        state, index = receipt.get("state"), found["index"]
        words = [
            *provenance.values(),
            *([] if state is None else [state["file"], state["sha256"]]),
            request.label or "",
        ]
        if not all(isinstance(word, str) for word in words) or type(index) is not int or not 0 <= index < 1 << 62:
            raise UserError("a part of it is of another type")
        if found.get("finish_reason") == "length" and request.options.length is not None:
            made = max(len(found.get("text", "")), found.get("bars", 0))
            if request.options.length > 2 * made + 100:  # nobody should wait for what it is not
                raise UserError(f"it asks for a length of {request.options.length:,}, and came with {made:,}")
    except (KeyError, TypeError, ValueError, AttributeError, UserError, binascii.Error) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise DataError(f"{where}: the receipt is damaged, or of another version of seqgen: {what}") from error
    return Receipt(where, found, index, request, provenance, state)


def _taken(kind: type[T], options: dict[str, Any]) -> T:
    """The options of one kind, taken out of all."""
    names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return config.check(config.from_json(kind, {name: options.pop(name) for name in names if name in options}))


def jobs(receipts: Iterable[Receipt]) -> Iterator[list[Receipt]]:
    """Receipts that follow one another and can be made again together."""
    found: list[Receipt] = []
    for receipt in receipts:
        if found and not (receipt.is_same_job(found[0]) and receipt.index == found[-1].index + 1):
            yield found
            found = []
        found.append(receipt)
        if len(found) == _TOGETHER:
            yield found
            found = []
    if found:
        yield found


_TOGETHER = 1024  # samples of a job at most: they are held in memory


def check(model: Model, receipt: Receipt) -> None:
    """Raises `ModelError` where the receipt is of another model."""
    if receipt.provenance["model"] != model.checkpoint.fingerprint:
        raise ModelError(
            f"{receipt.where}: the receipt is of another model than {str(model.checkpoint.folder)!r}, or of this one "
            "before it was trained further"
        )


def with_state(model: Model, receipt: Receipt, other_file: str | None = None) -> tuple[SampleRequest, str]:
    """What the receipt asks for, its state read from where it says, or from another file; and that file's name. Raises
    `ModelError` where the state is not the one."""
    if receipt.state is None:
        if other_file is not None:
            raise UserError(f"{receipt.where}: the receipt names no state, so --state-in has no place")
        return receipt.request, ""
    name = other_file or receipt.state["file"]
    if not name:
        raise UserError(f"{receipt.where}: the state is in no file; --state-in FILE names one")
    data = states.read(name)
    digest = hashlib.sha256(data).hexdigest()
    if digest != receipt.state["sha256"]:
        raise ModelError(f"{name!r} is not the state of the receipt; --state-in FILE names it where it lies elsewhere")
    request = dataclasses.replace(receipt.request, state=states.parse(model, data, name), state_sha256=digest)
    return request, receipt.state["file"]


def check_reproduced(model: Model, receipt: Receipt, made: Mapping[str, Any]) -> None:
    """Raises `ModelError` where what was made is not what the receipt came with."""
    same = all(receipt.record.get(key, made.get(key)) == made.get(key) for key in _COMPARED)
    nats = receipt.record.get("log_probability")
    if same and (not isinstance(nats, float) or math.isclose(nats, made["log_probability"], rel_tol=1e-5)):
        return
    how, here = receipt.provenance["arithmetic"], model.engine.arithmetic
    why = f"it was computed as {how}, here as {here}" if how != here else "its parts do not belong together"
    raise ModelError(f"{receipt.where}: sample {receipt.index} can't be made again here: {why}")


def replay(model: Model, found: Mapping[str, Any], state_file: str | None = None) -> dict[str, Any]:
    """The record of a text made again from its receipt. Raises as `parse`, `check`, `with_state` and `check_reproduced` do."""
    receipt = parse(found)
    check(model, receipt)
    request, name = with_state(model, receipt, state_file)
    model = model.for_replay(receipt.provenance, request)
    (made,) = records(model, request, 1, receipt.index, name)
    check_reproduced(model, receipt, made)
    return made


def records(
    model: Model, request: SampleRequest, count: int, first: int = 0, state_file: str = ""
) -> Iterator[dict[str, Any]]:
    """Samples of text as `sample --json` writes them."""
    from seqgen.generation.sampling.beam import generate

    job = writing.prepare(model, request)
    copied, receipt = writing.longest_copy(model), make_receipt(model, request, job.prompt.text, state_file)
    for _, sample in generate(job, count, first):
        if sample is not None:
            yield record(sample, receipt, None if copied is None else copied(sample.text))
