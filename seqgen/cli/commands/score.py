"""`seqgen score`: the cross-entropy of text under a model."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from seqgen.cli.inputs import iter_lines, open_records, sources_or_stdin
from seqgen.cli.options import DeviceOption, EncodingOption, ModelArgument, OutputOption, QuietOption, ShardOption
from seqgen.cli.output import Output, StderrLogger, to_json, write_state
from seqgen.config.inference import MAX_CONTEXT_CACHE
from seqgen.config.settings import check_option_group
from seqgen.errors import DataError, UserError
from seqgen.specs.tasks import TASKS
from seqgen.specs.tokenizers import TOKENIZERS
from seqgen.streams import check_stdin_once, is_terminal

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.scoring import RecordScorer, Score
    from seqgen.corpus.shards import Shard
    from seqgen.corpus.sources import Document, ReadOptions
    from seqgen.generation.state import SavedState

    Records = Iterator[tuple[str, Generator[bytes, None, None]]]  # the name and the bytes of each

_COLOURS = ("never", "auto", "always")


EXAMPLES = (
    "seqgen score tales tidewater",
    "tail -n 100 app.log | seqgen score logs --lines",
    "tail -n 100 app.log | seqgen score logs --lines --above 99%",
)


@dataclasses.dataclass(frozen=True)
class _ScoreFlags:
    """The flags that decide what is written of each record, and what it is scored after.

    Attributes:
        above: A percentage of the held-out lines; None without --above.
        colour: One of `_COLOURS`.
    """

    lines: bool
    above: float | None
    per_token: bool
    colour: str
    state_in: str | None
    state_out: str | None
    context_cache: int

    @property
    def json_only(self) -> str:
        """The flag that asks for more JSON than one object a record; '' for none."""
        lines = "--lines" if self.lines and self.above is None else ""
        return "--per-token" if self.per_token else lines


def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE...", help="Texts to score [default: standard input].")
    ] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Score each line as a record, with the lines before it as context.")
    ] = False,
    above: Annotated[
        str | None,
        typer.Option(
            metavar="P%",
            help="With --lines: print only lines less probable than P percent of the held-out lines. They are text, "
            "with surprising parts marked on a terminal, or JSON with --per-token.",
        ),
    ] = None,
    per_token: Annotated[bool, typer.Option("--per-token", help="Add every token with its nats.")] = False,
    colour: Annotated[
        str,
        typer.Option(
            "--colour",
            "--color",
            metavar="|".join(_COLOURS),
            help="Print the text instead, coloured by surprisal; auto: only on a terminal [default: never].",
            show_default=False,
        ),
    ] = "never",
    state_in: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="State, as --state-out writes it, to start every record from.")
    ] = None,
    state_out: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="File for the state after the record, or after its last line.")
    ] = None,
    context_cache: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=MAX_CONTEXT_CACHE,
            help="Mix the prediction with that of a cache of the latest N tokens; 0 for none.",
        ),
    ] = 0,
    output: OutputOption = "-",
    shard: ShardOption = None,
    encoding: EncodingOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Score text by its cross-entropy under a model.

    Writes one JSON line per record (a file, or with --lines a line) with tokens, nats and bits_per_byte.
    `--shard 3/16` scores the third sixteenth of the files, also with --lines, where each line needs those before it;
    of dialogue, the third sixteenth of the conversations.
    """
    if colour not in _COLOURS:
        raise UserError(f"--colour must be one of {', '.join(_COLOURS)}; not {colour!r}")
    percent = None if above is None else _parse_percent(above)
    flags = _ScoreFlags(lines, percent, per_token, colour, state_in, state_out, context_cache)
    _check_flags(flags)
    names = sources_or_stdin(sources, "there is nothing to score")
    from seqgen import tasks
    from seqgen.api import states
    from seqgen.api.model import load
    from seqgen.corpus import sources as reading
    from seqgen.corpus.shards import Shard
    from seqgen.generation.held_out_lines import nats_above

    check_stdin_once([*names, state_in])
    part = Shard.parse(shard)
    loaded = load(model, device=device)
    _check_model(loaded, flags)
    limit = None if percent is None else nats_above(loaded.checkpoint.config, percent)
    state = None if state_in is None else states.load(loaded, state_in)
    if state_out is not None:
        states.check_stdout(state_out, output, is_terminal(sys.stdout))
    log, spec = StderrLogger(quiet), TASKS.find(loaded.task)
    saved = None
    with Output(output) as out, reading.Spool() as spool:
        as_text = reading.ReadOptions(
            encoding, TOKENIZERS.find(loaded.codec.name).decodes_text or not spec.is_plain_text, loaded.sheet
        )
        find = functools.partial(
            reading.find, spool=spool, warn=log.warn, accepts=tasks.accepts(loaded.task),
            rows=tasks.rows(loaded.task, loaded.text_column), reading=as_text, report=log.info,
        )  # fmt: skip
        if spec.record_reader is not None:
            documents = reading.checksum_documents(find(names), log.warn)
            _write_scores(out, loaded.score_records(documents, per_token, part, context_cache))
            return
        records = _open(names, part, find, as_text, loaded, log)
        if state_out is not None:
            records = _only(records)
        writer = _RecordWriter(out, loaded, flags, limit, titled=len(names) > 1)
        if writer.is_coloured or lines or per_token or state_out or "-" in names:
            saved = writer.write(records, state)
        else:
            from seqgen.api.scoring import score_documents

            _write_scores(out, score_documents(loaded, records, state, context_cache))
    if state_out is not None and saved is not None:
        write_state(loaded, saved, state_out)


