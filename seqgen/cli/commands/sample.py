"""`seqgen sample`: write text, compose music."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.options import (
    ExactOption,
    JsonOption,
    Output,
    QuietOption,
    ShardOption,
    StderrLogger,
    add_options,
    handle_broken_pipe,
    to_json,
    write_state,
)
from seqgen.config import MusicOptions, SampleOptions, SearchOptions, flag_name, make_options
from seqgen.errors import UserError

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.sampling import SampleRequest
    from seqgen.generation.state import SavedState
    from seqgen.generation.text import Sample


@handle_broken_pipe
@add_options(SampleOptions)
@add_options(SearchOptions, "search")
@add_options(MusicOptions, "music_options")
def run(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="A folder that `train` made.")] = None,
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
    state_in: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Go on from where --state-out left a text, or a piece.")
    ] = None,
    state_out: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Keep where the text, or the piece, has got to.")
    ] = None,
    replay: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Make samples again from what --json wrote; MODEL may be left out."),
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
    as_json: JsonOption = False,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE|-", help="Where it goes; with -n, music's folder.")
    ] = "-",
    plot: Annotated[str | None, typer.Option(metavar="FILE.png", help="Music: also draw the piano roll.")] = None,
    engine: Annotated[str, typer.Option(metavar="auto|light|torch", help="What computes.")] = "auto",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")] = "auto",
    precision: Annotated[str, typer.Option(metavar="fp32|bf16", help="Of the products, by the torch engine.")] = "fp32",
    exact: ExactOption = False,
    shard: ShardOption = None,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
    search: dict[str, Any] = {},  # noqa: B006
    music_options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Write text or compose music with a model.

    The prompt is repeated before the text and not counted in --length. Filters run in the order of their flags below.
    `--shard 3/16` writes the third sixteenth of the -n samples.
    """
    make_options(SampleOptions, options), make_options(SearchOptions, search)
    voice = StderrLogger(quiet)
    if replay is not None:
        made_by = {"--prompt": prompt, "--prompt-file": prompt_file, "--label": label, "--primer": primer,
                   "--state-out": state_out, "--stop-at-end": stop_at_end, "--adaptive": adaptive, "--exact": exact,
                   "-n": n > 1, "--first": first, "--shard": shard}  # fmt: skip
        made_by |= {flag_name(name): True for name in (*options, *search, *music_options)}
        for flag in (flag for flag, value in made_by.items() if value):
            raise UserError(f"--replay takes all from the receipt: leave {flag} out")
        from seqgen.cli.replay import replay_all

        replay_all(replay, model, state_in, output, plot, as_json, show_prompt)
        return
    if model is None:
        raise UserError("MODEL is missing: name the folder that `train` made")
    if prompt is not None and prompt_file is not None:
        raise UserError("give --prompt or --prompt-file, not both")
    from seqgen import checkpoint
    from seqgen.api import sampling as writing
    from seqgen.api.model import Model
    from seqgen.corpus.shards import Shard
    from seqgen.streams import is_terminal, read_whole

    own = Shard.parse(shard).index_range(n)

    if [prompt_file, primer, state_in].count("-") > 1:
        raise UserError("standard input can be read once only: '-' is given twice")
    chosen, searched = writing.settings({**options, **search})
    streams = n * max(searched.best_of, searched.beam)
    loaded = Model(checkpoint.load(model), engine, device, exact, precision, streams)
    loaded.check(chosen)
    _check_flags(loaded, prompt is not None or prompt_file is not None, chosen, label, primer, plot, music_options)
    state, digest = None, ""
    if state_in is not None:
        import hashlib

        from seqgen.api import states

        data = states.read(state_in)
        state, digest = states.parse(loaded, data, state_in), hashlib.sha256(data).hexdigest()
        chosen, searched = writing.settings({**options, **search}, state)
    begin = read_whole(prompt_file) if prompt_file is not None else (prompt or "").encode("utf-8", "surrogateescape")
    music = None if primer is None else read_whole(primer)
    asked = writing.SampleRequest(
        chosen, searched, make_options(MusicOptions, music_options), begin, label, stop_at_end, adaptive, state, digest, music,
        to_be_continued=state_out is not None and loaded.task == "music",
    )  # fmt: skip
    writing.check(loaded, asked, n, first)
    if state_out is not None:
        from seqgen.api import states

        writing.check_state_output(loaded, asked, n)
        states.check_target(state_out, "-" if as_json and loaded.task == "music" else output, is_terminal(sys.stdout))
    if loaded.task != "music":
        _write(loaded, asked, own, n, first, as_json, show_prompt, output, state_in or "", state_out, voice)
        return
    from seqgen.api.composing import compose_as, load_primer
    from seqgen.cli.music_output import PieceWriter

    place = PieceWriter(output, plot, n, first, as_json, show_prompt, asked.music_options)
    piece = load_primer(loaded, music, primer or "")
    for composed in compose_as(loaded, asked, len(own), first + own.start, piece, as_json, voice.info):
        place.write(composed, loaded, asked, state_in or "")
        if state_out is not None and composed.saved is not None:
            write_state(loaded, composed.saved, state_out)


def _check_flags(
    model: Model, prompted: bool, options: SampleOptions, label: str | None, primer: str | None, plot: str | None,
    music_options: dict[str, Any],
) -> None:  # fmt: skip
    """Raises `UserError` for flags of another task."""
    if model.task == "music":
        if label is not None:
            raise UserError("--label is for labelled texts; this is a model for music")
        if prompted or options.stop:
            raise UserError("this is a model for music: it goes on from --primer FILE.mid, and has no text to stop at")
        return
    for flag in [flag_name(name) for name in music_options] + ["--primer"] * bool(primer) + ["--plot"] * bool(plot):
        raise UserError(f"{flag} is for music; this is a model for {model.task}")


def _write(
    model: Model, asked: SampleRequest, own: range, n: int, first: int, as_json: bool, show_prompt: bool, output: str,
    state_in: str, state_out: str | None, voice: StderrLogger,
) -> None:  # fmt: skip
    """Texts as they come, or as lines of JSON."""
    from seqgen.api import sampling as writing
    from seqgen.generation.sampling.beam import generate

    kept: list[SavedState] = []

    def on_state(sample: Sample, saved: SavedState) -> None:
        kept.append(saved)

    job = writing.prepare(model, asked, state_out is not None, voice.info)
    if as_json:
        from seqgen.api import receipts

        receipt, copied = receipts.make_receipt(model, asked, job.prompt.text, state_in), writing.longest_copy(model)
    with Output(output) as out:
        starting = True
        for text, sample in generate(job, len(own), first + own.start, None if state_out is None else on_state):
            if as_json:
                if sample is not None:
                    count = None if copied is None else copied(sample.text)
                    out.write(to_json(receipts.record(sample, receipt, count)) + "\n")
                continue
            if starting and show_prompt:
                out.write(job.prompt.text)
            starting = sample is not None
            if text:
                out.write(text)
            if sample is not None and (n > 1 or out.terminal):
                last = sample.index == first + n - 1
                out.write("\n" if last else "\n\n")
    if state_out is not None and kept:
        write_state(model, kept[0], state_out)
