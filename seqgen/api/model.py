"""A trained model in Python: `load(folder)` returns a `Model`; the commands call the same methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from seqgen import checkpoint
from seqgen.api import sampling
from seqgen.api.loaded import LoadedModel
from seqgen.api.open import open_checkpoint
from seqgen.api.sampling import SampleRequest
from seqgen.config import (
    ChatOptions,
    ClassifyOptions,
    EvaluateOptions,
    ForecastOptions,
    MusicOptions,
    ReplyOptions,
    SampleOptions,
    check_task,
    make_options,
)
from seqgen.errors import UserError
from seqgen.generation.sampling.beam import generate
from seqgen.generation.state import SavedState
from seqgen.generation.text import Sample, StateCallback
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.api.classifying import Prediction
    from seqgen.api.composing import PlayableComposition
    from seqgen.api.forecasting import Forecast
    from seqgen.api.inspect.run import Inspection
    from seqgen.api.scoring import Score
    from seqgen.api.sources import Sources
    from seqgen.corpus.shards import Shard
    from seqgen.corpus.sources import Document, Warn
    from seqgen.generation.dialogue import ChatSession
    from seqgen.generation.music.composing import Composition
    from seqgen.music.piece import Piece
    from seqgen.streams import Progress


def load(folder: str | os.PathLike[str], exact: bool = False, device: str = "auto") -> Model:
    """Load the model in `folder`, or `hf:OWNER/NAME[@REVISION]`; `exact` and `device` are those of `LoadedModel`.

    Raises `ModelError` if it is missing, damaged, or newer than this version.
    """
    return Model(open_checkpoint(folder).anchored(), device=device, exact=exact)


def _as_texts(texts: Iterable[str | bytes]) -> Iterator[bytes]:
    """Yield texts as bytes. Raises `UserError` for what is no iterable of texts: one text, a table, a missing value.

    Tables and mappings don't stand for the names of their columns or keys.
    """
    if isinstance(texts, str | bytes | Mapping) or hasattr(texts, "columns") or not isinstance(texts, Iterable):
        raise UserError(f"give the texts as a list or a column, not as {type(texts).__name__}")
    for number, text in enumerate(texts):
        if not isinstance(text, str | bytes):
            raise UserError(f"text {number} is {type(text).__name__}, not str or bytes")
        yield as_bytes(text) if isinstance(text, str) else text


class Model(LoadedModel):
    """A loaded model and all that it can do. Engines and networks are made on first use."""

    def sample(
        self,
        prompt: str | bytes = "",
        n: int = 1,
        *,
        label: str | None = None,
        first: int | None = None,
        stop_at_end: bool = False,
        state: SavedState | None = None,
        on_state: StateCallback | None = None,
        **options: Any,
    ) -> list[Sample]:
        """Generate `n` continuations of `prompt`.

        Args:
            label: the label of the texts, for a generative classifier. They end where the model ends them.
            first: the index of the first sample [default: 0, or that of the state]; sample i is the same whatever `n`
                and `first` are.
            stop_at_end: let the model end a text before `length`, where a document would end.
            state: the saved state of a text to continue; the prompt comes after it.
            on_state: called with each sample's index and the state from which it can be continued.
            options: fields of `config.SampleOptions` and `config.SearchOptions`.
        """
        request = sampling.make_request(prompt, options, label, stop_at_end, state)
        first = sampling.first_index(request, first)
        sampling.check(self, request, n, first)
        job = sampling.prepare(self, request, keep=on_state is not None)
        return [sample for _, sample in generate(job, n, first, on_state) if sample is not None]

    def records(
        self, prompt: str | bytes = "", n: int = 1, *, first: int = 0, label: str | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Generate `n` texts as the objects of `sample --json`, each with the receipt that `replay` takes."""
        from seqgen.api import receipts

        request = sampling.make_request(prompt, options, label)
        sampling.check(self, request, n, first)
        return list(receipts.records(self, request, n, first))

    def replay(self, record: Mapping[str, Any], state_file: str | None = None) -> dict[str, Any]:
        """Generate the text of an object of `records` or `sample --json` again.

        Raises `ModelError` if it is another model's or comes out differently, `DataError` if it is damaged.
        """
        from seqgen.api import receipts

        return receipts.replay(self, record, state_file)

    def read(self, text: str | bytes, state: SavedState | None = None) -> SavedState:
        """Read a text, after `state` if given, and return the state that any number of samples can continue."""
        found: list[SavedState] = []
        self.sample(text, state=state, on_state=lambda _, saved: found.append(saved), length=0)
        return found[0]

    def save_state(self, state: SavedState, target: str | os.PathLike[str]) -> None:
        """Write a state to a file, for this model only. Raises `UserError` if it can't be written."""
        from seqgen.api import states

        states.save(self, state, target)

    def load_state(self, source: str | os.PathLike[str]) -> SavedState:
        """Read a state from a file. Raises `ModelError` if it is damaged or another model's."""
        from seqgen.api import states

        return states.load(self, source)

    def stream(self, prompt: str | bytes = "", **options: Any) -> Iterator[str]:
        """Generate one text, and yield its characters as they come."""
        request = sampling.make_request(prompt, options)
        sampling.check(self, request)
        for piece, _ in generate(sampling.prepare(self, request), 1):
            yield piece

    def check(self, options: SampleOptions) -> None:
        """Raise `UserError` for options that don't apply to this model's tokens, or name tokens it doesn't have."""
        from seqgen.generation.sampling.token_names import resolve_names

        resolve_names(options, self.codec)

    def conversation(
        self, options: SampleOptions | None = None, reply_options: ReplyOptions | None = None
    ) -> ChatSession:
        """Start a conversation: `hear` a line, then take the `reply`. Raises `ModelError` without a dialogue model."""
        from seqgen.generation.dialogue import ChatSession

        codec = self.dialogue_codec()
        options = options or ChatOptions()
        engine = sampling.engine_for(self, options)
        return ChatSession(engine, codec, options, reply_options or ReplyOptions(), self.ranker)

    def classify(self, texts: Iterable[str | bytes], **options: Any) -> list[Prediction]:
        """Predict the labels of each text, in order. Raises `ModelError` for a model of another task.

        Args:
            options: fields of `config.ClassifyOptions`.
        """
        from seqgen.api import classifying

        return list(classifying.predict(self, _as_texts(texts), make_options(ClassifyOptions, options)))

    def score(
        self,
        chunks: Iterable[bytes] | bytes | str,
        name: str = "",
        per_token: bool = False,
        state: SavedState | None = None,
        context_cache: int = 0,
    ) -> Score:
        """Score one record, which continues `state` if given. All tokens count, the first included.

        `context_cache`: tokens of the context cache; 0 for none.

        Raises `DataError` if the model is for music and the record is not a piece with notes.
        """

        from seqgen.api import scoring

        return scoring.score(self, chunks, name, per_token, state, context_cache)

    def score_lines(
        self, lines: Iterable[bytes], name: str = "", per_token: bool = False, context_cache: int = 0
    ) -> Iterator[Score]:
        """Score each line given all lines before it, in one pass and constant memory.

        `context_cache`: tokens of the context cache; 0 for none.
        """
        from seqgen.api import scoring

        record = scoring.RecordScorer(self, context_cache=context_cache)
        return scoring.score_lines(self, lines, name, per_token, record)

    def score_conversations(
        self, documents: Sequence[Document], per_token: bool = False, part: Shard | None = None
    ) -> Iterator[Score]:
        """Score each conversation in the documents, or in a `part` of them. A record is a conversation."""
        self.dialogue_codec()
        return self.score_records(documents, per_token, part)

    def score_records(
        self, documents: Sequence[Document], per_token: bool = False, part: Shard | None = None, context_cache: int = 0
    ) -> Iterator[Score]:
        """Score each record in the documents, or in a `part` of them, for tasks whose records are not documents."""
        from seqgen.api import scoring
        from seqgen.corpus.shards import SINGLE_SHARD

        return scoring.score_records(self, documents, per_token, part or SINGLE_SHARD, context_cache)

    def compose(
        self,
        primer: str | os.PathLike[str] | Piece | Composition | None = None,
        n: int = 1,
        *,
        first: int | None = None,
        stop_at_end: bool = False,
        key: str | None = None,
        tempo: float | None = None,
        state: SavedState | None = None,
        keep: bool = False,
        warn: Warn = lambda _: None,
        **options: Any,
    ) -> list[PlayableComposition]:
        """Compose `n` continuations of `primer`, a file of music, or a piece or composition on this model's grid.

        Args:
            first: the index of the first piece [default: 0, or that of the state]; piece i is the same whatever `n` and
                `first` are.
            stop_at_end: let the model end a piece before `length`.
            key: a scale, such as "D dorian"; melodic tracks play no other pitches.
            tempo: quarter notes per minute for the whole piece; None leaves it to the model.
            state: the saved state of a piece to continue, at a bar line.
            keep: whether pieces carry the state to continue them from (`saved`). Their last bar is then one that
                others may follow.
            warn: called with what the file's damage and the model's grid take from the primer.
            options: fields of `config.SampleOptions` and `config.SearchOptions`; `length` counts bars.
        """
        from seqgen.api import composing

        music = {name: value for name, value in (("tempo", tempo), ("key", key)) if value is not None}
        sample_options, search = sampling.settings(options, state)
        request = SampleRequest(
            sample_options,
            search,
            make_options(MusicOptions, music),
            stop_at_end=stop_at_end,
            state=state,
            to_be_continued=keep,
        )
        first = sampling.first_index(request, first)
        sampling.check(self, request, n, first)
        if keep:
            sampling.check_state_output(self, request, 1)
        primed = composing.load_primer(self, primer, warn=warn)
        return list(composing.compose(self, request, n, first, primed, copies=True))

    def forecast(self, sources: Sources, warn: Warn = lambda _: None, **options: Any) -> list[Forecast]:
        """Forecast from the last row of each series in `sources`, tables with the model's columns.

        Args:
            options: fields of `config.ForecastOptions`; with `backtest`, forecasts from the past, oldest first.
        """
        from seqgen.api import forecasting
        from seqgen.api.sources import as_list

        self.checkpoint.forecaster_config  # noqa: B018 - raises ModelError for other models
        settings = make_options(ForecastOptions, options)
        return list(forecasting.forecast_sources(self, as_list(sources), settings, warn))

    def evaluate(
        self,
        sources: Sources,
        *,
        baselines: bool = True,
        progress: Progress | None = None,
        warn: Warn = lambda _: None,
        report: Callable[[str], None] = lambda _: None,
        **options: Any,
    ) -> dict[str, Any]:
        """Evaluate the model on `sources`, as `evaluate --json` prints it. Every document is a record.

        Args:
            baselines: whether to measure the naive baselines too.
            options: fields of `config.EvaluateOptions`.
        """
        from seqgen.api.evaluate import run
        from seqgen.api.sources import as_list

        settings = make_options(EvaluateOptions, options)
        check_task(EvaluateOptions, options, self.task)
        return run.evaluate(self, as_list(sources), settings, baselines, progress, warn, report)

    def inspect(self, sources: Sources = (), length: int = 2000, *, warn: Warn = lambda _: None) -> Inspection:
        """Read sources, at most `length` steps of them, to see units, gates and gradients along them.

        Without sources, a model of text reads the held-out end of its own.
        """
        from seqgen.api.inspect.run import inspect
        from seqgen.api.sources import as_list

        return inspect(self, as_list(sources), length, warn)

    def info(self) -> dict[str, Any]:
        """config.json, the number of parameters, the bytes of the files, and the tokenizer that another one wraps."""
        from seqgen.model.weight_shapes import parameter_count

        weights_bytes = (self.checkpoint.folder / checkpoint.WEIGHTS).stat().st_size
        corpus = self.checkpoint.folder / checkpoint.CORPUS
        codec: Any = self.checkpoint.preprocessor
        is_wrapper = codec.name in self.checkpoint.spec.wrappers
        return {
            **self.checkpoint.config,
            **({"text_tokenizer": codec.text.name} if is_wrapper else {}),
            "parameters": sum(map(parameter_count, self.checkpoint.networks)),
            "weights_bytes": weights_bytes,
            "may_be_rounded": self.checkpoint.may_be_rounded,
            **({"corpus_bytes": corpus.stat().st_size} if corpus.exists() else {}),
        }

    def _repr_html_(self) -> str:
        """Facts and learning curve, for a notebook."""
        from seqgen.api.describe import damage_named, describe
        from seqgen.plots import notebook

        folder = self.checkpoint.folder
        with damage_named(str(folder)):
            rows = describe(self.info(), self.checkpoint.network)
        facts = notebook.facts(folder.resolve().name, rows)
        return facts + notebook.learning_curve(checkpoint.read_metrics(folder))
