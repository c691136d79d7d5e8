"""Output of composed music: a MIDI file, a folder of them, a pipe, JSON lines, and a piano roll."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.cli.output import Output, to_json
from seqgen.config import MusicOptions
from seqgen.errors import UserError
from seqgen.streams import reason, write_bytes

if TYPE_CHECKING:
    from seqgen.api.model import Model
    from seqgen.api.receipts import Receipt
    from seqgen.api.sampling import SampleRequest
    from seqgen.generation.music.composing import Composition


@dataclass(frozen=True)
class PieceWriter:
    """Writer of the pieces of one `sample` command.

    Raises `UserError`, before anything is composed, if the output can't take them.

    Attributes:
        output: A MIDI file, a folder, or `-`.
        plot: PNG file of the piano roll.
        count: Number of pieces.
        first: Index of the first piece.
        as_json: Whether to write JSON lines.
        with_primer: Whether the primer begins each piece.
    """

    output: str
    plot: str | None
    count: int
    first: int
    as_json: bool
    with_primer: bool
    music_options: MusicOptions

    def __post_init__(self) -> None:
        from seqgen.music.names import program

        for name in self.music_options.instrument:
            program(name)
        if self.plot is not None and self.count > 1:
            raise UserError("--plot draws one piece, and -n asks for more")
        if self.to_stdout and not self.as_json:
            if self.count > 1:
                raise UserError("several pieces need a folder: -o FOLDER")
            with Output("-") as out:
                if out.terminal:
                    raise UserError("cannot show a MIDI file on a terminal: write it with -o FILE.mid, or to a pipe")
        elif not self.to_stdout:
            self._make_folder()

    @property
    def to_stdout(self) -> bool:
        return self.output == "-"

    @property
    def folder(self) -> Path | None:
        """The folder for the pieces; None for a single file or standard output."""
        path = Path(os.path.expanduser(self.output))
        wanted = self.count > 1 or path.is_dir() or self.output.endswith(os.sep)
        return path if wanted and not self.to_stdout else None

    def _make_folder(self) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the folder -o {self.output!r}: {reason(error)}") from error

    def write(
        self,
        composed: Composition,
        model: Model,
        request: SampleRequest,
        state_file: str,
        receipt: Receipt | None = None,
    ) -> None:
        """Write one piece. If a `receipt` is replayed, raise `ModelError` for a piece that differs from it."""
        from seqgen.api import receipts
        from seqgen.music import midi
        from seqgen.music.names import program

        programs = tuple(program(name) for name in request.music_options.instrument)
        piece = composed.piece if self.with_primer else composed.without_primer()
        data = midi.write(piece, request.music_options.tempo, programs)
        facts: dict[str, Any] = {
            "index": composed.index, "seed": composed.seed, "bars": composed.bars,
            "primer_bars": composed.primer_bars, "notes": len(piece.notes), "tokens": composed.events,
            "log_probability": composed.log_probability, "finish_reason": composed.finish_reason,
        }  # fmt: skip
        if receipt is not None:
            receipts.check_reproduced(model, receipt, facts)
        if composed.longest_copy is not None:
            facts["longest_copy"] = composed.longest_copy
        path: Path | None = None
        if self.folder is not None:
            path = self.folder / f"{composed.index:0{len(str(self.first + self.count - 1))}d}.mid"
        elif not self.to_stdout:
            path = Path(os.path.expanduser(self.output))
        if path is not None:
            write_bytes(path, data)
        if self.as_json:
            facts["receipt"] = receipts.make_receipt(model, request, "", state_file)
            content = {"midi": base64.b64encode(data).decode()} if path is None else {"file": str(path)}
            with Output("-") as out:
                out.write(to_json({**facts, **content}) + "\n")
        elif path is None:
            with Output("-") as out:
                out.write(data)
        if self.plot is not None:
            from seqgen.plots.music import piano_roll

            bars = composed.primer_bars if self.with_primer else 0
            write_bytes(Path(os.path.expanduser(self.plot)), piano_roll(piece, primer_bars=bars))
