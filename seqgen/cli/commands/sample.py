"""`seqgen sample`: write text, compose music."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.defaults import EXCLUDED
from seqgen.cli.options import ExactOption, JsonOption, QuietOption, ShardOption, add_options, advanced, plot_option
from seqgen.cli.output import Output, StderrLogger, to_json, write_state
from seqgen.config import MusicOptions, SampleOptions, SearchOptions, flag_name, make_options
from seqgen.errors import UserError
from seqgen.specs.tasks import TASKS
from seqgen.specs.tokenizers import TOKENIZERS

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.sampling import SampleRequest
    from seqgen.generation.state import SavedState
    from seqgen.generation.text import Sample

_MAX_SAMPLES = 10**12  # indices and counts stay machine integers


EXAMPLES = (
    'seqgen sample tales --prompt "The lamp" -t 0.7',
    "seqgen sample tales -n 3 --length 200 --json",
    "seqgen sample reels --length 32 -o reel.mid",
)


@add_options(SampleOptions, several={"temperature"})
@add_options(SearchOptions, "search")
@add_options(MusicOptions, "music_options")
def run(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Model folder, as `train` writes it.", show_default=False)
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", "--primetext", "--start", "--prefix", "-p", help="Text to continue.", rich_help_panel="Prompt"
        ),
    ] = None,
    prompt_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="File of text to continue, byte for byte.", rich_help_panel="Prompt"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Label of the text, for models trained with --generative.", rich_help_panel="Prompt"),
    ] = None,
    n: Annotated[
        int,
        typer.Option(
            "-n", "--num-samples", min=1, max=_MAX_SAMPLES, help="Number of samples.", rich_help_panel="Sampling"
        ),
    ] = 1,
    first: Annotated[
        int | None,
        advanced(
            typer.Option(
                "--first",
                min=0,
                max=_MAX_SAMPLES,
                help="Index of the first sample: -n 1 --first 3 is sample 3 of any -n [default: 0, or the state's].",
                rich_help_panel="Sampling",
            )
        ),
    ] = None,
    primer: Annotated[
        str | None, typer.Option(metavar="FILE.mid", help="Music to continue.", rich_help_panel="Prompt")
    ] = None,
    state_in: Annotated[
        str | None,
        advanced(
            typer.Option(
                metavar="FILE|-",
                help="State, as --state-out writes it, of a text or piece to continue.",
                rich_help_panel="Prompt",
            )
        ),
    ] = None,
    state_out: Annotated[
        str | None,
        advanced(
            typer.Option(
                metavar="FILE|-", help="File for the state at the end of the text or piece.", rich_help_panel="Output"
            )
        ),
    ] = None,
    replay: Annotated[
        str | None,
        advanced(
            typer.Option(
                metavar="FILE|-",
                help="Output of --json whose samples to generate again; MODEL is optional then.",
                rich_help_panel="Prompt",
            )
        ),
    ] = None,
    show_prompt: Annotated[
        bool,
        advanced(typer.Option(help="Write the prompt, or the primer, before the sample.", rich_help_panel="Output")),
    ] = True,
    stop_at_end: Annotated[
        bool,
        advanced(
            typer.Option(
                "--stop-at-end", help="End a sample early where the model ends the document.", rich_help_panel="Text"
            )
        ),
    ] = False,
    alternatives: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            metavar="N",
            help="Print each token with its probability, and the N most probable others.",
            rich_help_panel="Text",
        ),
    ] = None,
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive",
            help="On a terminal: choose each word or line among several, or write it yourself.",
            rich_help_panel="Text",
        ),
    ] = False,
    adaptive: Annotated[
        bool,
        advanced(
            typer.Option(
                "--adaptive", help="Update the weights along the prompt (dynamic evaluation).", rich_help_panel="Text"
            )
        ),
    ] = False,
    as_json: JsonOption = False,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|FOLDER|-",
            help="Output file; with -n and music, a folder.",
            rich_help_panel="Output",
        ),
    ] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            metavar="mid|wav|musicxml|abc|html|png",
            help="Music: format of the output, or of the pieces in a folder, whose name has no suffix such as .wav "
            "[default: by the suffix of the file, mid without one].",
            rich_help_panel="Output",
        ),
    ] = None,
    plot: Annotated[str | None, advanced(plot_option("Music: piano roll of the piece."))] = None,
    engine: Annotated[
        str,
        advanced(
            typer.Option(
                metavar="auto|cpu|torch",
                help="Inference engine; cpu works without PyTorch.",
                rich_help_panel="Hardware",
            )
        ),
    ] = "auto",
    device: Annotated[
        str, advanced(typer.Option(metavar="auto|cpu|cuda|mps", help="Device to run on.", rich_help_panel="Hardware"))
    ] = "auto",
    precision: Annotated[
        str,
        advanced(
            typer.Option(
                metavar="fp32|bf16",
                help="Precision of matrix products in the torch engine.",
                rich_help_panel="Hardware",
            )
        ),
    ] = "fp32",
    exact: ExactOption = False,
    shard: ShardOption = None,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
    search: dict[str, Any] = {},  # noqa: B006
    music_options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Write text or compose music with a model.

    The text begins with the prompt, which --length doesn't count. Filters run in the order in which `--help-all` lists
    them. `--shard 3/16` writes the third sixteenth of the -n samples. `-t 0.2,0.5,1` writes a block for each
    temperature, with the same seed.
    """
    temperatures = options.pop("temperature", ())
    for each in temperatures:
        make_options(SampleOptions, {**options, "temperature": each})
    several = len(temperatures) > 1
    if temperatures:
        options = {**options, "temperature": temperatures[0]}
    make_options(SampleOptions, options), make_options(SearchOptions, search)
    log = StderrLogger(quiet)
    if replay is not None:
        from_receipt = {"--prompt": prompt, "--prompt-file": prompt_file, "--label": label, "--primer": primer,
                        "--state-out": state_out, "--stop-at-end": stop_at_end, "--adaptive": adaptive,
                        "--exact": exact, "--engine": engine != "auto", "--device": device != "auto",
                        "--precision": precision != "fp32", "-n": n > 1, "--first": first, "--shard": shard,
                        "--alternatives": alternatives, "--interactive": interactive}  # fmt: skip
        from_receipt |= {flag_name(name): True for name in (*options, *search, *music_options)}
        for flag in (flag for flag, value in from_receipt.items() if value):
            raise UserError(f"--replay takes all settings from the receipt: leave {flag} out")
        from seqgen.cli.replay import replay_all

        replay_all(replay, model, state_in, output, format, plot, as_json, show_prompt)
        return
    if interactive:
        given = {"state_out": state_out, "state_in": state_in, "as_json": as_json, "n": n > 1, "shard": shard,
                 "first": first, "length": "length" in options, "stop": options.get("stop"),
                 "stop_at_end": stop_at_end, "label": label is not None, "adaptive": adaptive,
                 "beam": search.get("beam"), "show_prompt": not show_prompt}  # fmt: skip
        excluded = [flag for name, flag in EXCLUDED["interactive"].items() if given[name]]
        for flag in [*excluded, *["several temperatures"] * several]:
            raise UserError(f"{flag} can't be used with --interactive")
    if several and state_out is not None:
        raise UserError("--state-out saves one text, and several temperatures write more")
    if model is None:
        raise UserError("MODEL is missing: name a folder written by `train`")
    if prompt is not None and prompt_file is not None:
        raise UserError("give --prompt or --prompt-file, not both")
    from seqgen.api import sampling
    from seqgen.api.model import Model
    from seqgen.api.open import open_checkpoint
    from seqgen.corpus.shards import Shard
    from seqgen.streams import is_terminal, read_whole

    own = Shard.parse(shard).index_range(n)

    if [prompt_file, primer, state_in].count("-") > 1:
        raise UserError("standard input can be read only once: '-' is given twice")
    sample_options, search_options = sampling.settings({**options, **search})
    loaded = Model(open_checkpoint(model), engine, device, exact, precision)
    loaded.check(sample_options)
    _check_flags(
        loaded, prompt is not None or prompt_file is not None, sample_options, label, primer, plot, format,
        music_options,
    )  # fmt: skip
    composes = TASKS.find(loaded.task).composes
    state, digest = None, ""
    if state_in is not None:
        import hashlib

        from seqgen.api import states

        data = states.read(state_in)
        state, digest = states.parse(loaded, data, state_in), hashlib.sha256(data).hexdigest()
        sample_options, search_options = sampling.settings({**options, **search}, state)
    beginning = (prompt or "").encode("utf-8", "surrogateescape")
    if prompt_file is not None:
        beginning = _read_prompt(prompt_file, TOKENIZERS.find(loaded.codec.name).decodes_text, log)
    midi = None if primer is None else read_whole(primer)
    request = sampling.SampleRequest(
        sample_options, search_options, make_options(MusicOptions, music_options), beginning, label, stop_at_end,
        adaptive, state, digest, midi, to_be_continued=state_out is not None and composes,
    )  # fmt: skip
    first = sampling.first_index(request, first)
    sampling.check(loaded, request, n, first)
    if state_out is not None:
        from seqgen.api import states

        sampling.check_state_output(loaded, request, n)
        states.check_stdout(state_out, "-" if as_json and composes else output, is_terminal(sys.stdout))
    if composes and (several or alternatives or interactive):
        flag = "several temperatures" if several else "--alternatives" if alternatives else "--interactive"
        raise UserError(f"{flag} can't be used with a model for {loaded.task}, whose samples are not text")
    if interactive:
        from seqgen.cli.writing import write_together

        write_together(loaded, request, beginning.decode("utf-8", "surrogateescape"), alternatives or 5, output, log)
        return
    if not composes:
        _write_texts(
            loaded, request, own, n, first, as_json, show_prompt, output, state_in or "", state_out, log,
            temperatures if several else (), alternatives,
        )  # fmt: skip
        return
    from seqgen.api.composing import compose, load_primer
    from seqgen.cli.music_output import PieceWriter

    writer = PieceWriter(output, format, plot, n, first, as_json, show_prompt, request.music_options)
    piece = load_primer(loaded, midi, primer or "", log.warn)
    stream = writer.stream() if search_options.best_of == 1 else None
    on_bar = None if stream is None else stream.add
    for composed in compose(loaded, request, len(own), first + own.start, piece, as_json, log.info, on_bar):
        writer.write(composed, loaded, request, state_in or "", stream=stream)
        if state_out is not None and composed.saved is not None:
            write_state(loaded, composed.saved, state_out)


