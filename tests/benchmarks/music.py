"""Music benchmarks: `python tests/benchmarks/music.py DATA nottingham|polymusic|groove|legal|speed`.

DATA is a folder with `nottingham/MIDI/*.mid`, `polymusic/*.json.gz` (lists of pitches per step) and `groove/info.csv`
with its MIDI files. Every part runs the real command and prints its results as JSON.

- nottingham: trained on the first nine tenths of the sorted files (of which a tenth is held out), measured on the last.
- polymusic: notes one step long; trained on `train`, validated on `valid`, measured on `test`, per step of the lists
  (not per step of the bars that they fill).
- groove: the split of info.csv; checks that drum patterns are on channel 10 and in the metre.
- legal: 1,000 pieces at temperature 2 from a model of 20 steps, parsed by two libraries.
- speed: encoding compared with mido's parsing of the same files, and two processes with one.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mido

from seqgen.tokenizers.midi import MidiCodec
from seqgen.tokenizers.midi_files import read_midi_files


def seqgen(*arguments: object) -> str:
    """The standard output of the command."""
    command = [sys.executable, "-m", "seqgen", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def copied(files: list[Path], folder: Path) -> Path:
    """A folder of copies of the files, named by their number and name: links that lead out of it would be skipped."""
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        shutil.copyfile(file, folder / f"{number:05d}-{file.name}")
    return folder


def evaluate(model: Path, test: Path, *arguments: object) -> dict[str, Any]:
    """The object that `evaluate --json` prints."""
    result: dict[str, Any] = json.loads(seqgen("evaluate", model, test, "--json", *arguments))
    return result


def nottingham(data: Path, folder: Path, budget: str) -> dict[str, Any]:
    files = sorted((data / "nottingham" / "MIDI").glob("*.mid"))
    cut = len(files) * 9 // 10
    train, test = copied(files[:cut], folder / "train"), copied(files[cut:], folder / "test")
    began = time.monotonic()
    seqgen("train", train, "-o", folder / "model", "--budget", budget)
    took = time.monotonic() - began
    found = evaluate(folder / "model", test, "--pieces", 50, "--length", 16)
    return {"seconds": round(took, 1), "metrics": found["metrics"], "baselines": found["baselines"]}


def polymusic(data: Path, folder: Path, budget: str) -> dict[str, Any]:
    results = {}
    for name in ("JSB_Chorales", "Nottingham"):
        pieces = json.loads(gzip.decompress((data / "polymusic" / f"{name}.json.gz").read_bytes()))
        for part, lists in pieces.items():
            for number, steps in enumerate(lists):
                path = folder / name / part / f"{number:04d}.mid"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_steps(steps, path)
        began = time.monotonic()
        seqgen(
            "train", folder / name / "train", "--valid", folder / name / "valid", "-o", folder / f"{name}.model",
            "--grid", 1, "--velocity-bins", 1, "--budget", budget,
        )  # fmt: skip
        took = time.monotonic() - began
        metrics = evaluate(folder / f"{name}.model", folder / name / "test", "--pieces", 0)["metrics"]
        steps = sum(map(len, pieces["test"]))
        nats = metrics["nats_per_step"] * metrics["steps"]
        results[name] = {"seconds": round(took, 1), "nats_per_step": nats / steps, "steps": steps}
    return results


def write_steps(steps: list[list[int]], path: Path) -> None:
    """A list of pitches per step as MIDI: a step is a quarter note, every note is one step long."""
    ticks = 120
    file = mido.MidiFile(type=0, ticks_per_beat=ticks)
    track = mido.MidiTrack()
    file.tracks.append(track)
    now = 0
    for number, pitches in enumerate(steps):
        for event, velocity, tick in (("note_on", 64, number * ticks), ("note_off", 0, (number + 1) * ticks)):
            for pitch in pitches:
                track.append(mido.Message(event, note=int(pitch), velocity=velocity, time=tick - now))
                now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, len(steps) * ticks - now)))
    file.save(path)


def groove(data: Path, work: Path, budget: str) -> dict[str, Any]:
    folder = data / "groove"
    parts: dict[str, list[Path]] = {"train": [], "validation": [], "test": []}
    for row in csv.DictReader((folder / "info.csv").read_text("utf-8").splitlines()):
        if (folder / row["midi_filename"]).exists():
            parts[row["split"]].append(folder / row["midi_filename"])
    for part, files in parts.items():
        copied(sorted(files), work / part)
    seqgen("train", work / "train", "--valid", work / "validation", "-o", work / "model", "--budget", budget)
    metrics = evaluate(work / "model", work / "test", "--pieces", 0)["metrics"]
    seqgen("sample", work / "model", "-n", 50, "--length", 8, "-o", work / "drums")
    codec, on_ten, melodic = MidiCodec(), 0, 0
    metres: dict[str, int] = {}
    for path in sorted((work / "drums").glob("*.mid")):
        piece, _ = codec.read_piece(path.read_bytes())
        for note in piece.notes:
            on_ten += piece.tracks[note.track].drums
            melodic += not piece.tracks[note.track].drums
        for bar in piece.bars:
            name = f"{bar.numerator}/{bar.denominator}"
            metres[name] = metres.get(name, 0) + 1
    return {"metrics": metrics, "strokes": on_ten, "melodic notes": melodic, "bars by metre": metres}


def legal(data: Path, folder: Path, budget: str) -> dict[str, Any]:
    import symusic

    files = sorted((data / "nottingham" / "MIDI").glob("*.mid"))[:60]
    files += sorted((data / "groove").rglob("*.mid"))[:60]
    seqgen("train", copied(files, folder / "few"), "-o", folder / "model", "--steps", 20)
    seqgen("sample", folder / "model", "-n", 1000, "--length", 8, "-t", 2, "-o", folder / "out")
    counts = {"files": 0, "notes": 0, "hanging": 0, "of no length": 0, "read by mido": 0, "read by symusic": 0}
    for path in sorted((folder / "out").glob("*.mid")):
        counts["files"] += 1
        sounding: dict[tuple[int, int, int], int] = {}
        now = 0
        for number, track in enumerate(mido.MidiFile(path).tracks):
            now = 0
            for message in track:
                now += message.time
                if message.type in ("note_on", "note_off"):
                    key = (number, message.channel, message.note)
                    if message.type == "note_on" and message.velocity:
                        counts["notes"] += 1
                        counts["hanging"] += key in sounding
                        sounding[key] = now
                    else:
                        counts["of no length"] += sounding.pop(key, now) == now
        counts["hanging"] += len(sounding)
        counts["read by mido"] += 1
        score = symusic.Score(path)
        assert sum(len(each.notes) for each in score.tracks) >= 0
        counts["read by symusic"] += 1
    return counts


def speed(data: Path, folder: Path, budget: str) -> dict[str, Any]:
    files = [(str(path), path) for path in sorted((data / "nottingham" / "MIDI").glob("*.mid"))]
    codec = MidiCodec()
    rounds = []
    for _ in range(3):
        times = {}
        began = time.perf_counter()
        for _, path in files:
            mido.MidiFile(path)
        times["mido alone"] = time.perf_counter() - began
        for workers in (1, 2):
            began = time.perf_counter()
            tokens = sum(len(read.ids) for read in read_midi_files(codec, files, workers=workers))
            times[f"seqgen, {workers}"] = time.perf_counter() - began
        rounds.append(times)
    best = {name: min(times[name] for times in rounds) for name in rounds[0]}
    return {
        "files": len(files),
        "tokens": tokens,
        "seconds": {name: round(value, 2) for name, value in best.items()},
        "encoding / parsing": round(best["seqgen, 1"] / best["mido alone"] - 1, 2),
        "two processes": round(best["seqgen, 1"] / best["seqgen, 2"], 2),
    }


PARTS = {"nottingham": nottingham, "polymusic": polymusic, "groove": groove, "legal": legal, "speed": speed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS))
    parser.add_argument("--budget", default="10m")
    given = parser.parse_args()
    for part in given.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["SEQGEN_CACHE"] = f"{folder}/cache"
            print(json.dumps({part: PARTS[part](given.data, Path(folder), given.budget)}, indent=1), flush=True)


if __name__ == "__main__":
    main()
