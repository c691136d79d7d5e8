"""Where composed music goes: a MIDI file, a folder of them, a pipe, lines of JSON; and its picture."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.cli.options import Output, to_json
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
    """What `sample` was asked to do with pieces. Raises `UserError`, before anything is composed, where it can't."""

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
                    raise UserError("a MIDI file is nothing for a terminal: name one with -o FILE.mid, or pipe it on")
        elif not self.to_stdout:
            self._make_folder()

    @property
    def to_stdout(self) -> bool:
        return self.output == "-"

    @property
    def folder(self) -> Path | None:
        """The folder that gets the pieces; None where it is one file or a pipe."""
        place = Path(os.path.expanduser(self.output))
        asked = self.count > 1 or place.is_dir() or self.output.endswith(os.sep)
        return place if asked and not self.to_stdout else None

    def _make_folder(self) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"-o {self.output!r} can't be a folder for pieces: {reason(error)}") from error

    def write(
        self, composed: Composition, model: Model, asked: SampleRequest, state_file: str, receipt: Receipt | None = None
    ) -> None:
        """Writes one piece; if it was made again from a receipt, only when it is what that came with."""
        from seqgen.api import receipts
        from seqgen.music import midi
        from seqgen.music.names import program

        programs = tuple(program(name) for name in asked.music_options.instrument)
        piece = composed.piece if self.with_primer else composed.without_primer()
        data = midi.write(piece, asked.music_options.tempo, programs)
        facts: dict[str, Any] = {
            "index": composed.index, "seed": composed.seed, "bars": composed.bars,
            "primer_bars": composed.primer_bars, "notes": len(piece.notes), "tokens": composed.events,
            "log_probability": composed.log_probability, "finish_reason": composed.finish_reason,
        }  # fmt: skip
        if receipt is not None:
            receipts.check_reproduced(model, receipt, facts)
        if composed.longest_copy is not None:
            facts["longest_copy"] = composed.longest_copy
        place: Path | None = None
        if self.folder is not None:
            place = self.folder / f"{composed.index:0{len(str(self.first + self.count - 1))}d}.mid"
        elif not self.to_stdout:
            place = Path(os.path.expanduser(self.output))
        if place is not None:
            write_bytes(place, data)
        if self.as_json:
            facts["receipt"] = receipts.make_receipt(model, asked, "", state_file)
            where = {"midi": base64.b64encode(data).decode()} if place is None else {"file": str(place)}
            with Output("-") as out:
                out.write(to_json({**facts, **where}) + "\n")
        elif place is None:
            with Output("-") as out:
                out.write(data)
        if self.plot is not None:
            from seqgen.plots.music import piano_roll

            bars = composed.primer_bars if self.with_primer else 0
            write_bytes(Path(os.path.expanduser(self.plot)), piano_roll(piece, primer_bars=bars))