def _read_prompt(name: str, decode: bool, log: StderrLogger) -> bytes:
    """The text of --prompt-file, read like a source: with `decode`, as UTF-8."""
    from seqgen.corpus.opening.pipes import text_of
    from seqgen.streams import read_whole

    data = read_whole(name)
    return text_of(data, "standard input" if name == "-" else name, log.warn) if decode else data


def _check_flags(
    model: Model, prompted: bool, options: SampleOptions, label: str | None, primer: str | None, plot: str | None,
    format: str | None, music_options: dict[str, Any],
) -> None:  # fmt: skip
    """Raise `UserError` for flags of another task."""
    if TASKS.find(model.task).composes:
        if label is not None:
            raise UserError(f"--label is for labelled texts; this is a model for {model.task}")
        if prompted or options.stop:
            raise UserError(
                f"--prompt, --prompt-file and --stop are for text; this is a model for {model.task}, which continues "
                "--primer FILE.mid"
            )
        return
    for flag in (
        [flag_name(name) for name in music_options]
        + ["--primer"] * bool(primer)
        + ["--plot"] * bool(plot)
        + ["--format"] * bool(format)
    ):
        raise UserError(f"{flag} is for music; this is a model for {model.task}")


def _write_texts(
    model: Model, request: SampleRequest, own: range, n: int, first: int, as_json: bool, show_prompt: bool, output: str,
    state_in: str, state_out: str | None, log: StderrLogger, temperatures: Sequence[float], alternatives: int | None,
) -> None:  # fmt: skip
    """Write texts as they are generated, or as JSON lines; with several `temperatures`, a headed block for each."""
    states: list[SavedState] = []
    with Output(output) as out:
        for number, temperature in enumerate(temperatures or (request.options.temperature,)):
            if temperatures:
                options = dataclasses.replace(request.options, temperature=temperature)
                # The weights stay adapted to the prompt.
                request = dataclasses.replace(request, options=options, adaptive=request.adaptive and not number)
                if not as_json:
                    out.write("\n" * bool(number) + f"==> temperature {temperature:g} <==\n")
            marked = {"temperature": temperature} if temperatures else {}
            _write_block(
                out, model, request, own, n, first, as_json, show_prompt, state_in, states if state_out else None, log,
                marked, alternatives,
            )  # fmt: skip
    if state_out is not None and states:
        write_state(model, states[0], state_out)


