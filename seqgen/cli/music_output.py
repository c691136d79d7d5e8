"""Output of composed music: a file, a folder of files, a pipe, JSON lines, and a piano roll."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.cli.output import Output, to_json
from seqgen.cli.targets import SourceFiles
from seqgen.config import MusicOptions
from seqgen.errors import UserError
from seqgen.streams import is_written_in_place, open_output, reason, write_output

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.receipts import Receipt
    from seqgen.api.sampling import SampleRequest
    from seqgen.generation.music.composing import Composition
    from seqgen.music.piece import Piece
    from seqgen.rendering.formats import Format


class AudioStream:
    """A wave file on standard output that grows bar by bar, as a piece is composed."""

    def __init__(self, with_primer: bool, programs: tuple[int, ...]) -> None:
        from seqgen.rendering.audio import Audio

        self._with_primer, self._programs = with_primer, programs
        self._audio = Audio()
        self._begun = False

    def add(self, piece: Piece, primer_bars: int) -> None:
        """Write the bars before the last, which has just begun."""
        shown = self._shown(piece, primer_bars)
        if len(shown.bars) > 1:
            self._write(self._audio.bars(shown, len(shown.bars) - 1))

    def finish(self, composed: Composition) -> None:
        """Write what is left of a finished piece."""
        shown = self._shown(composed.piece, composed.primer_bars)
        self._write(self._audio.bars(shown, len(shown.bars)) + self._audio.tail(shown))

    def _shown(self, piece: Piece, primer_bars: int) -> Piece:
        from seqgen.rendering.formats import arranged

        shown = piece if self._with_primer else piece.excerpt(primer_bars, len(piece.bars))
        return arranged(shown, programs=self._programs)

    def _write(self, data: bytes) -> None:
        from seqgen.rendering.audio import header

        with Output("-") as out:
            out.write(data if self._begun else header(None) + data)
        self._begun = True


@dataclass(frozen=True)
class PieceWriter:
    """Writer of the pieces of one `sample` command.

    Raises `UserError`, before anything is composed, if the output can't take them.

    Attributes:
        output: A file, a folder, or `-`.
        format: Name of the format; None for that of the file's suffix, or MIDI without one and in a folder.
        plot: PNG file of the piano roll.
        count: Number of pieces.
        first: Index of the first piece.
        as_json: Whether to write JSON lines.
        with_primer: Whether the primer begins each piece.
        primer: Its file; "" for none.
        state_out: File for the state after the piece.
    """

    output: str
    format: str | None
    plot: str | None
    count: int
    first: int
    as_json: bool
    with_primer: bool
    music_options: MusicOptions
    primer: str = ""
    state_out: str | None = None

    def __post_init__(self) -> None:
        _ = self._programs, self._format  # raise for unknown ones
        if self.plot is not None and self.count > 1:
            raise UserError("--plot draws one piece, and -n asks for more")
        if self.to_stdout and self.count > 1 and not self.as_json:
            raise UserError("several pieces need a folder: -o FOLDER")
        if self.to_stdout or self.as_json:
            with Output("-") as out:
                if out.terminal and not self.as_json and not self._format.is_text:
                    name = self._format.name
                    what = "a MIDI file" if name == "mid" else f"a .{name} file"
                    raise UserError(f"cannot show {what} on a terminal: write it with -o FILE.{name}, or to a pipe")
        if not self.to_stdout:
            self._check_folder()
            self._check_files()
            self._make_folder()

    @cached_property
    def _format(self) -> Format:
        from seqgen.rendering import formats

        if self.format is not None:
            return formats.named(self.format)
        if self.to_stdout or self.folder is not None:
            return formats.MIDI
        found = formats.of_output(self.output)
        if found is None and Path(self.output).suffix.strip("."):
            names = ", ".join(formats.NAMES)
            raise UserError(f"the output {self.output!r} has no known format: give --format, one of {names}")
        return found or formats.MIDI

    @cached_property
    def _programs(self) -> tuple[int, ...]:
        from seqgen.music.names import program

        return tuple(program(name) for name in self.music_options.instrument)

    def stream(self) -> AudioStream | None:
        """The audio of the piece while it is composed, if it goes to standard output as such."""
        from seqgen.rendering import formats

        if not self.to_stdout or self.as_json or self.count > 1 or self._format is not formats.WAVE:
            return None
        return AudioStream(self.with_primer, self._programs)

    @property
    def to_stdout(self) -> bool:
        return self.output == "-"

    @property
    def folder(self) -> Path | None:
        """The folder for the pieces; None for a single file or standard output."""
        path = Path(self.output)
        wanted = self.count > 1 or path.is_dir() or self.output.endswith(os.sep)
        return path if wanted and not self.to_stdout else None

    def _path(self, index: int) -> Path | None:
        """The file of a piece; None for standard output."""
        if self.folder is not None:
            return self.folder / f"{index:0{len(str(self.first + self.count - 1))}d}.{self._format.name}"
        return None if self.to_stdout else Path(self.output)

    @cached_property
    def _read(self) -> SourceFiles:
        return SourceFiles([self.primer] if self.primer else ())

    def _check_files(self) -> None:
        """Raise `UserError` if the first piece has the file of the primer or of another output."""
        path = str(self._path(self.first))
        self._read.check_unread(path, "-o")
        for flag, name in (("--plot", self.plot), ("--state-out", self.state_out)):
            if name is None or is_written_in_place(name):
                continue
            if os.path.realpath(name) == os.path.realpath(path):
                raise UserError(f"{flag} names the file of a piece, {name!r}: name another")

    def _check_folder(self) -> None:
        """Raise `UserError` for several pieces where the output has the name of a file: which format would be meant?"""
        from seqgen.rendering import formats

        if self.folder is None or self.folder.is_dir() or self.output.endswith(os.sep):
            return
        named = formats.of_file(self.output)
        if named is not None:
            raise UserError(
                f"several pieces need a folder, and -o {self.output!r} names a file: -o FOLDER --format {named.name}"
            )

    def _make_folder(self) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder -o {self.output!r}: {reason(error)}") from error

    def _data(self, piece: Piece, tempo: float | None) -> bytes:
        from seqgen.rendering.formats import arranged

        return self._format.file(arranged(piece, tempo, self._programs))

    def write(
        self,
        composed: Composition,
        model: Model,
        request: SampleRequest,
        state_file: str,
        receipt: Receipt | None = None,
        stream: AudioStream | None = None,
    ) -> None:
        """Write one piece. If a `receipt` is replayed, raise `ModelError` for a piece that differs from it.

        Args:
            stream: that has written its first bars.
        """
        from seqgen.api import receipts

        if stream is not None:
            stream.finish(composed)
        piece = composed.piece if self.with_primer else composed.without_primer()
        data = b"" if stream is not None else self._data(piece, request.music_options.tempo)
        facts: dict[str, Any] = {
            "index": composed.index, "seed": composed.seed, "bars": composed.bars,
            "primer_bars": composed.primer_bars, "notes": len(piece.notes), "tokens": composed.events,
            "log_probability": composed.log_probability, "finish_reason": composed.finish_reason,
        }  # fmt: skip
        if receipt is not None:
            receipts.check_reproduced(model, receipt, facts)
        if composed.longest_copy is not None:
            facts["longest_copy"] = composed.longest_copy
        path = self._path(composed.index)
        if self.folder is not None:
            self._read.check_unread(str(path), "-o")
        if path is not None and self.as_json:  # it is beside the output
            write_output(path, data)
        elif path is not None:
            with open_output(path) as file:
                file.write(data)
        if self.as_json:
            facts["receipt"] = receipts.make_receipt(model, request, "", state_file)
            key = "midi" if self._format.name == "mid" else self._format.name
            content = {key: base64.b64encode(data).decode()} if path is None else {"file": str(path)}
            with Output("-") as out:
                out.write(to_json({**facts, **content}) + "\n")
        elif path is None and stream is None:
            with Output("-") as out:
                out.write(data)
        if self.plot is not None:
            from seqgen.plots.music import piano_roll

            bars = composed.primer_bars if self.with_primer else 0
            write_output(Path(self.plot), piano_roll(piece, primer_bars=bars))
