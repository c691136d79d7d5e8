"""A trained model, for Python: `load(folder)` gives a `Model`; the commands call the same methods."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen import checkpoint
from seqgen.api import sampling as writing
from seqgen.api.sampling import SampleRequest
from seqgen.checkpoint import Checkpoint
from seqgen.config import (
    ClassifyOptions,
    EvaluateOptions,
    ForecastOptions,
    MusicOptions,
    ReplyOptions,
    SampleOptions,
    check_task,
    make_options,
)
from seqgen.errors import ModelError
from seqgen.generation.engines.base import Engine, choose, make_engine
from seqgen.generation.sampling.beam import generate
from seqgen.generation.state import SavedState
from seqgen.generation.text import Sample, StateCallback
from seqgen.tokenizers import Codec
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from seqgen.api.classifying import Prediction
    from seqgen.api.forecasting import Forecast
    from seqgen.api.scoring import Score
    from seqgen.corpus.shards import Shard
    from seqgen.corpus.sources import Document, Progress, Warn
    from seqgen.generation.dialogue import Conversation
    from seqgen.generation.music.composing import Composition
    from seqgen.model.forecaster import Forecaster
    from seqgen.model.language import LanguageModel
    from seqgen.music.piece import Piece
    from seqgen.tokenizers.dialogue import DialogueCodec


def load(folder: str | os.PathLike[str], exact: bool = False) -> Model:
    """The model in `folder`; `exact` as in `Model`. Raises `ModelError` if it is missing, damaged, or newer than this
    program."""
    return Model(checkpoint.load(Path(folder)), exact=exact)


class Model:
    """A model folder at work. Nothing heavy is read before it is needed.

    Samples are drawn with weights rounded to 8 bits where that is faster and was seen, at the end of training, to cost
    no more than 0.005 bits a token; with `exact`, never. Scores and measures are exact in any case.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        engine: str = "auto",
        device: str = "auto",
        exact: bool = False,
        precision: str = "fp32",
        batch_size: int = 1,
    ) -> None:
        """`engine`, `device`, `precision` and `batch_size`, how many samples there will be, as `generation.engine.choose`
        takes them."""
        self.checkpoint = loaded
        self.engine_name = choose(engine, device, precision, batch_size)
        self._exact = exact
        self.device = device
        self.precision = precision

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
        return self._made(loaded.weights(), self._exact or not loaded.may_be_rounded)

    @cached_property
    def exact_engine(self) -> Engine:
        """The same with weights that are never rounded: what scores are measured with."""
        engine = self.__dict__.get("engine")
        if engine is not None and (self._exact or not self.checkpoint.may_be_rounded):
            return engine
        return self._made(self.checkpoint.weights(), True)

    def _made(self, weights: Mapping[str, npt.NDArray[np.float32]], exact: bool) -> Engine:
        network = self.checkpoint.language_config
        return make_engine(network, weights, self.engine_name, self.device, exact, self.precision)

    def for_replay(self, provenance: Mapping[str, str], asked: SampleRequest) -> Model:
        """The same model, computing as a receipt says that it did."""
        exact = provenance["arithmetic"] != "8 bits"
        engine, device, precision = provenance["engine"], provenance["device"], provenance["precision"]
        return Model(self.checkpoint, engine, device, exact, precision, asked.batch_size)

    @cached_property
    def forecaster(self) -> Forecaster:
        """The network of a model that forecasts, with its weights, in evaluation mode. Raises `ModelError` for
        another model."""
        import torch

        from seqgen.api.forecasting import forecaster_config
        from seqgen.model.forecaster import Forecaster
        from seqgen.training import device

        forecaster = Forecaster(forecaster_config(self))
        compute = device.choose("cpu" if self.device == "auto" else self.device, "fp32", threads=1)
        forecaster.load_state_dict({n: torch.from_numpy(w) for n, w in self.checkpoint.weights().items()})
        return forecaster.to(compute.device).eval()

    @cached_property
    def network(self) -> LanguageModel:
        """The network with its weights, in torch, in evaluation mode."""
        from seqgen.generation.engines.torch import load_network
        from seqgen.training import device

        # One stream is a chain of small products: a second thread would only be waited for.
        compute = device.choose("cpu" if self.device == "auto" else self.device, "fp32", threads=1)
        return load_network(self.checkpoint.language_config, self.checkpoint.weights()).to(compute.device)

    def sample(
        self,
        prompt: str | bytes = "",
        n: int = 1,
        *,
        label: str | None = None,
        first: int = 0,
        stop_at_end: bool = False,
        state: SavedState | None = None,
        on_state: StateCallback | None = None,
        **options: Any,
    ) -> list[Sample]:
        """`n` texts that go on from `prompt`.

        Args:
            label: of a model for classify trained to write: what the texts are to be like. They end where they would.
            first: the number of the first sample: sample i is the same whatever `n` and `first` are.
            stop_at_end: let the model end a text where a document would end, before `length`.
            state: where a text was left that is gone on with, before the prompt.
            left: told of each sample, and of the state from which it can be gone on with.
            options: fields of `config.SampleOptions` and `config.SearchOptions`.
        """
        asked = writing.make_request(prompt, options, label, stop_at_end, state)
        writing.check(self, asked, n, first)
        job = writing.prepare(self, asked, keep=on_state is not None)
        return [sample for _, sample in generate(job, n, first, on_state) if sample is not None]

    def records(
        self, prompt: str | bytes = "", n: int = 1, *, first: int = 0, label: str | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """`n` texts as `sample --json` writes them: each with what is needed to make it again (`replay`)."""
        from seqgen.api import receipts

        asked = writing.make_request(prompt, options, label)
        writing.check(self, asked, n, first)
        return list(receipts.records(self, asked, n, first))

    def replay(self, record: Mapping[str, Any], state_file: str | None = None) -> dict[str, Any]:
        """The record of a text made again from one that `records` or `sample --json` gave. Raises `ModelError` where
        it is of another model or comes out otherwise, `DataError` where it is damaged."""
        from seqgen.api import receipts

        return receipts.replay(self, record, state_file)

    def read(self, text: str | bytes, state: SavedState | None = None) -> SavedState:
        """Where the model is after a text, or after more of one: what any number of samples can go on from."""
        found: list[SavedState] = []
        self.sample(text, state=state, on_state=lambda _, saved: found.append(saved), length=0)
        return found[0]

    def save_state(self, state: SavedState, target: str | os.PathLike[str]) -> None:
        """Writes a state into a file, for this model only."""
        from seqgen.api import states

        states.save(self, state, target)

    def load_state(self, source: str | os.PathLike[str]) -> SavedState:
        """The state in a file. Raises `ModelError` where it is damaged or of another model."""
        from seqgen.api import states

        return states.load(self, source)

    def adapt(self, data: bytes) -> None:
        """Lets the weights follow a text (`evaluation.adaptive`): what is sampled from then on is more like it. The
        model folder stays as it is. Raises `ModelError` for a model that is not of text."""
        from seqgen.evaluation.adaptive import AdaptiveScorer

        self.require_text_task("follow a text")
        scorer = AdaptiveScorer(self.network, self.codec)
        for _ in scorer.read(self.codec.encode(data)):
            pass
        weights = {name: weight.cpu().numpy() for name, weight in scorer.network.state_dict().items()}
        self.engine = self._made(weights, exact=True)  # rounding was not measured

    def stream(self, prompt: str | bytes = "", **options: Any) -> Iterator[str]:
        """One text, in pieces of whole characters, as it is written."""
        asked = writing.make_request(prompt, options)
        writing.check(self, asked)
        for piece, _ in generate(writing.prepare(self, asked), 1):
            yield piece

    def check(self, options: SampleOptions) -> None:
        """Raises `UserError` where options mean nothing to what this model writes, or name what it has not."""
        from seqgen.generation.sampling.token_names import resolve_names

        resolve_names(options, self.codec)

    def conversation(
        self, options: SampleOptions | None = None, reply_options: ReplyOptions | None = None
    ) -> Conversation:
        """A conversation with a model for dialogue: `hear` a line, then take the `reply`. Raises `ModelError` for
        another model."""
        from seqgen.generation.dialogue import Conversation

        codec = self.dialogue_codec()
        return Conversation(self.engine, codec, options or SampleOptions(), reply_options or ReplyOptions())

    def dialogue_codec(self) -> DialogueCodec:
        """The codec of a model for dialogue. Raises `ModelError` for another model."""
        from seqgen.tokenizers.dialogue import DialogueCodec

        if not isinstance(self.codec, DialogueCodec):
            raise ModelError(f"this is a model for {self.task}; a conversation needs one for dialogue")
        return self.codec

    def classify(self, texts: Iterable[str | bytes], **options: Any) -> list[Prediction]:
        """The labels of texts, in order. `options`: fields of `config.ClassifyOptions`. Raises `ModelError` for a model
        of another task."""
        from seqgen.api import classifying

        data = (as_bytes(text) if isinstance(text, str) else text for text in texts)
        return list(classifying.predict(self, data, make_options(ClassifyOptions, options)))

    def score(
        self,
        chunks: Iterable[bytes] | bytes | str,
        name: str = "",
        per_token: bool = False,
        state: SavedState | None = None,
    ) -> Score:
        """What one record costs, after `state` if one is given. Every token counts, the first one too, given that a
        record begins.

        Raises `DataError` for a record of a model for music that is no MIDI file with notes.
        """

        from seqgen.api import scoring

        return scoring.score(self, chunks, name, per_token, state)

    def score_lines(self, lines: Iterable[bytes], name: str = "", per_token: bool = False) -> Iterator[Score]:
        """What each line costs, given all lines before it: one pass, in flat memory."""
        from seqgen.api import scoring

        return scoring.score_lines(self, lines, name, per_token)

    def compose(
        self,
        primer: str | os.PathLike[str] | Piece | None = None,
        n: int = 1,
        *,
        first: int = 0,
        stop_at_end: bool = False,
        key: str | None = None,
        tempo: float | None = None,
        state: SavedState | None = None,
        keep: bool = False,
        **options: Any,
    ) -> list[Composition]:
        """`n` pieces of music that go on from `primer`, a MIDI file or a piece on this model's grid.

        Args:
            first: the number of the first piece: piece i is the same whatever `n` and `first` are.
            stop_at_end: let the model end a piece before `length`.
            key: only pitches of this scale, such as "D dorian".
            tempo: quarter notes a minute, all through.
            state: where a piece was left, at a bar line, that is gone on with.
            keep: whether the pieces tell where they have got to (`saved`); their last bar is then one that others
                follow.
            options: fields of `config.SampleOptions` and `config.SearchOptions`; `length` counts bars.
        """
        from seqgen.api import composing

        given = {name: value for name, value in (("tempo", tempo), ("key", key)) if value is not None}
        settings, search = writing.settings(options, state)
        asked = SampleRequest(
            settings,
            search,
            make_options(MusicOptions, given),
            stop_at_end=stop_at_end,
            state=state,
            to_be_continued=keep,
        )
        writing.check(self, asked, n, first)
        if keep:
            writing.check_state_output(self, asked, 1)
        return list(composing.compose_as(self, asked, n, first, composing.load_primer(self, primer), copies=True))

    def score_conversations(
        self, documents: Sequence[Document], per_token: bool = False, part: Shard | None = None
    ) -> Iterator[Score]:
        """What each conversation in these files costs, from nothing to its end: a record is a conversation. Of a
        `part`, those that are in it."""
        from seqgen.api import scoring
        from seqgen.corpus.shards import SINGLE_SHARD

        return scoring.score_conversations(self, documents, per_token, part or SINGLE_SHARD)

    def forecast(self, sources: Sequence[str] | str, warn: Warn = lambda _: None, **options: Any) -> list[Forecast]:
        """What is expected after the last row of each series in `sources`, tables such as it learnt from.

        Args:
            options: fields of `config.ForecastOptions`; with `backtest`, forecasts from the past, the oldest first.
        """
        from seqgen import tasks
        from seqgen.api import forecasting
        from seqgen.corpus import sources as reading

        forecasting.forecaster_config(self)
        settings = make_options(ForecastOptions, options)
        names = [sources] if isinstance(sources, str) else list(sources)
        with reading.Spool() as spool:
            rows = tasks.rows(self.task)
            documents = reading.checksum_documents(reading.find(names, spool, None, warn, rows=rows), warn)
            return list(forecasting.forecasts(self, documents, settings, warn))

    def evaluate(
        self,
        sources: Sequence[str] | str,
        *,
        rivals: bool = True,
        progress: Progress | None = None,
        warn: Warn = lambda _: None,
        report: Callable[[str], None] = lambda _: None,
        **options: Any,
    ) -> dict[str, Any]:
        """How well the model does on `sources`, as `evaluate --json` prints it. Every document is a record.

        Args:
            rivals: whether to measure the naive rivals too.
            options: fields of `config.EvaluateOptions`.
        """
        from seqgen import tasks
        from seqgen.api.evaluate.text import EVALUATORS, EvaluationContext
        from seqgen.corpus import sources as reading

        if self.task not in EVALUATORS:
            raise ModelError(f"this is a model for {self.task}, which this version can't evaluate")
        settings = make_options(EvaluateOptions, options)
        check_task(EvaluateOptions, options, self.task)
        began = time.monotonic()
        names = [sources] if isinstance(sources, str) else list(sources)
        with reading.Spool() as spool:
            accepts, rows = tasks.accepts(self.task), tasks.rows(self.task, self.text_column)
            documents = reading.checksum_documents(reading.find(names, spool, progress, warn, accepts, rows), warn)
            trained_on = {source["sha256"] for source in self.checkpoint.sources}
            known = [document.name for document in documents if document.sha256 in trained_on]
            if known and self.task != "forecast":  # of its own file, only rows not learnt from are taken
                others = f" and {len(known) - 1:,} more" if len(known) > 1 else ""
                warn(f"{known[0]!r}{others}: the model was trained on this (but for a held-out part)")
            result = EVALUATORS[self.task](EvaluationContext(self, documents, settings, rivals, warn, report))
        return {"task": self.task, **result, "seconds": round(time.monotonic() - began, 3)}

    @property
    def text_column(self) -> str | None:
        """The column of a set, or of a table, that it was told to learn from."""
        options = self.checkpoint.config["training"].get("options", {})
        column = options.get("text_column") if isinstance(options, dict) else None
        return column if isinstance(column, str) else None

    def info(self) -> dict[str, Any]:
        """config.json, with the number of parameters and the bytes of the weights."""
        from seqgen.model.weight_shapes import parameter_count

        size = (self.checkpoint.folder / checkpoint.WEIGHTS).stat().st_size
        corpus = self.checkpoint.folder / checkpoint.CORPUS
        return {
            **self.checkpoint.config,
            "parameters": parameter_count(self.checkpoint.network),
            "weights_bytes": size,
            "may_be_rounded": self.checkpoint.may_be_rounded,
            **({"corpus_bytes": corpus.stat().st_size} if corpus.exists() else {}),
        }

    def require_text_task(self, what: str) -> None:
        """Raises `ModelError`, which says what can't be done, for a model that is not of text."""
        if self.task != "text":
            raise ModelError(f"this is a model for {self.task}, with which this version can't {what}")
