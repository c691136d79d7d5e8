"""`seqgen sample`: write text, compose music."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from seqgen.cli.common import AsJson, Exact, ModelFolder, Output, Quiet, add_options, pipes, to_json
from seqgen.config import MusicOptions, SampleOptions, flag_name, make
from seqgen.errors import UserError


@pipes
@add_options(SampleOptions)
@add_options(MusicOptions, "wishes")
def run(
    model: ModelFolder,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", "--primetext", "--start", "--prefix", "-p", help="Text to go on from."),
    ] = None,
    prompt_file: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="A file to go on from, byte for byte.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="A text of this label, by a model trained with --generative.")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--num-samples", min=1, help="How many samples.")] = 1,
    first: Annotated[
        int, typer.Option("--first", min=0, help="Number of the first sample: -n 1 --first 3 is sample 3 of any -n.")
    ] = 0,
    primer: Annotated[
        str | None, typer.Option(metavar="FILE.mid", help="Music to go on from; it is kept whole.")
    ] = None,
    show_prompt: Annotated[
        bool, typer.Option(help="Whether the prompt, or the primer, stands before what is new.")
    ] = True,
    stop_at_end: Annotated[
        bool, typer.Option("--stop-at-end", help="Let the model end a text where a document would end.")
    ] = False,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Let the weights follow the prompt while reading it.")
    ] = False,
    as_json: AsJson = False,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE|-", help="Where it goes; with -n, music's folder.")
    ] = "-",
    plot: Annotated[str | None, typer.Option(metavar="FILE.png", help="Music: also draw the piano roll.")] = None,
    engine: Annotated[str, typer.Option(metavar="auto|light|torch", help="What computes.")] = "auto",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")] = "auto",
    exact: Exact = False,
    quiet: Quiet = False,
    options: dict[str, object] = {},  # noqa: B006 - filled by add_options
    wishes: dict[str, object] = {},  # noqa: B006
) -> None:
    """Write text or compose music with a model.

    The prompt is repeated before the text and not counted in --length. Filters run in the order of their flags below.
    """
    settings = make(SampleOptions, options)
    if prompt is not None and prompt_file is not None:
        raise UserError("give --prompt or --prompt-file, not both")
    from seqgen import checkpoint
    from seqgen.api.model import Model
    from seqgen.generation.text import stream_in_order
    from seqgen.streams import read_whole

    loaded = Model(checkpoint.load(model), engine, device, exact)
    if loaded.task == "music":
        if adaptive:
            raise UserError("--adaptive is for text; this is a model for music")
        if label is not None:
            raise UserError("--label is for labelled texts; this is a model for music")
        if prompt is not None or prompt_file is not None or settings.stop:
            raise UserError("this is a model for music: it goes on from --primer FILE.mid, and has no text to stop at")
        from seqgen.cli.composing import Composing

        made = loaded.compose_one_by_one(primer, settings, make(MusicOptions, wishes), n, first, stop_at_end)
        Composing(output, plot, n, first, as_json, show_prompt, make(MusicOptions, wishes)).write(made)
        return
    for flag in [flag_name(name) for name in wishes] + ["--primer"] * bool(primer) + ["--plot"] * bool(plot):
        raise UserError(f"{flag} is for music; this is a model for {loaded.task}")
    begin = (prompt or "").encode("utf-8", "surrogateescape") if prompt_file is None else read_whole(prompt_file)
    if adaptive:
        loaded.follow(begin)
    primed = loaded.prime(begin, label)
    stop_at_end = stop_at_end or label is not None
    with Output(output) as out:
        starting = True
        for text, sample in stream_in_order(loaded.engine, loaded.codec, primed, settings, n, first, stop_at_end):
            if as_json:
                if sample is not None:
                    out.write(to_json(dataclasses.asdict(sample)) + "\n")
                continue
            if starting and show_prompt:
                out.write(primed.text)
            starting = sample is not None
            if text:
                out.write(text)
            if sample is not None and (n > 1 or out.terminal):
                last = sample.index == first + n - 1
                out.write("\n" if last else "\n\n")
