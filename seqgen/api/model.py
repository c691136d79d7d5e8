"""A trained model, for Python: `load(folder)` gives a `Model`; the commands call the same methods."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen import checkpoint
from seqgen.checkpoint import Checkpoint
from seqgen.config import SampleOptions, make
from seqgen.errors import ModelError, UserError
from seqgen.generation import text as generation
from seqgen.generation.engine import Engine, make_engine
from seqgen.generation.text import Sample
from seqgen.tokenizers import Codec, decode

if TYPE_CHECKING:
    from seqgen.corpus.sources import Document, Progress, Warn
    from seqgen.model.network import Network


@dataclass(frozen=True)
class Score:
    """What a record costs the model: nats in all, and bits a byte. `per_token`: the pieces and their nats."""

    name: str
    tokens: int
    nats: float
    bits_per_byte: float
    per_token: list[tuple[str, float]] | None = None


def load(folder: str | os.PathLike[str]) -> Model:
    """The model in `folder`. Raises `ModelError` if it is missing, damaged, or newer than this program."""
    return Model(checkpoint.load(Path(folder)))


class Model:
    """A model folder at work. Nothing heavy is read before it is needed."""

    def __init__(self, loaded: Checkpoint, engine: str = "auto", device: str = "auto") -> None:
        self.checkpoint = loaded
        self._engine_name = engine
        self._device = device

    @property
    def codec(self) -> Codec:
        return self.checkpoint.codec

    @property
    def task(self) -> str:
        return self.checkpoint.task

    @cached_property
    def engine(self) -> Engine:
        """What samples are drawn with: without torch, unless a device other than the processor was asked for."""
        loaded = self.checkpoint
        return make_engine(loaded.network, loaded.weights(), self._engine_name, self._device)

    @cached_property
    def network(self) -> Network:
        """The network with its weights, in torch, in evaluation mode."""
        from seqgen.generation.torch_engine import load_network
        from seqgen.training import device

        # One stream is a chain of small products: a second thread would only be waited for.
        compute = device.choose("cpu" if self._device == "auto" else self._device, "fp32", threads=1)
        return load_network(self.checkpoint.network, self.checkpoint.weights()).to(compute.device)

    def sample(
        self, prompt: str | bytes = "", n: int = 1, *, first: int = 0, stop_at_end: bool = False, **options: Any
    ) -> list[Sample]:
        """`n` texts that go on from `prompt`.

        Args:
            first: the number of the first sample: sample i is the same whatever `n` and `first` are.
            stop_at_end: let the model end a text where a document would end, before `length`.
            options: fields of `config.SampleOptions`.
        """
        settings = make(SampleOptions, options)
        primed = self.prime(prompt)
        return list(generation.samples(self.engine, self.codec, primed, settings, n, first, stop_at_end))

    def stream(self, prompt: str | bytes = "", **options: Any) -> Iterator[str]:
        """One text, in pieces of whole characters, as it is written."""
        primed = self.prime(prompt)
        for piece, _ in generation.stream_in_order(self.engine, self.codec, primed, make(SampleOptions, options), 1):
            yield piece

    def prime(self, prompt: str | bytes) -> generation.Primed:
        """Reads a prompt once, for any number of samples."""
        self._must_be_of_text("write")
        data = prompt.encode("utf-8", "surrogateescape") if isinstance(prompt, str) else prompt
        return generation.prime(self.engine, self.codec, data)

    def score(self, chunks: Iterable[bytes] | bytes | str, name: str = "", per_token: bool = False) -> Score:
        """What one record costs. Every token counts, the first one too, given that a record begins."""
        from seqgen.evaluation.text import token_nats

        self._must_be_of_text("score")
        if isinstance(chunks, str):
            chunks = chunks.encode("utf-8", "surrogateescape")
        chunks = [chunks] if isinstance(chunks, bytes) else chunks
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                yield chunk

        tokens, nats = 0, 0.0
        details: list[tuple[str, float]] | None = [] if per_token else None
        for scored in token_nats(self.network, self.codec, counted()):
            tokens += len(scored.ids)
            nats += float(scored.nats.sum())
            if details is not None:
                details += zip(self._spell(scored.ids), scored.nats.tolist(), strict=True)
        return Score(name, tokens, nats, _bits_per_byte(nats, size), details)

    def score_lines(self, lines: Iterable[bytes], name: str = "", per_token: bool = False) -> Iterator[Score]:
        """What each line costs, given all lines before it: one pass, in flat memory."""
        from seqgen.evaluation.text import Scorer

        self._must_be_of_text("score")
        scorer = Scorer(self.network, self.codec)
        for number, line in enumerate(lines, start=1):
            pieces = list(scorer.read(self.codec.encode(line)))
            nats = sum(float(piece.nats.sum()) for piece in pieces)
            details = None
            if per_token:
                details = [pair for p in pieces for pair in zip(self._spell(p.ids), p.nats.tolist(), strict=True)]
            tokens = sum(len(piece.ids) for piece in pieces)
            yield Score(f"{name}:{number}", tokens, nats, _bits_per_byte(nats, len(line)), details)

    def evaluate(
        self,
        sources: Sequence[str] | str,
        *,
        rivals: bool = True,
        progress: Progress | None = None,
        warn: Warn = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """How well the model does on `sources`, as `evaluate --json` prints it. Every document is a record."""
        from seqgen.corpus import sources as reading
        from seqgen.evaluation import compressors
        from seqgen.evaluation.text import Tally, tally

        self._must_be_of_text("evaluate")
        began = time.monotonic()
        names = [sources] if isinstance(sources, str) else list(sources)
        with reading.Spool() as spool:
            documents = reading.measure(reading.find(names, spool, progress, warn), warn)
            trained_on = {source["sha256"] for source in self.checkpoint.sources}
            for document in documents:
                if document.sha256 in trained_on:
                    warn(f"{document.name!r} is a text that the model was trained on (but for a held-out part)")
            result = Tally()
            for document in documents:
                tell(f"reading {document.name}")
                tally(self.network, self.codec, document.chunks(), result)
            metrics = result.metrics()
            if not metrics:
                raise UserError("one character is too little to evaluate on: nothing comes after it")
            baselines: dict[str, Any] = {}
            if rivals and result.bytes <= compressors.MOST:
                tell("asking the rivals")
                records = [b"".join(document.chunks()) for document in documents]
                baselines = compressors.rivals(records, self._training_text(documents), result)
        return {
            "task": self.task,
            "records": result.records,
            "tokens": result.tokens,
            "characters": result.characters,
            "bytes": result.bytes,
            "seconds": round(time.monotonic() - began, 3),
            "metrics": metrics,
            "baselines": baselines,
        }

    def _training_text(self, evaluated: list[Document]) -> bytes:
        """What the model learnt from, without what was held out, if the sources still lie where they lay, unchanged,
        and are not what is evaluated; otherwise nothing."""
        from seqgen.corpus import sources as reading
        from seqgen.corpus import split
        from seqgen.evaluation.compressors import MOST

        documents = []
        for source in self.checkpoint.sources:
            path = Path(source["name"])
            if source["bytes"] > MOST or not path.is_file():
                return b""
            (document,) = reading.measure([reading.Document(source["name"], path)])
            if document.sha256 != source["sha256"] or document.sha256 in {each.sha256 for each in evaluated}:
                return b""
            documents.append(document)
        config = self.checkpoint.config
        own_valid = bool(config["data"].get("valid_sources"))
        fraction = config["training"].get("options", {}).get("val_fraction", 0.0)
        parts = split.whole(documents) if own_valid else split.hold_out(documents, fraction)[0]
        return b"".join(chunk for part in parts for chunk in part.chunks())

    def info(self) -> dict[str, Any]:
        """config.json, with the number of parameters and the bytes of the weights."""
        from seqgen.model.layout import parameter_count

        size = (self.checkpoint.folder / checkpoint.WEIGHTS).stat().st_size
        return {
            **self.checkpoint.config,
            "parameters": parameter_count(self.checkpoint.network),
            "weights_bytes": size,
        }

    def _must_be_of_text(self, what: str) -> None:
        if self.task != "text":
            raise ModelError(f"this is a model for {self.task}, with which this version can't {what}")

    def _spell(self, ids: Iterable[int]) -> list[str]:
        return [decode(self.codec, [token]).decode("utf-8", "backslashreplace") for token in ids]


def _bits_per_byte(nats: float, size: int) -> float:
    import math

    return nats / math.log(2) / max(size, 1)
