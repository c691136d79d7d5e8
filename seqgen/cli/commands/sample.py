"""`seqgen sample`: write text, compose music."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    from seqgen.generation.job import GenerationJob
    from seqgen.generation.state import SavedState
    from seqgen.generation.text import Sample, StateCallback

_MAX_SAMPLES = 10**12  # indices and counts stay machine integers

EXAMPLES = (
    'seqgen sample tales --prompt "The lamp" -t 0.7',
    "seqgen sample tales -n 3 --length 200 --json",
    "seqgen sample reels --length 32 -o reel.mid",
)


@dataclasses.dataclass(frozen=True)
class _RequestFlags:
    """The flags that make up a `SampleRequest`.

    Attributes:
        settings: Fields of `SampleOptions` and `SearchOptions` that were given.
        music_options: Fields of `MusicOptions` that were given.
    """

    prompt: str | None
    prompt_file: str | None
    label: str | None
    primer: str | None
    state_in: str | None
    state_out: str | None
    stop_at_end: bool
    adaptive: bool
    settings: Mapping[str, Any]
    music_options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _SampleOutput:
    """Which samples are written, where, and in which form.

    Attributes:
        target: File, folder or `-`.
        indices: Those of the samples of all shards.
        own_indices: Those of the samples to write.
        temperatures: Those of the blocks to write; empty for one block, without a heading.
        alternatives: Number of other tokens to print beside each token of a text.
    """

    target: str
    format: str | None
    plot: str | None
    as_json: bool
    show_prompt: bool
    state_in: str
    state_out: str | None
    indices: range
    own_indices: range
    temperatures: Sequence[float]
    alternatives: int | None


@add_options(SampleOptions, several={"temperature"})
@add_options(SearchOptions, "search")
@add_options(MusicOptions, "music_options")
def run(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Model folder, as `train` writes it, or hf:OWNER/NAME[@REVISION].",
            show_default=False,
        ),
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
        advanced(
            typer.Option(
                help="Write the prompt, or the primer, before the sample; JSON of texts has it in any case.",
                rich_help_panel="Output",
            )
        ),
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
    log = StderrLogger(quiet)
    temperatures = _pop_temperatures(options)
    make_options(SampleOptions, options), make_options(SearchOptions, search)
    if replay is not None:
        _check_replay(
            {"--prompt": prompt, "--prompt-file": prompt_file, "--label": label, "--primer": primer,
             "--state-out": state_out, "--stop-at-end": stop_at_end, "--adaptive": adaptive, "--exact": exact,
             "--engine": engine != "auto", "--device": device != "auto", "--precision": precision != "fp32",
             "-n": n > 1, "--first": first, "--shard": shard, "--alternatives": alternatives,
             "--interactive": interactive, **{flag_name(name): True for name in (*options, *search, *music_options)}}
        )  # fmt: skip
        from seqgen.cli.replay import replay_all

        replay_all(replay, model, state_in, output, format, plot, as_json, show_prompt)
        return
    if interactive:
        _check_interactive(
            {"state_out": state_out, "state_in": state_in, "as_json": as_json, "n": n > 1, "shard": shard,
             "first": first, "length": "length" in options, "stop": options.get("stop"), "stop_at_end": stop_at_end,
             "label": label is not None, "adaptive": adaptive, "beam": search.get("beam"),
             "show_prompt": not show_prompt},
            temperatures,
        )  # fmt: skip
    flags = _RequestFlags(
        prompt, prompt_file, label, primer, state_in, state_out, stop_at_end, adaptive, {**options, **search},
        music_options,
    )  # fmt: skip
    if model is None:
        raise UserError("MODEL is missing: name a folder written by `train`")
    _check_combinations(flags, temperatures)
    from seqgen.api import sampling
    from seqgen.api.model import Model
    from seqgen.api.open import open_checkpoint
    from seqgen.corpus.shards import Shard

    own = Shard.parse(shard).index_range(n)
    loaded = Model(open_checkpoint(model), engine, device, exact, precision)
    loaded.check(sampling.settings(flags.settings)[0])
    _check_task(loaded, flags, plot, format)
    request = _make_request(loaded, flags, log)
    first = sampling.first_index(request, first)
    sampling.check(loaded, request, n, first)
    writing = _SampleOutput(
        output, format, plot, as_json, show_prompt, state_in or "", state_out, range(first, first + n),
        range(first + own.start, first + own.stop), temperatures, alternatives,
    )  # fmt: skip
    _check_output(loaded, request, writing, interactive)
    if interactive:
        from seqgen.cli.writing import write_together

        beginning = request.prompt.decode("utf-8", "surrogateescape")
        write_together(loaded, request, beginning, alternatives or 5, output, log)
    elif TASKS.find(loaded.task).composes:
        _write_music(loaded, request, writing, primer or "", log)
    else:
        _write_texts(loaded, request, writing, log)


def _pop_temperatures(options: dict[str, Any]) -> Sequence[float]:
    """Check the temperatures given and leave the first in `options`; return them if they are several."""
    temperatures: Sequence[float] = options.pop("temperature", ())
    for each in temperatures:
        make_options(SampleOptions, {**options, "temperature": each})
    if temperatures:
        options["temperature"] = temperatures[0]
    return temperatures if len(temperatures) > 1 else ()


def _check_replay(given: Mapping[str, Any]) -> None:
    """Raise `UserError` for a flag that can't be used with --replay and has a value in `given`."""
    for flag in (flag for flag, value in given.items() if value):
        raise UserError(f"--replay takes all settings from the receipt: leave {flag} out")


