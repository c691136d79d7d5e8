"""The pool of worker processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files


def test_read_midi_files_in_a_folder_with_a_json_module_does_not_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of untrusted MIDI files may hold Python files too; workers never import them."""
    (tmp_path / "json.py").write_text("open('marker', 'w').close()\nraise SystemExit(9)\n")
    paths = [tmp_path / f"{number}.mid" for number in range(25)]
    for path in paths:
        path.write_bytes(b"no MIDI")
    monkeypatch.chdir(tmp_path)
    results = list(read_midi_files(MidiCodec(), [(path.name, path) for path in paths], workers=2))
    assert [result.name for result in results] == [path.name for path in paths]
    assert not (tmp_path / "marker").exists()