def _parse_percent(text: str) -> float:
    """`99.5%` → 99.5. Raises `UserError` for anything else."""
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise UserError(f"--above must be a percentage such as 99.5%, not {text[:24]!r}")
    return percent


def _check_flags(flags: _ScoreFlags) -> None:
    """Raise `UserError` for flags that exclude each other, whatever the model."""
    if flags.above is not None:
        if not flags.lines:
            raise UserError("--above needs --lines")
        if flags.context_cache:
            raise UserError("--above can't be used with --context-cache: held-out lines were measured without one")
    if flags.colour == "always" and flags.json_only:
        raise UserError(f"{flags.json_only} can't be used with --colour always, which prints the text instead")


def _check_model(model: Model, flags: _ScoreFlags) -> None:
    """Raise `UserError` for flags of other models."""
    spec = TASKS.find(model.task)
    if flags.lines and not spec.is_plain_text:
        raise UserError(f"--lines is for text; {spec.record}")
    given = (("--state-in", flags.state_in), ("--state-out", flags.state_out), ("--colour", flags.colour != "never"))
    for flag, value in given:
        if value and not spec.is_plain_text:
            raise UserError(f"{flag} is for text; this is a model for {model.task}")
    if flags.context_cache:
        check_option_group("--context-cache", "context_cache", model.task)


def _open(
    names: list[str], part: Shard, find: Callable[[list[str]], list[Document]], as_text: ReadOptions, model: Model,
    log: StderrLogger,
) -> Records:  # fmt: skip
    """The records of the sources, or those of a shard."""
    from seqgen.corpus.opening.pipes import read_pipe

    if not part.is_whole:
        documents = [document for name in names for document in find([name])]
        return ((document.name, document.chunks()) for document in part.select_documents(documents))
    decode = as_text.decode and not TASKS.find(model.task).composes
    return open_records(
        names, find, functools.partial(read_pipe, warn=log.warn, encoding=as_text.encoding, decode=decode)
    )


def _only(records: Records) -> Records:
    """The only record. Raises `UserError` if there are several."""
    only = list(records)
    if len(only) != 1:
        number = f"there are {len(only):,}" if only else "this shard has none"
        raise UserError(f"--state-out saves the state after one record, and {number}; score one")
    return iter(only)


def _write_scores(out: Output, scores: Iterable[Score]) -> None:
    for score in scores:
        out.write(_json(score))


