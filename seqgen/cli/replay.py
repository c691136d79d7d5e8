"""`seqgen sample --replay`: samples made again from their receipts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from seqgen.cli.options import Output, iter_lines, to_json
from seqgen.errors import ModelError

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.receipts import Receipt


def replay_all(
    source: str, folder: str | None, state: str | None, output: str, plot: str | None, as_json: bool, with_prompt: bool
) -> None:
    """Makes all samples of a file of receipts again, in order, with the model in `folder` or where they say it is, and
    writes what `sample` wrote. Each is compared with what its receipt came with before it is written."""
    from seqgen import checkpoint
    from seqgen.api import receipts
    from seqgen.api.model import Model
    from seqgen.streams import open_input, read_chunks

    stream = open_input(source)
    try:
        found = list(receipts.read(iter_lines(read_chunks(stream, source)), source))
    finally:
        if source != "-":
            stream.close()
    model = Model(checkpoint.load(folder if folder is not None else found[0].provenance["folder"]))
    for receipt in found:
        receipts.check(model, receipt)
    if model.task == "music":
        _music(model, found, state, output, plot, as_json, with_prompt)
        return
    if plot is not None:
        raise ModelError(f"--plot is for music; this is a model for {model.task}")
    with Output(output) as out:
        for place, made in enumerate(_texts(model, found, state), start=1):
            if as_json:
                out.write(to_json(made) + "\n")
                continue
            out.write(made["prompt"] * with_prompt + made["text"])
            if len(found) > 1 or out.terminal:
                out.write("\n" if place == len(found) else "\n\n")


def _texts(model: Model, found: list[Receipt], state: str | None) -> Iterator[dict[str, Any]]:
    from seqgen.api import receipts

    for job in receipts.jobs(found):
        request, name = receipts.with_state(model, job[0], state)
        computing = model.for_replay(job[0].provenance, request)
        for receipt, made in zip(job, receipts.records(computing, request, len(job), job[0].index, name), strict=True):
            receipts.check_reproduced(computing, receipt, made)
            yield made


def _music(
    model: Model, found: list[Receipt], state: str | None, output: str, plot: str | None, as_json: bool,
    with_primer: bool,
) -> None:  # fmt: skip
    from seqgen.api import receipts
    from seqgen.api.composing import compose_as
    from seqgen.cli.music_output import PieceWriter

    last = max(receipt.index for receipt in found)
    place = PieceWriter(
        output, plot, len(found), last + 1 - len(found), as_json, with_primer, found[0].request.music_options
    )
    for job in receipts.jobs(found):
        request, name = receipts.with_state(model, job[0], state)
        computing = model.for_replay(job[0].provenance, request)
        pieces = compose_as(computing, request, len(job), job[0].index, copies=as_json)
        for receipt, composed in zip(job, pieces, strict=True):
            place.write(composed, computing, request, name, receipt)