def _write_block(
    out: Output, model: Model, request: SampleRequest, own: range, n: int, first: int, as_json: bool, show_prompt: bool,
    state_in: str, states: list[SavedState] | None, log: StderrLogger, marked: dict[str, float],
    alternatives: int | None,
) -> None:  # fmt: skip
    """Write the texts of one request.

    Args:
        states: where the states after them are collected, if anywhere.
        marked: further keys of their JSON; if there are any, every text ends with a line feed.
        alternatives: of each token, to write beside it.
    """
    from seqgen.api import sampling
    from seqgen.generation.sampling.beam import generate

    def on_state(sample: Sample, saved: SavedState) -> None:
        if states is not None:
            states.append(saved)

    job = sampling.prepare(model, request, states is not None, log.info)
    if as_json:
        from seqgen.api import receipts

        receipt = receipts.make_receipt(model, request, job.prompt.text, state_in)
        longest_copy = sampling.copy_measure(model)
    if alternatives:
        from seqgen.api.alternatives import alternatives as choices_of
    at_start = True
    for text, sample in generate(job, len(own), first + own.start, None if states is None else on_state):
        choices = choices_of(model, job, sample.text, alternatives) if alternatives and sample is not None else None
        if as_json:
            if sample is not None:
                copied = None if longest_copy is None else longest_copy(sample.text)
                further = {} if choices is None else {"per_token": [dataclasses.asdict(choice) for choice in choices]}
                out.write(to_json({**receipts.record(sample, receipt, copied), **marked, **further}) + "\n")
            continue
        if alternatives:
            for choice in choices or ():
                others = "".join(f"\t{to_json(token)} {share:.3f}" for token, share in choice.alternatives)
                out.write(f"{to_json(choice.token)}\t{choice.probability:.3f}{others}\n")
            if sample is not None and sample.index < first + n - 1:
                out.write("\n")
            continue
        if at_start and show_prompt:
            out.write(job.prompt.text)
        at_start = sample is not None
        if text:
            out.write(text)
        if sample is not None and (n > 1 or out.terminal or marked):
            last = sample.index == first + n - 1
            out.write("\n" if last else "\n\n")
