"""`seqgen chat`: converse with a model on a terminal or through a pipe."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.inputs import iter_lines
from seqgen.cli.options import ExactOption, ModelArgument, QuietOption, add_options
from seqgen.cli.output import Output, StderrLogger, to_json, write_terminal
from seqgen.config import ChatOptions, ReplyOptions, make_options
from seqgen.config.inference import CHAT_TEMPERATURE
from seqgen.errors import UserError
from seqgen.streams import is_terminal, open_input, read_chunks, write_output
from seqgen.untrusted import one_line

if TYPE_CHECKING:
    from seqgen.generation.dialogue import ChatSession, Reply

_HELP = """\
/reset          start a new conversation
/undo           remove your last line and the reply to it
/retry          another reply to your last line
/temperature X  sampling temperature; 0 always takes the likeliest token
/save FILE      save the conversation as a line of JSON that `train` can read
/quit           exit, like Ctrl-D; Ctrl-C stops a reply
"""


EXAMPLES = ("seqgen chat bot", 'echo "How are you?" | seqgen chat bot -t 0.5')


@add_options(ChatOptions, hidden=("stop", "length"))
@add_options(ReplyOptions, "reply_options")
def run(
    model: ModelArgument,
    as_json: Annotated[
        bool, typer.Option("--json", help="In a pipe: a JSON object for each line.", rich_help_panel="Output")
    ] = False,
    new_on_empty: Annotated[
        bool,
        typer.Option(
            "--new-on-empty", help="In a pipe: an empty line starts a new conversation.", rich_help_panel="Output"
        ),
    ] = False,
    exact: ExactOption = False,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
    reply_options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Converse with a model. On a terminal, /help lists commands; in a pipe, each input line gives one reply line.

    Filters run in the order in which `--help-all` lists them.
    """
    settings, replies = make_options(ChatOptions, options), make_options(ReplyOptions, reply_options)
    if settings.stop or settings.length is not None:
        raise UserError("--stop and --length are for `sample`; the model ends its replies itself")
    from seqgen.api.model import load

    loaded = load(model, exact)
    conversation = loaded.conversation(settings, replies)
    log = StderrLogger(quiet)
    if is_terminal(sys.stdin) and is_terminal(sys.stdout):
        _Terminal(conversation, log).run()
    else:
        _pipe(conversation, as_json, new_on_empty)


def _pipe(conversation: ChatSession, as_json: bool, new_on_empty: bool) -> None:
    """Reply to each line with exactly one line."""
    with Output("-") as out:
        for line in iter_lines(read_chunks(open_input("-"), "standard input", unbuffered=True)):
            text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            if new_on_empty and not text.strip():
                conversation.restart()
                if not as_json:
                    out.write("\n")  # keeps output lines aligned with input lines
                continue
            conversation.hear(text)
            reply = _complete_reply(conversation)
            if as_json:
                record = {"prompt": text, **dataclasses.asdict(reply)}
                out.write(to_json({key: value for key, value in record.items() if value is not None}) + "\n")
            else:
                out.write(" ".join(reply.text.split()) + "\n")


def _complete_reply(conversation: ChatSession) -> Reply:
    from seqgen.generation.dialogue import Reply

    *_, reply = conversation.reply()
    assert isinstance(reply, Reply)
    return reply


class _Terminal:
    """A prompt with line editing and history; Ctrl-C stops a reply, not the program."""

    def __init__(self, conversation: ChatSession, log: StderrLogger) -> None:
        self._conversation = conversation
        self._log = log
        self._interrupted = False

    def run(self) -> None:
        if hasattr(sys.stdin, "reconfigure"):  # accept input that is not UTF-8
            sys.stdin.reconfigure(errors="surrogateescape")
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives `input` line editing and history
        self._log.info("/help lists commands; Ctrl-D exits")
        while True:
            try:
                line = _decoded(input("> "))
            except EOFError:
                write_terminal("\n")
                return
            if not line.strip():
                continue
            if line.startswith("/"):
                if not self._command(*line[1:].split(maxsplit=1)):
                    return
            else:
                self._conversation.hear(line)
                self._answer()

    def _answer(self) -> None:
        from seqgen.generation.dialogue import Reply

        cut = False
        with self._catching_interrupts():
            for piece in self._conversation.reply(stopped=lambda: self._interrupted):
                if isinstance(piece, Reply):
                    cut = piece.finish_reason == "length"
                else:
                    write_terminal(piece)
        write_terminal(" …\n" if cut or self._interrupted else "\n")

    @contextlib.contextmanager
    def _catching_interrupts(self) -> Iterator[None]:
        self._interrupted = False

        def interrupted(number: int, frame: FrameType | None) -> None:
            self._interrupted = True

        before = signal.signal(signal.SIGINT, interrupted)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _command(self, name: str = "", argument: str = "") -> bool:
        """Run a command. Returns False to exit."""
        conversation = self._conversation
        if name in ("quit", "exit", "q"):
            return False
        if name == "reset":
            conversation.restart()
        elif name == "undo":
            if not conversation.undo():
                self._log.info("there is nothing to undo")
        elif name == "retry":
            if conversation.undo_reply():
                self._answer()
            else:
                self._log.info("there is no reply to retry")
        elif name == "temperature":
            self._set_temperature(argument)
        elif name == "save":
            self._save(argument)
        elif name == "help":
            write_terminal(_HELP)
        else:
            self._log.info(f"there is no command /{one_line(name)}; /help lists them")
        return True

    def _set_temperature(self, argument: str) -> None:
        try:
            self._conversation.options = dataclasses.replace(
                self._conversation.options,
                **dataclasses.asdict(make_options(_Temperature, {"temperature": float(argument)})),
            )
        except (ValueError, UserError):
            self._log.info("/temperature needs a number of 0 or more, such as 0.7")

    def _save(self, argument: str) -> None:
        from pathlib import Path

        from seqgen.generation.dialogue import MODEL

        if not argument.strip():
            self._log.info("/save needs a file name")
            return
        if not self._conversation.turns:
            self._log.info("the conversation is empty")
            return
        messages = [
            {"role": "assistant" if speaker == MODEL else "user", "content": text}
            for speaker, text in self._conversation.turns
        ]
        try:
            write_output(Path(argument.strip()).expanduser(), (to_json({"messages": messages}) + "\n").encode())
        except (UserError, OSError) as error:
            self._log.info(str(error))
        else:
            self._log.info(f"{argument.strip()}: {len(messages):,} turns")


def _decoded(line: str) -> str:
    """A line as it was typed: terminals send UTF-8 even where the environment names another encoding."""
    encoding = getattr(sys.stdin, "encoding", None) or "utf-8"
    with contextlib.suppress(UnicodeError, LookupError):
        return line.encode(encoding, "surrogateescape").decode("utf-8")
    return line


@dataclasses.dataclass(frozen=True)
class _Temperature:
    """The option that `/temperature` changes, with its bounds."""

    temperature: float = dataclasses.field(
        default=CHAT_TEMPERATURE, metadata=ChatOptions.__dataclass_fields__["temperature"].metadata
    )
