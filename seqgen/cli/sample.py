"""`seqgen sample`: write text."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Annotated

import typer

from seqgen.cli.common import AsJson, ModelFolder, Output, Quiet, add_options, pipes, to_json
from seqgen.config import SampleOptions, make
from seqgen.errors import UserError


@pipes
@add_options(SampleOptions)
def run(
    model: ModelFolder,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "--primetext", "--start", "--prefix", "-p", help="Text to go on from."),
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="A file to go on from, byte for byte.")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--num-samples", min=1, help="How many samples.")] = 1,
    first: Annotated[
        int, typer.Option("--first", min=0, help="Number of the first sample: -n 1 --first 3 is sample 3 of any -n.")
    ] = 0,
    show_prompt: Annotated[bool, typer.Option(help="Whether the prompt stands before the text.")] = True,
    stop_at_end: Annotated[
        bool, typer.Option("--stop-at-end", help="Let the model end a text where a document would end.")
    ] = False,
    as_json: AsJson = False,
    output: Annotated[str, typer.Option("-o", "--output", metavar="FILE|-", help="Where the text goes.")] = "-",
    engine: Annotated[str, typer.Option(metavar="auto|light|torch", help="What computes.")] = "auto",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")] = "auto",
    quiet: Quiet = False,
    options: dict[str, object] = {},  # noqa: B006 - filled by add_options
) -> None:
    """Write text with a model.

    The prompt is repeated before the text and not counted in --length. Filters run in the order of their flags below.
    """
    settings = make(SampleOptions, options)
    if prompt is not None and prompt_file is not None:
        raise UserError("give --prompt or --prompt-file, not both")
    from seqgen import checkpoint
    from seqgen.api.model import Model
    from seqgen.generation.text import stream_in_order
    from seqgen.streams import open_input, read_chunks

    loaded = Model(checkpoint.load(model), engine, device)
    if prompt_file is not None:
        stream = open_input(prompt_file)
        with contextlib.nullcontext(stream) if prompt_file == "-" else contextlib.closing(stream):
            begin = b"".join(read_chunks(stream, prompt_file))
    else:
        begin = (prompt or "").encode("utf-8", "surrogateescape")
    primed = loaded.prime(begin)
    with Output(output) as out:
        starting = True
        for text, sample in stream_in_order(loaded.engine, loaded.codec, primed, settings, n, first, stop_at_end):
            if as_json:
                if sample is not None:
                    out.write(to_json(dataclasses.asdict(sample)) + "\n")
                continue
            if starting and show_prompt:
                out.write(begin)
            starting = sample is not None
            if text:
                out.write(text)
            if sample is not None and (n > 1 or out.terminal):
                last = sample.index == first + n - 1
                out.write("\n" if last else "\n\n")
