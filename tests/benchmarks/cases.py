"""Verdicts on inputs as people have them: `python tests/benchmarks/cases.py FOLDER [NUMBER...] [--seqgen COMMAND]`.

FOLDER has a folder per case, `NN-name/`, with `run.sh`, which runs the command in $SEQGEN on the inputs of the case in
a new temporary folder and prints what it says. The output is compared here with what a good program does. Prints a
table of verdicts, and ends with status 1 if a case fails.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Check = Callable[[str], Iterator[str]]  # output -> what is wrong
CHECKS: dict[str, Check] = {}


def case(number: str) -> Callable[[Check], Check]:
    def register(check: Check) -> Check:
        CHECKS[number] = check
        return check

    return register


def has(output: str, pattern: str) -> bool:
    return re.search(pattern, output, re.IGNORECASE | re.MULTILINE) is not None


def need(output: str, pattern: str, otherwise: str) -> Iterator[str]:
    if not has(output, pattern):
        yield otherwise


def never(output: str, pattern: str, otherwise: str) -> Iterator[str]:
    if has(output, pattern):
        yield otherwise


def statuses(output: str) -> list[int]:
    return [int(status) for status in re.findall(r"\[status (\d+)\]", output)]


def blocks(output: str) -> list[str]:
    """The output of each command that `t` ran."""
    return re.split(r"^\$ ", output, flags=re.MULTILINE)[1:]


@case("01")
def utf16_novel(output: str) -> Iterator[str]:
    yield from need(output, r"NUL bytes in 200 characters sampled: 0$", "NULs are written")
    yield from need(output, r"UTF-16", "UTF-16 is not named")
    yield from never(output, r"left out|skipped|passed over", "a file of the folder is left out")
    yield from need(output, r"10,8\d\d tokens to train on|1[012],\d\d\d characters|10,8\d\d characters", "wrong size")


@case("02")
def docx_and_piped_gzip(output: str) -> Iterator[str]:
    word, piped, named, good = blocks(output)[0], *blocks(output)[-3:]
    yield from need(word, r"\[status 2\]", "the Word document is not refused")
    yield from need(word, r"Word document", "it is not named")
    if word.count("\nseqgen: ") > 1:
        yield "more than one line"
    sizes = {re.search(r"([\d,]+) tokens to train on", block).group(1) for block in (named, good)
             if re.search(r"([\d,]+) tokens to train on", block)}  # fmt: skip
    if len(sizes) != 1 or not has(output, r"piped writes"):
        yield f"gzip is not read as what it holds: {sizes}"
    yield from never(piped, r"\[status [^0]", "a pipe of gzip fails")


@case("03")
def model_folder_inside_the_corpus(output: str) -> Iterator[str]:
    if statuses(output) != [0, 0, 0]:
        yield f"statuses {statuses(output)}"
    tail = output[output.rindex("[status") :]
    yield from never(tail, r"model/|config\.json|metrics|tokenizer", "files of the model are learnt")
    for number in range(1, 5):
        yield from need(tail, rf"diary{number}\.txt", f"diary{number} is missing")


@case("06")
def eight_short_poems(output: str) -> Iterator[str]:
    first = output.split("--- all eight in one file")[0]
    if has(first, r"\b0 held out") or not has(first, r"held out"):
        yield from need(first, r"warning: .*held out", "nothing is held out, without a word")


@case("07")
def midi_harmless_bad_metas(output: str) -> Iterator[str]:
    if len(re.findall(r"1 file, 1 read: 64 notes, 64 kept", output)) != 5:
        yield "not every file is read with its 64 notes"
    yield from need(output, r"5 files: 5 read", "train does not read all five")


@case("10")
def midi_wrapped(output: str) -> Iterator[str]:
    if len(re.findall(r"64 notes, 64 kept", output)) != 4:
        yield "not all four hold 64 notes"


@case("11")
def midi_triplets(output: str) -> Iterator[str]:
    lines = re.search(r"lines of train that speak of the grid: (\d+)", output)
    if lines is None or lines.group(1) == "0":
        yield "train does not speak of the grid"
    yield from need(output, r"--grid (12|3)\b|grid of 12|grid 12|12 steps", "no better grid is named or taken")


@case("13")
def discord_messenger_speakers(output: str) -> Iterator[str]:
    yield from never(output, r"by turns|alternat", "speakers by turns")
    for name in ("discord", "messenger", "claude"):
        block = re.search(rf"--- read {name}\.json\n(.*?)(?=\n--- read|\Z|\n\n\$)", output, re.DOTALL)
        if block is None or '"speakers"' not in block.group(1):
            yield f"{name}: speakers are not told"
    pairs = re.findall(r'"speaker": ?"?([^",}]+)"?, ?"text": ?"(\w+) says', output)
    spoken: dict[str, set[str]] = {}
    for speaker, name in pairs:
        spoken.setdefault(name, set()).add(speaker)
    if any(len(numbers) != 1 for numbers in spoken.values()) or not spoken:
        yield f"a person has several speakers, or none: {spoken}"
    first = re.search(r"number (\d+)", output)
    if first is None or first.group(1) != "0":
        yield "the oldest message is not first"


@case("14")
def alpaca_csv(output: str) -> Iterator[str]:
    if not has(output, r'"records": ?40\b') and not has(output, r"instruction.*not used"):
        yield "not 40 conversations, and nothing said of 'instruction'"
    yield from need(output, r"40 conversations|instruction", "train does not read 40 conversations")


@case("15")
def one_chat_pretty_printed(output: str) -> Iterator[str]:
    if len(re.findall(r'"records": ?1\b', output)) != 3:
        yield "not one conversation three times"
    if len(re.findall(r"1 conversation", output)) < 3:
        yield "train does not read one conversation three times"
    guesses = set(re.findall(r"(?:line|indented|object): seqgen: (\w+)", output))
    if len(guesses) != 1:
        yield f"guessed as {guesses}"


@case("17")
def chat_on_a_latin1_terminal(output: str) -> Iterator[str]:
    yield from never(output, r"UnicodeEncodeError|internal error", "it fails")
    yield from need(output, r"status 0|skipped", "it does not end with status 0")


@case("18")
def labelled_semicolons(output: str) -> Iterator[str]:
    if statuses(output) != [0, 0, 0]:
        yield f"statuses {statuses(output)}"
    yield from need(output, r"gut", "labels are not read")
    yield from never(blocks(output)[0], r"seqgen: text:", "learnt as text")


@case("19")
def stray_quote(output: str) -> Iterator[str]:
    counts = [int(count) for count in re.findall(r'"(?:train|held_out)_texts": ?(\d+)', output)]
    if sum(counts) != 200:
        yield f"{sum(counts)} texts of 200"


@case("21")
def star_labels(output: str) -> Iterator[str]:
    if len(set(re.findall(r'"labels":(\[[^]]*\])', output))) != 1:
        yield "labels stand in several orders"
    if len(set(re.findall(r"\]\s*([0-9a-f]{12})", output))) != 1:
        yield "weights differ"


@case("22")
def folder_a_class(output: str) -> Iterator[str]:
    yield from need(output, r"2 labels|neg, pos|neg.*pos", "labels are not neg and pos")
    yield from never(output, r"labels.*\breviews\b", "the folder's own name is a label")
    yield from need(output, r"README\.txt|4 files|4 .*left out", "stray files are not told of")


@case("24")
def two_thousand_classes(output: str) -> Iterator[str]:
    took = re.search(r"took (\d+) s of a budget", output)
    if took is None or int(took.group(1)) > 25:
        yield f"took {took and took.group(1)} s of 15"
    yield from need(output, r"\[status 0\]", "status is not 0")
    yield from need(output, r"class \d+\s+0\.\d+|class \d+\t", "classify does not work")
    memory = re.search(r"s, (\d+) kB", output)
    if memory is not None and int(memory.group(1)) > 1_500_000:
        yield f"{int(memory.group(1)):,} kB of memory"


@case("26")
def bikes(output: str) -> Iterator[str]:
    first = blocks(output)[0]
    if not has(first, r"1,296 rows.*144 held out") and not has(first, r"dteday.*hr"):
        yield "neither hourly nor refused with both columns"
    yield from never(blocks(output)[0] + blocks(output)[1], r"--series hr", "--series hr is advised")
    yield from need(output, r"2011-03-02[ T]00:00", "the forecast does not begin at 2011-03-02 00:00")


@case("27")
def excel_serials(output: str) -> Iterator[str]:
    yield from never(output, r"to (learn|forecast) Date", "Date is learnt")
    first = blocks(output)[0]
    if has(first, r"\[status 0\]"):
        yield from need(first, r"Date", "Date is read without a word")
    yield from need(
        blocks(output)[1], r"^20\d\d-\d\d-\d\d|^44\d{3},|\[status 2\]", "the forecast has no times of the table"
    )


@case("29")
def yfinance(output: str) -> Iterator[str]:
    for block in blocks(output):
        yield from never(block, r"seqgen: text: (?!.*table)", "learnt as prose")
        yield from never(block, r"--target is for forecast", "--target does not settle the task")
        if has(block, r"\[status 2\]"):
            yield from need(block, r"line 2", "refused without the line")


@case("32")
def thousands_dots(output: str) -> Iterator[str]:
    rows = re.findall(r"^\d[\d.\-/]+[,;\t]([\d.]+)[,;\t]([\d.]+)", output.split("forecast m")[-1], re.MULTILINE)
    told = has(output, r"1[.,]\d\d\d.*(thousand|decimal)|thousand")
    values = [(float(first), float(second)) for first, second in rows]
    right = values and all(600 <= first <= 1500 and 1900 <= second <= 4500 for first, second in values)
    if not right and not told and not has(output, r"\[status 2\]"):
        yield f"forecasts {values[:3]}"


@case("34")
def column_name_with_comma(output: str) -> Iterator[str]:
    if any(statuses(output)):
        yield f"statuses {statuses(output)}"
    header = output.rsplit("$ ", 1)[-1]
    for name in ("Consumption, total", "Price, spot"):
        yield from need(header, rf'"{name}"', f"{name!r} is not quoted in the CSV")


@case("35")
def random_py(output: str) -> Iterator[str]:
    yield from never(output, r"MARK-", "code of the working folder was run")
    if statuses(output) != [0, 0] or not has(output, r"30 files: 30 read"):
        yield f"statuses {statuses(output)}"


@case("36")
def home(output: str) -> Iterator[str]:
    for block in blocks(output):
        if has(block, r"\[status [^02]"):
            yield "a status other than 0 and 2"
        if has(block, r"\[status 2\]"):
            yield from need(block, r"SEQGEN_CACHE", "the remedy is not named")
    if statuses(output)[-2:] != [0, 0]:
        yield "sample or score does not work"


@case("37")
def hangup(output: str) -> Iterator[str]:
    yield from need(output, r"SIGHUP: status 129", "status is not 129")
    yield from need(output.split("SIGHUP")[-1], r"stopped and saved", "it does not say that it saved")
    steps = [int(step) for step in re.findall(r'saved at step "step": *(\d+)', output)]
    if len(steps) != 2 or steps[1] < 0.5 * steps[0]:
        yield f"saved at steps {steps}"


@case("38")
def memory_limit(output: str) -> Iterator[str]:
    if any(status not in (0, 1, 2) for status in statuses(output)):
        yield f"statuses {statuses(output)}"
    yield from never(output, r"OpenBLAS blas_thread_init|Traceback|internal error|Segmentation", "pages of noise")
    for block in blocks(output):
        if not has(block, r"\[status 0\]"):
            yield from need(block, r"memory|no model", "memory is not named")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("numbers", nargs="*")
    parser.add_argument("--seqgen", default=str(Path(sys.executable).parent / "seqgen"))
    parser.add_argument("--show", action="store_true", help="print the output of each case")
    given = parser.parse_args()
    failed = 0
    for folder in sorted(path for path in given.folder.iterdir() if (path / "run.sh").exists()):
        number = folder.name[:2]
        if (given.numbers and number not in given.numbers) or number not in CHECKS:
            continue
        began = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            ["bash", str(folder / "run.sh")], env={**environment, "SEQGEN": given.seqgen}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, check=False,
        )  # fmt: skip
        output = done.stdout.decode("utf-8", "replace")
        if given.show:
            print(output)
        try:
            problems = list(CHECKS[number](output))
        except (IndexError, ValueError) as error:
            problems = [f"the output is not as expected ({error})"]
        failed += bool(problems)
        verdict = "; ".join(problems) or "passes"
        print(f"{folder.name:45} {time.monotonic() - began:5.0f} s  {verdict}", flush=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