def _check_interactive(given: Mapping[str, Any], temperatures: Sequence[float]) -> None:
    """Raise `UserError` for a parameter that can't be used with --interactive and has a value in `given`."""
    excluded = [flag for name, flag in EXCLUDED["interactive"].items() if given[name]]
    for flag in [*excluded, *["several temperatures"] * bool(temperatures)]:
        raise UserError(f"{flag} can't be used with --interactive")


def _check_combinations(flags: _RequestFlags, temperatures: Sequence[float]) -> None:
    """Raise `UserError` for flags that exclude each other, whatever the model."""
    if temperatures and flags.state_out is not None:
        raise UserError("--state-out saves one text, and several temperatures write more")
    if flags.prompt is not None and flags.prompt_file is not None:
        raise UserError("give --prompt or --prompt-file, not both")


def _check_task(model: Model, flags: _RequestFlags, plot: str | None, format: str | None) -> None:
    """Raise `UserError` for flags of another task."""
    if TASKS.find(model.task).composes:
        if flags.label is not None:
            raise UserError(f"--label is for labelled texts; this is a model for {model.task}")
        if flags.prompt is not None or flags.prompt_file is not None or flags.settings.get("stop"):
            raise UserError(
                f"--prompt, --prompt-file and --stop are for text; this is a model for {model.task}, which continues "
                "--primer FILE.mid"
            )
        return
    for flag in (
        [flag_name(name) for name in flags.music_options]
        + ["--primer"] * bool(flags.primer)
        + ["--plot"] * bool(plot)
        + ["--format"] * bool(format)
    ):
        raise UserError(f"{flag} is for music; this is a model for {model.task}")


def _check_output(model: Model, request: SampleRequest, output: _SampleOutput, interactive: bool) -> None:
    """Raise `UserError` if samples of the model can't be written so, or the state after them can't be saved."""
    composes = TASKS.find(model.task).composes
    if output.state_out is not None:
        from seqgen.api import sampling, states
        from seqgen.streams import is_terminal

        sampling.check_state_output(model, request, len(output.indices))
        if not output.own_indices:
            raise UserError("--state-out saves the state after a sample, and this shard has none")
        target = "-" if output.as_json and composes else output.target
        states.check_stdout(output.state_out, target, is_terminal(sys.stdout))
    if composes and (output.temperatures or output.alternatives or interactive):
        texts_only = "--alternatives" if output.alternatives else "--interactive"
        flag = "several temperatures" if output.temperatures else texts_only
        raise UserError(f"{flag} can't be used with a model for {model.task}, whose samples are not text")


def _make_request(model: Model, flags: _RequestFlags, log: StderrLogger) -> SampleRequest:
    """Read the files that the flags name, and make the request."""
    from seqgen.api import sampling
    from seqgen.streams import read_whole

    state, digest = None, ""
    if flags.state_in is not None:
        import hashlib

        from seqgen.api import states

        data = states.read(flags.state_in)
        state, digest = states.parse(model, data, flags.state_in), hashlib.sha256(data).hexdigest()
    sample_options, search_options = sampling.settings(flags.settings, state)
    prompt = (flags.prompt or "").encode("utf-8", "surrogateescape")
    if flags.prompt_file is not None:
        prompt = _read_prompt(flags.prompt_file, TOKENIZERS.find(model.codec.name).decodes_text, log)
    midi = None if flags.primer is None else read_whole(flags.primer)
    return sampling.SampleRequest(
        sample_options, search_options, make_options(MusicOptions, flags.music_options), prompt, flags.label,
        flags.stop_at_end, flags.adaptive, state, digest, midi,
        to_be_continued=flags.state_out is not None and TASKS.find(model.task).composes,
    )  # fmt: skip


def _read_prompt(name: str, decode: bool, log: StderrLogger) -> bytes:
    """The text of --prompt-file, read like a source: with `decode`, as UTF-8."""
    from seqgen.corpus.opening.pipes import text_of
    from seqgen.streams import read_whole

    data = read_whole(name)
    return text_of(data, "standard input" if name == "-" else name, log.warn) if decode else data


