"""`seqgen sample --replay`: generate samples again from their receipts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from seqgen.cli.inputs import iter_lines
from seqgen.cli.output import Output, to_json
from seqgen.errors import ModelError
from seqgen.specs.tasks import TASKS

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.receipts import Receipt


def replay_all(
    source: str, folder: str | None, state: str | None, output: str, format: str | None,
    plot: str | None, as_json: bool, with_prompt: bool,
) -> None:  # fmt: skip
    """Generate all samples of a file of receipts again, in order, and write what `sample` wrote.

    Each is compared with its receipt before it is written.

    Args:
        source: The file, or `-`.
        folder: The model; None for the one that the receipts name.
        state: File of the state to start from; None for the one that the receipts name.
        output: File or folder, or `-`.
        format: Format of a piece of music; None for that of the file's suffix, or else MIDI.
        plot: PNG file of a piece of music.
        as_json: Whether to write JSON lines.
        with_prompt: Whether to write the prompt before each sample.
    """
    from seqgen.api import receipts
    from seqgen.api.model import Model
    from seqgen.api.open import open_checkpoint
    from seqgen.streams import open_input, read_chunks

    stream = open_input(source)
    try:
        found = list(receipts.read(iter_lines(read_chunks(stream, source)), source))
    finally:
        if source != "-":
            stream.close()
    model = Model(open_checkpoint(folder if folder is not None else receipts.model_folder(found[0])))
    for receipt in found:
        receipts.check(model, receipt)
    if TASKS.find(model.task).composes:
        _replay_pieces(model, found, state, output, format, plot, as_json, with_prompt)
        return
    for flag, given in (("--plot", plot), ("--format", format)):
        if given is not None:
            raise ModelError(f"{flag} is for music; this is a model for {model.task}")
    with Output(output) as out:
        for number, sample in enumerate(_texts(model, found, state), start=1):
            if as_json:
                out.write(to_json(sample) + "\n")
                continue
            out.write(sample["prompt"] * with_prompt + sample["text"])
            if len(found) > 1 or out.terminal:
                out.write("\n" if number == len(found) else "\n\n")


def _texts(model: Model, found: list[Receipt], state: str | None) -> Iterator[dict[str, Any]]:
    from seqgen.api import receipts

    for job in receipts.jobs(found):
        yield from receipts.replay_texts(model, job, state)


def _replay_pieces(
    model: Model, found: list[Receipt], state: str | None, output: str, format: str | None, plot: str | None,
    as_json: bool, with_primer: bool,
) -> None:  # fmt: skip
    from seqgen.api import receipts
    from seqgen.api.composing import compose
    from seqgen.cli.music_output import PieceWriter

    last = max(receipt.index for receipt in found)
    writer = PieceWriter(
        output, format, plot, len(found), last + 1 - len(found), as_json, with_primer, found[0].request.music_options
    )
    for job in receipts.jobs(found):
        request, state_file = receipts.with_state(model, job[0], state)
        drawn = receipts.bounded_request(model, job, request)
        replaying = model.for_replay(job[0].provenance)
        pieces = compose(replaying, drawn, len(job), job[0].index, copies=as_json)
        for receipt, composed in zip(job, pieces, strict=True):
            writer.write(composed, replaying, request, state_file, receipt)
