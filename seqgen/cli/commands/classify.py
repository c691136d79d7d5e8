"""`seqgen classify`: label texts."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.inputs import line_batches, open_records, sources_or_stdin
from seqgen.cli.options import EncodingOption, ModelArgument, OutputOption, QuietOption, ShardOption, add_options
from seqgen.cli.output import Output, StderrLogger, to_json
from seqgen.config import ClassifyOptions, make_options
from seqgen.specs.tasks import RowLayout
from seqgen.untrusted import one_line

if TYPE_CHECKING:
    from seqgen.api.classifying import Prediction


@add_options(ClassifyOptions)
def run(
    model: ModelArgument,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[SOURCE]...", help="Texts, one per line [default: standard input].")
    ] = None,
    output: OutputOption = "-",
    shard: ShardOption = None,
    encoding: EncodingOption = None,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Predict the label of each line of text.

    Each input line gives one output line, LABEL<TAB>PROBABILITY; none is skipped or added. Probabilities are
    calibrated: of the texts labelled with probability 0.8, about four in five have that label. `--format fasttext`
    writes `__label__LABEL PROBABILITY`, `--format jsonl` a JSON object per line. `--shard 3/16` labels the third
    sixteenth of the lines.
    """
    settings = make_options(ClassifyOptions, options)
    names = sources_or_stdin(sources, "there is nothing to classify")
    from seqgen.api.classifying import make_classifier, to_prediction
    from seqgen.api.model import load
    from seqgen.corpus import sources as reading
    from seqgen.corpus.dataset_rows import RowFormat
    from seqgen.corpus.opening.pipes import read_pipe
    from seqgen.corpus.shards import Shard

    part = Shard.parse(shard)
    loaded = load(model)
    classifier = make_classifier(loaded)
    multi = loaded.checkpoint.classifier_config.multi
    format_prediction = _FORMATS[settings.format]
    rows = RowFormat(RowLayout.LINES, loaded.text_column)
    with Output(output) as out, reading.Spool() as spool:
        warn = StderrLogger(quiet).warn
        find = functools.partial(reading.find, spool=spool, warn=warn, rows=rows, reading=reading.Reading(encoding))
        from_pipe = functools.partial(read_pipe, warn=warn, encoding=encoding)
        streams: Iterable[Iterable[bytes]]
        if part.is_whole:
            streams = (chunks for _, chunks in open_records(names, find, from_pipe))
        else:  # standard input is spooled first: its length is known only at its end
            streams = part.select_lines([document for name in names for document in find([name])])
        for chunks in streams:
            for batch in line_batches(chunks):
                texts = [line.removesuffix(b"\n").removesuffix(b"\r") for line in batch]
                predictions = (to_prediction(row, classifier.labels, multi, settings) for row in classifier(texts))
                out.write("".join(map(format_prediction, predictions)))


def _text(prediction: Prediction) -> str:
    return "\t".join(f"{one_line(label)}\t{probability:.4f}" for label, probability in prediction.labels) + "\n"


def _jsonl(prediction: Prediction) -> str:
    labels = [{"label": label, "probability": probability} for label, probability in prediction.labels]
    return to_json({"label": prediction.label, "probability": prediction.probability, "labels": labels}) + "\n"


def _fasttext(prediction: Prediction) -> str:
    parts = (f"__label__{'_'.join(label.split())} {probability:.6g}" for label, probability in prediction.labels)
    return " ".join(parts) + "\n"


_FORMATS = {"text": _text, "jsonl": _jsonl, "fasttext": _fasttext}
