"""`seqgen score`: the cross-entropy of text under a model."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
from collections.abc import Iterable
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
from seqgen.streams import is_terminal

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.scoring import RecordScorer, Score
    from seqgen.generation.state import SavedState

_COLOURS = ("never", "auto", "always")


EXAMPLES = (
    "seqgen score tales tidewater",
    "tail -n 100 app.log | seqgen score logs --lines",
    "tail -n 100 app.log | seqgen score logs --lines --above 99%",
)


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
            help="With --lines: print only lines that are less probable than P percent of the held-out lines, as text; "
            "on a terminal with what was surprising marked. With --per-token, as JSON.",
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
    if percent is not None:
        if not lines:
            raise UserError("--above is for --lines")
        if context_cache:
            raise UserError("--above can't be used with --context-cache: held-out lines were measured without one")
    if colour == "always" and (per_token or (lines and percent is None)):
        flag = "--per-token" if per_token else "--lines"
        raise UserError(f"{flag} can't be used with --colour always, which prints the text instead")
    names = sources_or_stdin(sources, "there is nothing to score")
    from seqgen.api import states
    from seqgen.api.model import load
    from seqgen.corpus.shards import Shard

    if [*names, state_in].count("-") > 1:
        raise DataError("standard input can be read only once: '-' is given twice")
    part = Shard.parse(shard)
    loaded = load(model, device=device)
    spec = TASKS.find(loaded.task)
    if lines and not spec.is_plain_text:
        raise UserError(f"--lines is for text; {spec.record}")
    for flag, given in (("--state-in", state_in), ("--state-out", state_out), ("--colour", colour != "never")):
        if given and not spec.is_plain_text:
            raise UserError(f"{flag} is for text; this is a model for {loaded.task}")
    limit = -math.inf
    if percent is not None:
        from seqgen.generation.held_out_lines import nats_above

        limit = nats_above(loaded.checkpoint.config, percent)
    if context_cache:
        check_option_group("--context-cache", "context_cache", loaded.task)
    state = None if state_in is None else states.load(loaded, state_in)
    if state_out is not None:
        states.check_stdout(state_out, output, is_terminal(sys.stdout))
    log = StderrLogger(quiet)
    from seqgen import tasks
    from seqgen.corpus import sources as reading
    from seqgen.corpus.opening.pipes import read_pipe

    accepts, rows = tasks.accepts(loaded.task), tasks.rows(loaded.task, loaded.text_column)
    with Output(output) as out, reading.Spool() as spool:
        as_text = reading.ReadOptions(
            encoding, TOKENIZERS.find(loaded.codec.name).decodes_text or not spec.is_plain_text, loaded.sheet
        )
        find = functools.partial(
            reading.find, spool=spool, warn=log.warn, accepts=accepts, rows=rows, reading=as_text, report=log.info
        )
        decode = as_text.decode and not spec.composes
        from_pipe = functools.partial(read_pipe, warn=log.warn, encoding=encoding, decode=decode)
        if spec.record_reader is not None:
            for score in loaded.score_records(
                reading.checksum_documents(find(names), log.warn), per_token, part, context_cache
            ):
                out.write(_json(score))
            return
        records = open_records(names, find, from_pipe)
        if not part.is_whole:
            documents = [document for name in names for document in find([name])]
            records = ((document.name, document.chunks()) for document in part.select_documents(documents))
        if state_out is not None:
            only = list(records)
            if len(only) > 1:
                raise UserError(f"--state-out saves the state after one record, and here are {len(only):,}")
            records = iter(only)
        coloured = colour == "always" or (colour == "auto" and out.use_colour)
        if not (coloured or lines or per_token or state_out or "-" in names):
            from seqgen.api.scoring import score_documents

            for score in score_documents(loaded, records, state, context_cache):
                out.write(_json(score))
            return
        from seqgen.api.scoring import RecordScorer

        saved = None
        for title, chunks in records:
            with contextlib.closing(chunks):
                record = RecordScorer(loaded, state, context_cache)
                if percent is not None:
                    marked = coloured or (colour == "never" and out.use_colour)
                    saved = _unlikely_lines(out, record, loaded, iter_lines(chunks), title, limit, marked, per_token)
                elif coloured:
                    saved = _highlight(out, record, loaded, chunks, title if len(names) > 1 else "")
                else:
                    saved = _score(out, record, loaded, chunks, title, lines, per_token)
    if state_out is not None and saved is not None:
        write_state(loaded, saved, state_out)


def _score(
    out: Output,
    record: RecordScorer,
    model: Model,
    chunks: Iterable[bytes],
    title: str,
    lines: bool,
    per_token: bool,
) -> SavedState:
    """Write the score of a record, or of each of its lines, as JSON. Returns the state at its end."""
    if lines:
        from seqgen.api.scoring import score_lines

        for score in score_lines(model, iter_lines(chunks), title, per_token, record):
            out.write(_json(score))
        return record.saved()
    name = "standard input" if title == "-" else repr(title)
    try:
        pieces = record.read(chunks)
        first = next(pieces, None)
        if first is None:
            raise DataError(f"{name} is empty")
        if not per_token:
            for _ in pieces:
                pass
            out.write(_json(record.score(title)))
        else:  # tokens are written as they are scored: a record may be of any length
            out.write(f'{{"name": {to_json(title)}, "per_token": [')
            out.write(to_json(record.pieces(first))[1:-1])
            for scored in pieces:
                out.write(", " + to_json(record.pieces(scored))[1:-1])
            score = record.score(title)
            rest = to_json({"tokens": score.tokens, "nats": score.nats, "bits_per_byte": score.bits_per_byte})
            out.write("], " + rest[1:] + "\n")
    except DataError as error:
        if not TASKS.find(model.task).composes:
            raise
        raise DataError(f"{name}: {error}") from error
    return record.saved()


def _unlikely_lines(
    out: Output, record: RecordScorer, model: Model, lines: Iterable[bytes], title: str, limit: float, marked: bool,
    per_token: bool,
) -> SavedState:  # fmt: skip
    """Write the lines of more than `limit` nats, `marked` by surprisal or as they are. Returns the state at the end."""
    from seqgen.cli.highlight import SurprisalHighlighter

    for number, line in enumerate(lines, start=1):
        pieces = list(record.read_line(line))
        if record.score("").nats <= limit:
            continue
        if per_token:
            tokens = [token for piece in pieces for token in record.pieces(piece)]
            out.write(_json(record.score(f"{title}:{number}", tokens)))
        elif marked:
            highlighter = SurprisalHighlighter(model.codec)
            out.write_raw("".join(map(highlighter.highlight, pieces)) + highlighter.finish())
        else:
            out.write(line if line.endswith(b"\n") else line + b"\n")
    return record.saved()


def _parse_percent(text: str) -> float:
    """`99.5%` → 99.5. Raises `UserError` for anything else."""
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not 0 <= percent <= 100:
        raise UserError(f"--above must be a percentage such as 99.5%, not {text[:24]!r}")
    return percent


def _highlight(out: Output, record: RecordScorer, model: Model, chunks: Iterable[bytes], title: str) -> SavedState:
    """Write the text of a record, coloured by surprisal, as it is read. Returns the state at its end."""
    from seqgen.cli.highlight import SurprisalHighlighter

    highlighter = SurprisalHighlighter(model.codec)
    if title:
        out.write(f"==> {title} <==\n")
    for scored in record.read(chunks):
        out.write_raw(highlighter.highlight(scored))
    out.write_raw(highlighter.finish())
    return record.saved()


def _json(score: Score) -> str:
    record = {
        "name": score.name, "tokens": score.tokens, "nats": score.nats, "bits_per_byte": score.bits_per_byte,
    }  # fmt: skip
    if score.per_token is not None:
        record["per_token"] = score.per_token
    return to_json(record) + "\n"
