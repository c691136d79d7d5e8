"""`sample --interactive`: a text that a person and a model write together, on a terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from typing import TYPE_CHECKING

from seqgen.cli.output import Output, StderrLogger, write_terminal
from seqgen.errors import UserError
from seqgen.streams import is_terminal
from seqgen.untrusted import as_bytes

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.sampling import SampleRequest

_HELP = """\
1 … N        take this continuation
Enter        others
TEXT         write this yourself; a space at its beginning starts a new word
/words       continuations of a word
/lines       continuations of a line
/back        take back the last step
/edit        edit the last step
/text        show the whole text
/quit        write the text and exit, like Ctrl-D and Ctrl-C
"""
_WORD = re.compile(r"\s*\S+(?=\s)")  # a word that is over
_WORD_CHARACTERS, _LINE_CHARACTERS = 40, 300  # that a continuation may have
_TRIES = 4  # samples for each continuation: many are the same
_SHOWN = 300  # characters of the text that stand above the continuations
_MAX_ROUNDS = 1 << 20


class WritingSession:
    """Shows continuations, and takes what the writer chooses."""

    def __init__(self, model: Model, request: SampleRequest, prompt: str, count: int, log: StderrLogger) -> None:
        """`count`: continuations to choose from."""
        if not (is_terminal(sys.stdin) and is_terminal(sys.stdout)):
            raise UserError("--interactive needs a terminal; without one, -n writes several samples")
        model.require_text_task("write --interactive")
        self._model, self._request, self._count, self._log = model, request, count, log
        self._steps = [prompt]
        self._lines = False
        self._round = 0  # of continuations, so that others come when asked for

    @property
    def text(self) -> str:
        """What is written by now."""
        return "".join(self._steps)

    @property
    def has_steps(self) -> bool:
        """Whether anything follows the prompt."""
        return len(self._steps) > 1

    def run(self) -> None:
        """Write together until the writer quits."""
        if hasattr(sys.stdin, "reconfigure"):
            sys.stdin.reconfigure(errors="surrogateescape")
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - gives `input` line editing and history
        self._log.info(f"1 to {self._count} takes a continuation, or type your own; /help lists commands")
        found: list[str] = []
        while self._round < _MAX_ROUNDS:
            if not found:
                found = self._continuations()
                self._show(found)
            try:
                line = input("> ")
            except EOFError:
                write_terminal("\n")
                break
            command = line.strip()
            if command == "/quit":
                break
            if not command and not line:
                found = []
            elif command.isdecimal() and 1 <= int(command) <= len(found):
                found = self._take(found[int(command) - 1])
            elif command in ("/words", "/lines"):
                self._lines, found = command == "/lines", []
            elif command == "/back":
                if self.has_steps:
                    self._steps.pop()
                    found = []
                else:
                    self._log.info("there is nothing to take back")
            elif command == "/edit":
                found = self._edit(found)
            elif command == "/text":
                write_terminal(self.text + "\n")
            elif command == "/help":
                write_terminal(_HELP)
            elif command.startswith("/"):
                self._log.info("there is no such command; /help lists them")
            elif command.isdecimal():
                self._log.info(f"there are {len(found)} continuations; text that begins with a space is your own")
            else:
                found = self._take(line)

    def _take(self, text: str) -> list[str]:
        self._steps.append(text)
        return []

    def _edit(self, found: list[str]) -> list[str]:
        """Let the writer edit the last step, if there is one."""
        if not self.has_steps:
            self._log.info("there is nothing to edit")
            return found
        last = self._steps[-1]
        with contextlib.suppress(ImportError, AttributeError):
            import readline

            readline.set_startup_hook(lambda: readline.insert_text(last.strip("\n")))
        try:
            edited = input("edit> ")
        except EOFError:
            return found
        finally:
            with contextlib.suppress(ImportError, AttributeError):
                import readline

                readline.set_startup_hook()
        self._steps[-1] = edited + "\n" * last.endswith("\n")
        return []

    def _continuations(self) -> list[str]:
        """Different continuations, each up to the end of a word or a line."""
        options = dataclasses.replace(
            self._request.options,
            length=_LINE_CHARACTERS if self._lines else _WORD_CHARACTERS,
            stop=(),
        )
        search = self._request.search
        settings = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        settings |= {"best_of": search.best_of, "max_copy": search.max_copy}
        tries, first = self._count * _TRIES, self._round * self._count * _TRIES
        self._round += 1
        try:
            samples = self._model.sample(as_bytes(self.text), tries, first=first, **settings)
        except UserError as error:
            if not self.has_steps:
                raise
            self._log.warn(str(error))  # the text isn't lost
            return []
        ended = [self._ended(sample.text) for sample in samples]
        return list(dict.fromkeys(text for text in ended if text))[: self._count]

    def _ended(self, text: str) -> str:
        if self._lines:
            body = text.lstrip("\n")
            first, feed, _ = body.partition("\n")
            return text[: len(text) - len(body)] + first + feed
        word = _WORD.match(text)
        return word[0] if word else text

    def _show(self, found: list[str]) -> None:
        text = self.text
        write_terminal("\n" + ("…" if len(text) > _SHOWN else "") + text[-_SHOWN:] + "\n")
        for number, continuation in enumerate(found, start=1):
            write_terminal(f"{number:3}  {continuation.replace(chr(10), '↵')}\n")
        if not found:
            self._log.info("the model has no continuation here; type your own, or /back")


def write_together(
    model: Model, request: SampleRequest, prompt: str, count: int, output: str, log: StderrLogger
) -> None:
    """Run a session, and write its text, also what there is of it at Ctrl-C or when the terminal is closed."""
    session = WritingSession(model, request, prompt, count, log)
    ended: BaseException | None = None
    with Output(output) as out:
        try:
            session.run()
        except (KeyboardInterrupt, SystemExit) as stop:
            if not session.has_steps:
                raise
            ended = stop
        out.write(session.text if session.text.endswith("\n") else session.text + "\n")
    if ended is not None:
        raise ended