def _write_music(model: Model, request: SampleRequest, output: _SampleOutput, primer: str, log: StderrLogger) -> None:
    """Write pieces of music. `primer`: the name of its file."""
    from seqgen.api.composing import compose, load_primer
    from seqgen.cli.music_output import PieceWriter

    writer = PieceWriter(
        output.target, output.format, output.plot, len(output.indices), output.indices.start, output.as_json,
        output.show_prompt, request.music_options, primer, output.state_out,
    )  # fmt: skip
    piece = load_primer(model, request.primer, primer, log.warn)
    stream = writer.stream() if request.search.best_of == 1 else None
    on_bar = None if stream is None else stream.add
    own = output.own_indices
    for composed in compose(model, request, len(own), own.start, piece, output.as_json, log.info, on_bar):
        writer.write(composed, model, request, output.state_in, stream=stream)
        if output.state_out is not None and composed.saved is not None:
            write_state(model, composed.saved, output.state_out)


def _write_texts(model: Model, request: SampleRequest, output: _SampleOutput, log: StderrLogger) -> None:
    """Write texts as they are generated, or as JSON lines; of several temperatures, a headed block for each."""
    states: list[SavedState] = []
    with Output(output.target) as out:
        if not output.temperatures:
            states = _write_block(out, model, request, output, {}, log)
        for number, temperature in enumerate(output.temperatures):
            options = dataclasses.replace(request.options, temperature=temperature)
            # The weights stay adapted to the prompt.
            request = dataclasses.replace(request, options=options, adaptive=request.adaptive and not number)
            if not output.as_json:
                out.write("\n" * bool(number) + f"==> temperature {temperature:g} <==\n")
            _write_block(out, model, request, output, {"temperature": temperature}, log)
    if output.state_out is not None and states:
        write_state(model, states[0], output.state_out)


def _write_block(
    out: Output, model: Model, request: SampleRequest, output: _SampleOutput, marked: Mapping[str, float],
    log: StderrLogger,
) -> list[SavedState]:  # fmt: skip
    """Write the texts of one request; return the states after them if one is to be saved.

    Args:
        marked: Further keys of their JSON; if there are any, every text ends with a line feed.
    """
    from seqgen.api import sampling
    from seqgen.generation.sampling.beam import generate

    states: list[SavedState] = []
    on_state: StateCallback | None = None if output.state_out is None else lambda _, saved: states.append(saved)
    job = sampling.prepare(model, request, on_state is not None, log.info)
    generated = generate(job, len(output.own_indices), output.own_indices.start, on_state)
    if output.as_json:
        pieces = _json_lines(model, request, job, generated, output, marked)
    elif output.alternatives:
        pieces = _choice_lines(model, job, generated, output.alternatives, output.indices[-1])
    else:
        separates = len(output.indices) > 1 or out.terminal or bool(marked)
        pieces = _plain_text(job, generated, output, separates)
    for piece in pieces:
        out.write(piece)
    return states


def _json_lines(
    model: Model, request: SampleRequest, job: GenerationJob, generated: Iterable[tuple[str, Sample | None]],
    output: _SampleOutput, marked: Mapping[str, float],
) -> Iterator[str]:  # fmt: skip
    """Texts with their receipts, and with their tokens if `output.alternatives` asks for them."""
    from seqgen.api import receipts, sampling

    receipt = receipts.make_receipt(model, request, job.prompt.text, output.state_in)
    longest_copy = sampling.copy_measure(model)
    for _, sample in generated:
        if sample is None:
            continue
        copied = None if longest_copy is None else longest_copy(sample.text)
        record = {**receipts.record(sample, receipt, copied), **marked}
        if output.alternatives:
            from seqgen.api.alternatives import alternatives

            choices = alternatives(model, job, sample.text, output.alternatives)
            record["per_token"] = [dataclasses.asdict(choice) for choice in choices]
        yield to_json(record) + "\n"


def _choice_lines(
    model: Model, job: GenerationJob, generated: Iterable[tuple[str, Sample | None]], count: int, last: int
) -> Iterator[str]:
    """Each token in a line, with its probability and the `count` most probable others; `last`: the last index."""
    from seqgen.api.alternatives import alternatives

    for _, sample in generated:
        if sample is None:
            continue
        for choice in alternatives(model, job, sample.text, count):
            others = "".join(f"\t{to_json(token)} {share:.3f}" for token, share in choice.alternatives)
            yield f"{to_json(choice.token)}\t{choice.probability:.3f}{others}\n"
        if sample.index < last:
            yield "\n"


def _plain_text(
    job: GenerationJob, generated: Iterable[tuple[str, Sample | None]], output: _SampleOutput, separates: bool
) -> Iterator[str]:
    """Texts as they are generated, each after the prompt; with `separates`, line feeds follow each of them."""
    at_start = True
    for text, sample in generated:
        if at_start and output.show_prompt:
            yield job.prompt.text
        at_start = sample is not None
        if text:
            yield text
        if sample is not None and separates:
            yield "\n" if sample.index == output.indices[-1] else "\n\n"
