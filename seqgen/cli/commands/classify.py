"""`seqgen classify`: label texts."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.inputs import line_batches, open_records, sources_or_stdin
from seqgen.cli.options import (
    DeviceOption,
    EncodingOption,
    ModelArgument,
    OutputOption,
    QuietOption,
    ShardOption,
    add_options,
)
from seqgen.cli.output import Output, StderrLogger, to_csv, to_json
from seqgen.config import ClassifyOptions, make_options
from seqgen.errors import UserError
from seqgen.specs.tasks import RowLayout
from seqgen.untrusted import as_bytes, one_line

if TYPE_CHECKING:
    from seqgen.api.classifying import Prediction
    from seqgen.corpus.documents import Document
    from seqgen.corpus.labelled.unlabelled import UnlabelledOptions, UnlabelledTable
    from seqgen.corpus.sources import Spool

Predict = Callable[[list[bytes]], Iterator["Prediction"]]


EXAMPLES = (
    'echo "I loved every page" | seqgen classify mood',
    "seqgen classify mood reviews --top-k 2 --format jsonl",
)


@add_options(ClassifyOptions)
def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Tables, or texts, one per line [default: standard input]."),
    ] = None,
    output: OutputOption = "-",
    shard: ShardOption = None,
    encoding: EncodingOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Predict the label of each line of text, or of each row of a table.

    Each input line gives one output line, LABEL<TAB>PROBABILITY; none is skipped or added. In a table (.csv, .tsv,
    .xlsx) or JSON, the column or key that the model was trained on is read; a table's header and blank lines of JSON
    give none. Probabilities are calibrated: of the texts labelled with probability 0.8, about four in five have that
    label.
    `--format fasttext` writes `__label__LABEL PROBABILITY`, `--format jsonl` a JSON object per line, `--format csv` the
    table with two more columns. `--shard 3/16` labels the third sixteenth of the lines. `--explain` adds the sentence
    that counts most for the label; on a terminal the whole text in colour; in JSON every sentence with what the label's
    log-odds lose without it.
    """
    settings = make_options(ClassifyOptions, options)
    if settings.explain and settings.format not in _EXPLAINED:
        raise UserError(f"--explain can't be used with --format {settings.format}; use text or jsonl")
    names = sources_or_stdin(sources, "there is nothing to classify")
    from seqgen.api.classifying import make_classifier, predict_batch
    from seqgen.api.model import load
    from seqgen.corpus import sources as reading
    from seqgen.corpus.dataset_rows import RowFormat
    from seqgen.corpus.labelled.unlabelled import UnlabelledOptions
    from seqgen.corpus.opening.pipes import read_pipe
    from seqgen.corpus.shards import Shard

    part = Shard.parse(shard)
    loaded = load(model, device=device)
    classifier = make_classifier(loaded)
    multi = loaded.checkpoint.classifier_config.multi
    columns = UnlabelledOptions.of_model(
        loaded.trained_columns("text"), loaded.text_column, settings.text_column, settings.sheet
    )

    def predict(texts: list[bytes]) -> Iterator[Prediction]:
        return predict_batch(classifier, texts, multi, settings)

    with Output(output) as out, reading.Spool() as spool:
        warn = StderrLogger(quiet).warn
        find = functools.partial(
            reading.find, spool=spool, warn=warn, rows=RowFormat(RowLayout.RECORDS),
            reading=reading.ReadOptions(encoding, sheet=loaded.sheet),
        )  # fmt: skip
        if settings.format == "csv":
            if not part.is_whole:
                raise UserError("--shard cannot be used with --format csv; use --format jsonl")
            _write_tables(out, find(names), predict, columns, warn)
            return
        coloured = settings.explain and settings.format == _LINES and out.use_colour
        format_prediction, write = _FORMATS[settings.format], out.write
        if coloured:
            format_prediction, write = _coloured, out.write_raw
        from_pipe = functools.partial(read_pipe, warn=warn, encoding=encoding)
        as_lines = functools.partial(_as_lines, columns=columns, spool=spool, warn=warn)
        streams: Iterable[Iterable[bytes]]
        if part.is_whole:
            records = open_records(names, lambda some: list(map(as_lines, find(some))), from_pipe)
            streams = (_pipe_lines(chunks, columns, spool, warn) if name == "-" else chunks for name, chunks in records)
        else:  # standard input is spooled first: its length is known only at its end
            streams = part.select_lines([as_lines(document) for name in names for document in find([name])])
        for chunks in streams:
            for batch in line_batches(chunks):
                texts = [line.removesuffix(b"\n").removesuffix(b"\r") for line in batch]
                write("".join(map(format_prediction, predict(texts))))


def _as_lines(document: Document, columns: UnlabelledOptions, spool: Spool, warn: Callable[[str], None]) -> Document:
    """A document with one text a line: that of each row of a table, or of each object of JSON lines."""
    from seqgen.corpus.documents import Document
    from seqgen.corpus.labelled.unlabelled import json_texts, open_unlabelled_table

    texts = json_texts(document, columns)
    if texts is None:
        table = open_unlabelled_table(document, columns, warn)
        if table is None:
            return document
        texts = (text for _, text in table.rows())
    return Document(document.name, spool.store(map(_as_line, texts), document.name))


