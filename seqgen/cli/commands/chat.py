"""`seqgen chat`: a conversation with a model, on a terminal or through a pipe."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqgen.cli.options import (
    ExactOption,
    ModelArgument,
    Output,
    QuietOption,
    StderrLogger,
    add_options,
    handle_broken_pipe,
    iter_lines,
    one_line,
    to_json,
)
from seqgen.config import ReplyOptions, SampleOptions, make_options
from seqgen.errors import UserError
from seqgen.streams import is_terminal, open_input, read_chunks, write_bytes
from seqgen.untrusted import as_bytes, printable

if TYPE_CHECKING:
    from seqgen.generation.dialogue import Conversation, Reply

_HELP = """\
/reset          begin a new conversation
/undo           take back your last line and the reply to it
/retry          another reply to your last line
/temperature X  0 always says the likeliest, 1 speaks as it learnt to
/save FILE      keep the conversation as a line of JSON that `train` can read
/quit           leave, as Ctrl-D does; Ctrl-C stops a reply
"""


@handle_broken_pipe
@add_options(SampleOptions)
@add_options(ReplyOptions, "reply_options")
def run(
    model: ModelArgument,
    as_json: Annotated[bool, typer.Option("--json", help="In a pipe: an object for each line.")] = False,
    new_on_empty: Annotated[
        bool, typer.Option("--new-on-empty", help="In a pipe: an empty line begins a new conversation.")
    ] = False,
    exact: ExactOption = False,
    quiet: QuietOption = False,
    options: dict[str, Any] = {},  # noqa: B006 - filled by add_options
    reply_options: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Talk with a model. On a terminal /help tells more; in a pipe every line in gives a reply line out.

    Filters run in the order of their flags below.
    """
    settings, how = make_options(SampleOptions, options), make_options(ReplyOptions, reply_options)
    if settings.stop or settings.length is not None:
        raise UserError("--stop and --length are for `sample`; a reply ends where the model ends it")
    from seqgen.api.model import load

    loaded = load(model, exact)
    conversation = loaded.conversation(settings, how)
    voice = StderrLogger(quiet)
    if is_terminal(sys.stdin) and is_terminal(sys.stdout):
        _Terminal(conversation, voice).run()
    else:
        _pipe(conversation, as_json, new_on_empty)


def _pipe(conversation: Conversation, as_json: bool, new_on_empty: bool) -> None:
    """A line in, a line out; nothing more and nothing less."""
    with Output("-") as out:
        for line in iter_lines(read_chunks(open_input("-"), "standard input", unbuffered=True)):
            words = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            if new_on_empty and not words.strip():
                conversation.restart()
                if not as_json:
                    out.write("\n")  # so that output and input stay side by side
                continue
            conversation.hear(words)
            reply = _whole(conversation)
            if as_json:
                record = {"prompt": words, **dataclasses.asdict(reply)}
                out.write(to_json({key: value for key, value in record.items() if value is not None}) + "\n")
            else:
                out.write(" ".join(reply.text.split()) + "\n")


def _whole(conversation: Conversation) -> Reply:
    from seqgen.generation.dialogue import Reply

    *_, reply = conversation.reply()
    assert isinstance(reply, Reply)
    return reply


class _Terminal:
    """Lines with arrow keys and history; Ctrl-C stops a reply and not the program."""

    def __init__(self, conversation: Conversation, voice: StderrLogger) -> None:
        self._conversation = conversation
        self._voice = voice
        self._interrupted = False

    def run(self) -> None:
        if hasattr(sys.stdin, "reconfigure"):  # what is no UTF-8 is heard all the same
            sys.stdin.reconfigure(errors="surrogateescape")
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives `input` its arrow keys and history
        self._voice.info("/help tells what else can be done; Ctrl-D leaves")
        while True:
            try:
                line = input("> ")
            except EOFError:
                self._write("\n")
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

        with self._catching_interrupts():
            for piece in self._conversation.reply(stopped=lambda: self._interrupted):
                if not isinstance(piece, Reply):
                    self._write(piece)
        self._write(" …\n" if self._interrupted else "\n")

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
        """Does what a line with a slash says. False to leave."""
        talk = self._conversation
        if name in ("quit", "exit", "q"):
            return False
        if name == "reset":
            talk.restart()
        elif name == "undo":
            if not talk.undo():
                self._voice.info("there is nothing to take back")
        elif name == "retry":
            if talk.undo_reply():
                self._answer()
            else:
                self._voice.info("there is no reply to try again")
        elif name == "temperature":
            self._set_temperature(argument)
        elif name == "save":
            self._save(argument)
        elif name == "help":
            self._write(_HELP)
        else:
            self._voice.info(f"there is no /{one_line(name)}; /help tells what there is")
        return True

    def _set_temperature(self, argument: str) -> None:
        try:
            self._conversation.options = dataclasses.replace(
                self._conversation.options,
                **dataclasses.asdict(make_options(_Temperature, {"temperature": float(argument)})),
            )
        except (ValueError, UserError):
            self._voice.info("/temperature needs a number of 0 or more, such as 0.7")

    def _save(self, argument: str) -> None:
        from pathlib import Path

        from seqgen.generation.dialogue import MODEL

        if not argument.strip():
            self._voice.info("/save needs the name of a file")
            return
        if not self._conversation.turns:
            self._voice.info("nothing was said yet")
            return
        messages = [
            {"role": "assistant" if speaker == MODEL else "user", "content": words}
            for speaker, words in self._conversation.turns
        ]
        try:
            write_bytes(Path(argument.strip()).expanduser(), (to_json({"messages": messages}) + "\n").encode())
        except (UserError, OSError) as error:
            self._voice.info(str(error))
        else:
            self._voice.info(f"{argument.strip()}: {len(messages):,} turns")

    def _write(self, text: str) -> None:
        sys.stdout.write(printable(as_bytes(text)).decode())
        sys.stdout.flush()


@dataclasses.dataclass(frozen=True)
class _Temperature:
    """The bounds of the one option that a conversation can change."""

    temperature: float = dataclasses.field(
        default=1.0, metadata=SampleOptions.__dataclass_fields__["temperature"].metadata
    )