@dataclasses.dataclass(frozen=True)
class _RecordWriter:
    """Scores records one by one, and writes them as they are read.

    Attributes:
        limit: Nats of a line from which on --above prints it; None without --above.
        titled: Whether a title stands above each coloured record.
    """

    out: Output
    model: Model
    flags: _ScoreFlags
    limit: float | None
    titled: bool

    @property
    def is_coloured(self) -> bool:
        """Whether the text is written, coloured by its surprisal, in place of JSON."""
        wanted = self.flags.colour == "auto" and self.out.use_colour and not self.flags.json_only
        return self.flags.colour == "always" or wanted

    def write(self, records: Records, state: SavedState | None) -> SavedState | None:
        """Write all records, each scored after `state`. Returns the state at the end of the last one."""
        from seqgen.api.scoring import RecordScorer

        saved = None
        for title, chunks in records:
            with contextlib.closing(chunks):
                record = RecordScorer(self.model, state, self.flags.context_cache)
                if self.limit is not None:
                    self._unlikely_lines(record, iter_lines(chunks), title, self.limit)
                elif self.is_coloured:
                    self._highlight(record, chunks, title)
                elif self.flags.lines:
                    self._lines(record, chunks, title)
                else:
                    self._whole(record, chunks, title)
                saved = record.saved()
        return saved

    def _unlikely_lines(self, record: RecordScorer, lines: Iterable[bytes], title: str, limit: float) -> None:
        """Write the lines of more than `limit` nats, marked by surprisal or as they are, or as JSON."""
        from seqgen.cli.highlight import SurprisalHighlighter

        marked = self.is_coloured or (self.flags.colour == "never" and self.out.use_colour)
        for number, line in enumerate(lines, start=1):
            pieces = list(record.read_line(line))
            if record.score("").nats <= limit:
                continue
            if self.flags.per_token:
                tokens = [token for piece in pieces for token in record.pieces(piece)]
                self.out.write(_json(record.score(f"{title}:{number}", tokens)))
            elif marked:
                highlighter = SurprisalHighlighter(self.model.codec)
                self.out.write_raw("".join(map(highlighter.highlight, pieces)) + highlighter.finish())
            else:
                self.out.write(line if line.endswith(b"\n") else line + b"\n")

    def _highlight(self, record: RecordScorer, chunks: Iterable[bytes], title: str) -> None:
        """Write the text of a record, coloured by surprisal, as it is read."""
        from seqgen.cli.highlight import SurprisalHighlighter

        highlighter = SurprisalHighlighter(self.model.codec)
        if self.titled:
            self.out.write(f"==> {title} <==\n")
        for scored in record.read(chunks):
            self.out.write_raw(highlighter.highlight(scored))
        self.out.write_raw(highlighter.finish())

    def _lines(self, record: RecordScorer, chunks: Iterable[bytes], title: str) -> None:
        """Write the score of each line as JSON."""
        from seqgen.api.scoring import score_lines

        _write_scores(self.out, score_lines(self.model, iter_lines(chunks), title, self.flags.per_token, record))

    def _whole(self, record: RecordScorer, chunks: Iterable[bytes], title: str) -> None:
        """Write the score of a record as JSON."""
        name = "standard input" if title == "-" else repr(title)
        try:
            pieces = record.read(chunks)
            first = next(pieces, None)
            if first is None:
                raise DataError(f"{name} is empty")
            if not self.flags.per_token:
                for _ in pieces:
                    pass
                self.out.write(_json(record.score(title)))
            else:  # tokens are written as they are scored: a record may be of any length
                self.out.write(f'{{"name": {to_json(title)}, "per_token": [')
                self.out.write(to_json(record.pieces(first))[1:-1])
                for scored in pieces:
                    self.out.write(", " + to_json(record.pieces(scored))[1:-1])
                score = record.score(title)
                rest = to_json({"tokens": score.tokens, "nats": score.nats, "bits_per_byte": score.bits_per_byte})
                self.out.write("], " + rest[1:] + "\n")
        except DataError as error:
            if not TASKS.find(self.model.task).composes:
                raise
            raise DataError(f"{name}: {error}") from error


def _json(score: Score) -> str:
    record = {
        "name": score.name, "tokens": score.tokens, "nats": score.nats, "bits_per_byte": score.bits_per_byte,
    }  # fmt: skip
    if score.per_token is not None:
        record["per_token"] = score.per_token
    return to_json(record) + "\n"