def _pipe_lines(
    chunks: Iterable[bytes], columns: UnlabelledOptions, spool: Spool, warn: Callable[[str], None]
) -> Iterable[bytes]:
    """The lines of a pipe as they arrive, or the texts in JSON lines; of a table or array the texts once it has ended.

    The first line, or the first object of an array, shows what it is.
    """
    from seqgen.corpus.documents import Document
    from seqgen.corpus.labelled.unlabelled import begins_array, begins_table, piped_json

    chunks = iter(chunks)
    first = b""
    is_array: bool | None = None
    while (b"\n" not in first or is_array is None) and len(first) < _MAX_HEADER_BYTES:
        if not (chunk := next(chunks, b"")):
            break
        first += chunk
        is_array = begins_array(first, columns)
    whole = itertools.chain([first], chunks)
    first_line = first.split(b"\n", 1)[0]
    if (read := piped_json(first_line, columns)) is not None:
        return _json_lines(whole, read)
    if not is_array and not begins_table(first_line.decode("utf-8", "replace"), columns):
        return whole
    document = Document("-", spool.store(whole, "standard input"))
    return _as_lines(document, columns, spool, warn).chunks()


def _json_lines(chunks: Iterable[bytes], read: Callable[[list[bytes], int], Iterator[str]]) -> Iterator[bytes]:
    """The texts in JSON lines, one a line, as many at a time as have arrived."""
    number = 1
    for batch in line_batches(chunks):
        yield b"".join(map(_as_line, read(batch, number)))
        number += len(batch)


def _as_line(text: str) -> bytes:
    return as_bytes(" ".join(text.splitlines()) + "\n")


_MAX_HEADER_BYTES = 1 << 16


def _write_tables(
    out: Output, documents: list[Document], predict: Predict, columns: UnlabelledOptions, warn: Callable[[str], None]
) -> None:
    """Write tables with the label and its probability behind each row, which are empty for rows without text.

    Raises:
        DataError: a document is no table.
    """
    from seqgen.corpus.labelled.unlabelled import json_texts, open_unlabelled_table
    from seqgen.corpus.opening.form import quoted
    from seqgen.errors import DataError

    header: list[str] | None = None
    for document in documents:
        is_json = json_texts(document, columns) is not None  # whose lines may all have as many commas
        opened = None if is_json else open_unlabelled_table(document, columns, warn, is_table=True)
        if opened is None:
            raise DataError(f"{quoted(document.name)} is no table; --format csv needs one (.csv, .tsv, .xlsx)")
        table = opened.table
        own = [*table.header, *_new_names(table.header)] if table.has_header else []
        mark = table.dialect.delimiter if table.dialect.delimiter.strip(" ") else ","
        if header is None and own:
            out.write(to_csv([own], mark))
        elif header is not None and own != header:
            raise DataError(f"{document.name!r} has other columns than {documents[0].name!r}; label them one by one")
        header = own
        for batch in _batches(opened):
            texts = [as_bytes(text) for _, text in batch if text]
            predictions = predict(texts)
            rows = []
            for cells, text in batch:
                found = next(predictions) if text else None
                last = table.width - 1
                padded = [*cells[:last], mark.join(cells[last:]), *[""] * (last - len(cells))]
                added = ["", ""] if found is None else [";".join(name for name, _ in found.labels),
                                                        f"{found.probability:.4f}"]  # fmt: skip
                rows.append([*padded, *added])
            out.write(to_csv(rows, mark))


def _new_names(header: Iterable[str]) -> list[str]:
    """The names of the new columns: other ones if the table has them already."""
    taken = set(header)
    return [
        next(
            name
            for name in itertools.chain([wanted], (f"{wanted}_{number}" for number in itertools.count(2)))
            if name not in taken
        )
        for wanted in ("label", "probability")
    ]


def _batches(table: UnlabelledTable) -> Iterator[list[tuple[list[str], str]]]:
    rows = table.rows()
    while batch := list(itertools.islice(rows, _BATCH_ROWS)):
        yield batch


_BATCH_ROWS = 1000


def _text(prediction: Prediction) -> str:
    cells = [f"{one_line(label)}\t{probability:.4f}" for label, probability in prediction.labels]
    if prediction.sentences:
        most = max(prediction.sentences, key=lambda sentence: sentence.log_odds)
        cells.append(one_line(most.text.decode("utf-8", "replace").strip()))
    return "\t".join(cells) + "\n"


def _coloured(prediction: Prediction) -> str:
    """The label and the text: red sentences speak for the label, blue ones against it."""
    from seqgen.cli.highlight import coloured_values

    largest = max(abs(sentence.log_odds) for sentence in prediction.sentences) or 1.0
    steps = [
        ("", " ".join(text.decode("utf-8", "replace").splitlines()) + " ", value)
        for text, value in prediction.sentences
    ]
    return (
        _text(dataclasses.replace(prediction, sentences=())).removesuffix("\n")
        + "\t"
        + coloured_values(steps, -largest, largest)
        + "\n"
    )


def _jsonl(prediction: Prediction) -> str:
    return to_json(prediction.to_json()) + "\n"


def _fasttext(prediction: Prediction) -> str:
    parts = (f"__label__{'_'.join(label.split())} {probability:.6g}" for label, probability in prediction.labels)
    return " ".join(parts) + "\n"


_FORMATS = {"text": _text, "jsonl": _jsonl, "fasttext": _fasttext}
_LINES = "text"  # the format of one line for each text
_EXPLAINED = (_LINES, "jsonl")  # formats that have a place for sentences
