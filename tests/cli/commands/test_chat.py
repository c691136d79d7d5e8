"""Dialogue through the real command: training, talking in a pipe and on a terminal, transcripts and measures."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import seqgen
from seqgen.checkpoint import identity
from seqgen.cli.commands import chat
from seqgen.config import SampleOptions
from seqgen.corpus.conversations.read import read_conversations
from seqgen.corpus.sources import Spool, checksum_documents, find
from seqgen.tokenizers import dump, parse
from seqgen.tokenizers.dialogue import DialogueCodec
from tests.helpers.dialogues import KNOWN, to_messages, train_known
from tests.helpers.running import Command, MadeOnce, Run, prose
from tests.helpers.terminal import MAIN_ON_TERMINAL, Terminal, start_on_terminal
from tests.helpers.waiting import eventually, killed_after

# A training that ends in a moment: what is learnt does not matter here.
TINY = ["--rnn-size", "16", "--steps", "3", "--threads", "1", "--precision", "fp32", "--tokenizer", "byte"]
CONTROLS = re.compile("[\x00-\x06\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # U+0007: readline's own bell


@pytest.fixture(scope="session")
def bot(made_once: MadeOnce) -> Path:
    """A model that knows a few conversations by heart. Not to be changed: copy it first."""
    return made_once("dialogue", train_known) / "dialogue-model"


@pytest.fixture(scope="session")
def known_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("known") / "known.jsonl"
    path.write_text("".join(to_messages(turns) + "\n" for turns in KNOWN))
    return path


@pytest.fixture(scope="session")
def nasty_bot(bot: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with ESC for every `e` and a C1 control for every `a`."""
    folder = tmp_path_factory.mktemp("nasty-bot") / "bot"
    shutil.copytree(bot, folder)
    path = folder / "tokenizer.json"
    data = json.loads(path.read_text())
    pieces = data["text"]["pieces"]
    pieces[pieces.index("e")], pieces[pieces.index("a")] = "\x1b", "\x9b"
    files = dump(parse({"tokenizer.json": json.dumps(data).encode()}))
    path.write_bytes(files["tokenizer.json"])
    config = json.loads((folder / "config.json").read_text())
    old, config["identity"] = config["identity"], identity(seqgen.load(bot).checkpoint.network, files)
    with safe_open(folder / "model.safetensors", "numpy") as weights:
        said = {key: value.replace(old, config["identity"]) for key, value in weights.metadata().items()}
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118 - no mapping
    save_file(tensors, folder / "model.safetensors", said)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def likeliest(bot: Path, *lines: str) -> list[str]:
    """What the model says to these lines at temperature 0, by way of Python."""
    talk = seqgen.load(bot).conversation(SampleOptions(temperature=0))
    for line in lines:
        talk.hear(line)
        list(talk.reply())
    return [words for _, words in talk.turns[1::2]]


# ---- Training ----


def in_messages(conversations: list[list[tuple[int, str]]]) -> str:
    return "".join(to_messages(turns) + "\n" for turns in conversations)


def in_eou(conversations: list[list[tuple[int, str]]]) -> str:
    return "".join(" ".join(f"{words} __eou__" for _, words in turns) + "\n" for turns in conversations)


def in_transcript(conversations: list[list[tuple[int, str]]]) -> str:
    names = ("Mary", "Tom")
    return "\n".join("".join(f"{names[who]}: {words}\n" for who, words in turns) for turns in conversations)


def in_yaml(conversations: list[list[tuple[int, str]]]) -> str:
    lists = ("- - " + "\n  - ".join(json.dumps(words) for _, words in turns) for turns in conversations)
    return "conversations:\n" + "\n".join(lists) + "\n"


def in_csv(conversations: list[list[tuple[int, str]]]) -> str:
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(["question", "answer"])
    table.writerows([[turns[0][1], turns[1][1]] for turns in conversations])
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "spell", "task"),
    [
        ("talk.jsonl", in_messages, []),
        ("talk.txt", in_eou, []),
        ("talk.txt", in_transcript, ["--task", "dialogue"]),
        ("talk.yml", in_yaml, ["--task", "dialogue"]),
        ("talk.csv", in_csv, ["--task", "dialogue"]),
    ],
    ids=["messages", "eou", "transcript", "yaml", "csv"],
)
def test_train_dialogue_detects_the_format(
    run: Run, tmp_path: Path, name: str, spell: Callable[..., str], task: list[str]
) -> None:
    (tmp_path / name).write_text(spell(KNOWN))
    done = run("train", tmp_path / name, "-o", tmp_path / "bot", *task, *TINY)
    assert done.out == b""
    turns = 2 if spell is in_csv else 4
    assert f"12 conversations, {12 * turns} turns" in done.err
    model = seqgen.load(tmp_path / "bot")
    assert model.task == "dialogue"
    assert isinstance(model.codec, DialogueCodec)
    facts = json.dumps(model.info())
    assert '"train_conversations": 11' in facts
    assert '"held_out_conversations": 1' in facts
    assert model.info()["metrics"]["perplexity_per_word"] > 1
    assert len(run("chat", tmp_path / "bot", stdin=b"hello\n").lines) == 1


def test_train_dialogue_resume_continues_the_run(run: Run, known_file: Path, tmp_path: Path) -> None:
    bot = tmp_path / "bot"
    run("train", known_file, "-o", bot, *TINY)
    words = seqgen.load(bot).codec.to_dict()
    done = run("train", "-o", bot, "--resume", "--steps", 5, "--threads", 1)
    assert "5 steps" in done.err
    model = seqgen.load(bot)
    assert model.info()["training"]["step"] == 5
    assert (model.task, model.codec.to_dict()) == ("dialogue", words)


def test_train_dialogue_init_from_starts_from_a_model(
    run: Run, bot: Path, known_file: Path, model_folder: Path, tmp_path: Path
) -> None:
    """Of its own kind: a model for text knows of no speakers."""
    how = ["--steps", 1, "--threads", 1, "--precision", "fp32", "--task", "dialogue", "-q"]
    run("train", known_file, "-o", tmp_path / "more", "--init-from", bot, *how)
    more = seqgen.load(tmp_path / "more")
    assert more.task == "dialogue"
    assert more.codec.pieces()[: seqgen.load(bot).codec.vocab_size] == seqgen.load(bot).codec.pieces()
    done = run("train", known_file, "-o", tmp_path / "no", "--init-from", model_folder, *how, status=2)
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("data", [prose(60).encode(), b"", b"{}\n" * 9, b"\xff\xfe\x00", b'{"messages": []}\n'])
def test_train_dialogue_file_without_conversations_is_an_error(run: Run, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "none.txt").write_bytes(data)
    done = run("train", tmp_path / "none.txt", "-o", tmp_path / "bot", "--task", "dialogue", *TINY, "-q", status=2)
    assert done.err.startswith("seqgen: error: ")
    assert done.err.count("\n") == 1
    assert "none.txt" in done.err
    assert not (tmp_path / "bot").exists()


def test_train_dialogue_damaged_lines_are_skipped_unless_strict(run: Run, known_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.jsonl"
    path.write_text(known_file.read_text() + '{"messages": [{"role"\n')
    done = run("train", path, "-o", tmp_path / "bot", *TINY)
    assert "warning: " in done.err
    assert "1 damaged line skipped" in done.err
    done = run("train", path, "-o", tmp_path / "strict", *TINY, "--strict", "-q", status=2)
    assert done.err.count("\n") == 1
    assert "line 13" in done.err


# ---- chat in a pipe ----


def test_chat_pipe_gives_one_reply_per_line(seqgen_command: Command, bot: Path) -> None:
    """Empty ones, blank ones, bytes that are no characters, and a last one without a line feed."""
    lines = [b"where is the dog?", b"", b"   ", b"\xff\xfe\x80", "中 é".encode(), b"\0\x1b[31m", b"x\r", b"who has it?"]
    done = seqgen_command("chat", bot, "-t", 0, stdin=b"\n".join(lines))
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == len(lines)
    assert done.stdout.splitlines()[0] == KNOWN[5][1][1].encode()


@pytest.mark.parametrize(("given", "count"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\n", 1), (b"\n\n\n", 3)])
def test_chat_pipe_counts_lines_by_line_feeds(run: Run, bot: Path, given: bytes, count: int) -> None:
    assert len(run("chat", bot, stdin=given).lines) == count


def test_chat_pipe_ignores_line_endings(run: Run, bot: Path) -> None:
    given = b"where is the hen?\nwho has it?\n"
    assert run("chat", bot, stdin=given.replace(b"\n", b"\r\n")).out == run("chat", bot, stdin=given).out


def test_chat_pipe_accepts_a_very_long_line(run: Run, bot: Path) -> None:
    """Across many reads of the pipe. (A mebibyte takes seconds: every character is a step.)"""
    assert len(run("chat", bot, stdin=b"where is the " + b"dog? " * 30_000 + b"\nwho has it?\n").lines) == 2


def test_chat_pipe_keeps_the_history(run: Run, bot: Path) -> None:
    """The same second question has another answer after another first one."""
    answers = set()
    for turns in KNOWN:
        asked = [turns[0][1], turns[2][1]]
        lines = run("chat", bot, "-t", 0, stdin="\n".join(asked).encode()).lines
        assert lines == likeliest(bot, *asked)
        answers.add(lines[1])
    assert len(answers) >= 6


@pytest.mark.parametrize(("flags", "more"), [([], {"alone", "score"}), (["--candidates", 1], set())])
def test_chat_json_prints_an_object_per_reply(run: Run, bot: Path, flags: list[object], more: set[str]) -> None:
    given = b'where is the dog?\n\n\xff "quoted"\t\\\n'
    records = [json.loads(line) for line in run("chat", bot, "--json", *flags, stdin=given).lines]
    assert [record["prompt"] for record in records] == ["where is the dog?", "", '\udcff "quoted"\t\\']
    plain = run("chat", bot, *flags, stdin=given).lines
    for record, line in zip(records, plain, strict=True):
        assert set(record) == {"prompt", "text", "tokens", "log_probability", "finish_reason"} | more
        assert " ".join(record["text"].split()) == line
        assert record["tokens"] >= len(record["text"]) > 0
        assert record["log_probability"] < 0


def test_chat_new_on_empty_starts_a_new_conversation(run: Run, bot: Path) -> None:
    asked, more = KNOWN[0][0][1], KNOWN[0][2][1]
    given = f"{asked}\n{more}\n\n{asked}\n  \n{asked}".encode()
    lines = run("chat", bot, "--new-on-empty", "-t", 0, stdin=given).lines
    reply, further = likeliest(bot, asked, more)
    assert lines == [reply, further, "", reply, "", reply], "output and input stay side by side"
    records = [json.loads(line) for line in run("chat", bot, "--new-on-empty", "--json", "-t", 0, stdin=given).lines]
    assert [record["text"] for record in records] == [line for line in lines if line]


@pytest.mark.parametrize("flags", [[], ["--candidates", 4], ["-t", 0.9, "--top-k", 5]])
def test_chat_same_input_gives_the_same_output(run: Run, bot: Path, flags: list[object]) -> None:
    given = b"".join(f"where is the {thing}?\n".encode() for thing in ("tree", "sky", "lamp", "moon"))
    once = run("chat", bot, *flags, stdin=given)
    assert len(once.lines) == 4
    assert all(once.lines)
    assert run("chat", bot, *flags, stdin=given).out == once.out
    assert run("chat", bot, *flags, "--seed", 7, "-t", 2, stdin=given).out != once.out


def test_chat_candidates_report_their_score(run: Run, bot: Path) -> None:
    done = run("chat", bot, "--candidates", 4, "--json", "--mutual", 0.25, stdin=b"where is the dog?\n")
    record = done.json
    assert set(record) == {"prompt", "text", "tokens", "log_probability", "finish_reason", "alone", "score"}
    wanted = record["log_probability"] - 0.25 * record["alone"]
    assert record["score"] == pytest.approx(wanted)


def pipe(bot: Path, *flags: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "seqgen", "chat", str(bot), *flags],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_chat_pipe_replies_before_the_next_line(bot: Path) -> None:
    """Who is at the other end may wait for it; and may go away without a fuss, as `head -1` does."""
    with killed_after(pipe(bot)) as process, process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for line in (b"where is the dog?\n", b"who has it?\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        process.stdin.write(b"where is the hen?\n" * 50)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("flags", [["--stop", "x"], ["--length", "9"], ["--candidates", "0"], ["--mutual", "2"]])
def test_chat_invalid_flags_are_errors(run: Run, bot: Path, flags: list[str]) -> None:
    done = run("chat", bot, *flags, stdin=b"x\n", status=2)
    assert done.out == b""
    assert done.err.startswith("seqgen: error: ")
    assert done.err.count("\n") == 1


def test_chat_text_model_is_an_error(run: Run, model_folder: Path) -> None:
    done = run("chat", model_folder, stdin=b"hello\n", status=2)
    assert done.out == b""
    assert done.err == "seqgen: error: this is a model for text; a conversation needs one for dialogue\n"


# ---- chat on a terminal ----


class Person:
    """Someone at a terminal, who waits for the prompt before typing the next line."""

    def __init__(self, terminal: Terminal, *arguments: object, cwd: Path | None = None) -> None:
        self.terminal = terminal
        self.process = start_on_terminal(terminal, "chat", *arguments, cwd=cwd)
        self._prompts = 0
        self._wait()

    def _wait(self) -> None:
        """Until one prompt more has come."""
        self._prompts += 1
        assert eventually(lambda: self._has_prompted() or self.process.poll() is not None), self.terminal.output
        assert self._has_prompted(), self.terminal.output

    def _has_prompted(self) -> bool:
        return len(re.findall(rb"(?m)^(?:\x1b\[\?2004h)?> ", self.terminal.output)) >= self._prompts

    def say(self, line: str) -> str:
        """What comes after it, without the echo and the next prompt."""
        before = len(self.terminal.output)
        self.terminal.type(line.encode() + b"\n")
        self._wait()
        said = re.sub(rb"\x1b\[\?2004[hl]\r?", b"", self.terminal.output[before:]).decode()
        return said.partition("\n")[2].removesuffix("> ")

    def leave(self, keys: bytes) -> int:
        """Press the keys, once more if they had no effect. Readline prints the prompt before it waits for input: a
        signal in between is noticed only at the next key."""
        self.terminal.type(keys)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.terminal.type(keys)
            return self.process.wait(60)


def test_chat_terminal_conversation(terminal: Terminal, run: Run, bot: Path, tmp_path: Path) -> None:
    person = Person(terminal, bot, "-t", 0, cwd=tmp_path)
    assert b"seqgen: /help lists commands" in terminal.output
    told = person.say("/help")
    for command in ("/reset", "/undo", "/retry", "/temperature", "/save", "/quit"):
        assert command in told
    assert person.say("/undo") == "seqgen: there is nothing to undo\n"
    assert person.say("/retry") == "seqgen: there is no reply to retry\n"
    first, second = KNOWN[3][0][1], KNOWN[3][2][1]
    reply, further = likeliest(bot, first, second)
    assert person.say(first) == f"{reply}\n"
    assert person.say("") == ""
    assert person.say(second) == f"{further}\n"
    assert person.say("/retry") == f"{further}\n", "at temperature 0 there is one reply only"
    assert person.say("/undo") == ""
    assert person.say("/save talk.jsonl") == "seqgen: talk.jsonl: 2 turns\n"
    assert (tmp_path / "talk.jsonl").read_text() == to_messages([(0, first), (1, reply)]) + "\n"
    assert person.say(second) == f"{further}\n", "what was taken back can be said again"
    assert person.say("/reset") == ""
    assert person.say("/retry") == "seqgen: there is no reply to retry\n"
    assert person.say(first) == f"{reply}\n"
    for wrong in ("", "warm", "-1", "nan", "inf"):
        assert person.say(f"/temperature {wrong}").startswith("seqgen: /temperature needs a number")
    assert person.say("/temperature 3") == ""
    assert len({person.say("/retry") for _ in range(3)}) > 1, "it is wilder now"
    assert person.say("/save") == "seqgen: /save needs a file name\n"
    assert person.say(f"/save {tmp_path}/talk.jsonl/x").startswith("seqgen: cannot write")
    assert person.say("/bogus now") == "seqgen: there is no command /bogus; /help lists them\n"
    assert person.say("/").startswith("seqgen: there is no command /")
    person.say("hm \u202e é 中")
    assert person.say("/save whole.jsonl") == "seqgen: whole.jsonl: 4 turns\n"
    assert person.leave(b"/quit\n") == 0
    assert b"Traceback" not in terminal.close()
    with Spool() as spool:
        (conversation,), _ = read_conversations(checksum_documents(find([str(tmp_path / "whole.jsonl")], spool)))
    assert [turn.speaker for turn in conversation.turns] == [0, 1, 0, 1]
    assert conversation.turns[2].text == "hm \u202e é 中"
    done = run("train", tmp_path / "whole.jsonl", "-o", tmp_path / "again", *TINY)
    assert "1 conversation, 4 turns (messages)" in done.err
    assert seqgen.load(tmp_path / "again").task == "dialogue"


@pytest.mark.parametrize(("keys", "status"), [(b"\x04", 0), (b"\x03", 130)], ids=["Ctrl-D", "Ctrl-C"])
def test_chat_terminal_control_keys_exit(terminal: Terminal, bot: Path, keys: bytes, status: int) -> None:
    person = Person(terminal, bot, "--quiet")
    assert person.leave(keys) == status
    said = terminal.close()
    assert b"Traceback" not in said
    assert b"seqgen" not in said


def test_chat_terminal_ctrl_c_stops_the_reply_only(
    terminal: Terminal, bot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a model that takes its time over every letter."""
    slowly = """
import time
from seqgen.generation.engines.native import NativeEngine
from seqgen.generation.engines.numpy import NumpyEngine
for engine in (NativeEngine, NumpyEngine):
    engine.step = lambda self, ids, state, step=engine.step: time.sleep(0.1) or step(self, ids, state)
"""
    monkeypatch.setattr("tests.helpers.terminal.MAIN_ON_TERMINAL", slowly + MAIN_ON_TERMINAL)
    person = Person(terminal, bot, "-t", 0)
    terminal.type(b"where is the dog?\n")
    terminal.wait_for(b"\nthe ")
    terminal.type(b"\x03")
    person._wait()
    cut = terminal.output.rpartition(" …".encode())[0].decode().rpartition("\n")[2].replace("^C", "")
    (whole,) = likeliest(bot, "where is the dog?")
    assert whole.startswith(cut)
    assert 4 <= len(cut) < len(whole)
    assert person.say("/undo") == "", "it counts as said"
    assert person.leave(b"/quit\n") == 0
    assert b"Traceback" not in terminal.close()


def test_chat_terminal_marks_a_reply_that_is_cut(
    terminal: Terminal, bot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = "\nfrom seqgen.generation import dialogue\ndialogue._MAX_REPLY = 3\n"
    monkeypatch.setattr("tests.helpers.terminal.MAIN_ON_TERMINAL", shorter + MAIN_ON_TERMINAL)
    person = Person(terminal, bot, "-t", 0)
    (whole,) = likeliest(bot, "where is the dog?")
    said = person.say("where is the dog?")
    assert said.endswith(" …\n") and whole.startswith(said.removesuffix(" …\n"))
    assert person.leave(b"/quit\n") == 0


def test_chat_terminal_of_another_encoding_replaces_what_it_lacks(
    terminal: Terminal, bot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is typed is UTF-8 all the same: the reply echoes no mojibake, and the conversation goes on."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = start_on_terminal(terminal, "chat", bot)
    terminal.wait_for(b"> ")
    terminal.type("你好\r".encode())
    terminal.wait_for("你好".encode())
    terminal.type(b"/quit\r")
    assert process.wait(60) == 0
    assert b"Error" not in terminal.close()


@pytest.mark.parametrize(
    ("encoding", "line", "typed"),
    [
        ("latin-1", "ä½\xa0å¥½", "你好"), ("latin-1", "schön", "schön"), ("ascii", "\udce4\udcbd\udca0", "你"),
        ("utf-8", "你好", "你好"), ("utf-8", "\udcff", "\udcff"),
    ],
)  # fmt: skip
def test_chat_decodes_what_was_typed(monkeypatch: pytest.MonkeyPatch, encoding: str, line: str, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert chat._decoded(line) == typed


def test_chat_terminal_output_has_no_control_characters(terminal: Terminal, nasty_bot: Path, run: Run) -> None:
    """A pipe gets the controls, a terminal their pictures."""
    lines = b"wh\x1br\x1b is th\x1b dog?"
    assert (
        run("chat", nasty_bot, "-t", 0, stdin=lines).out
        == KNOWN[5][1][1].replace("e", "\x1b").replace("a", "\x9b").encode() + b"\n"
    )
    person = Person(terminal, nasty_bot, "-t", 0)
    said = [person.say("dog?"), person.say("/retry"), person.say("/bogus\x0bx"), person.say("/temperature 2")]
    said += [person.say("cat?") for _ in range(3)]
    assert "␛" in "".join(said)
    assert not CONTROLS.search("".join(said))
    assert person.leave(b"\x04") == 0


# ---- sample ----


def test_sample_dialogue_is_a_transcript(run: Run, bot: Path) -> None:
    lines = run("sample", bot, "--prompt", "where is the dog?", "-l", 300, "--seed", 3).out.decode().split("\n")
    assert lines[0] == "A: where is the dog?"
    assert lines[1].startswith("B: ")
    assert len(lines) > 4
    assert all(re.match(r"[AB]: ", line) for line in lines[:-1])
    assert [line[0] for line in lines[:4]] == list("ABAB")


def test_sample_dialogue_without_prompt(run: Run, bot: Path) -> None:
    assert run("sample", bot, "-l", 60, "-t", 0.5).out.startswith(b"A: ")


def test_sample_dialogue_json(run: Run, bot: Path) -> None:
    flags = ["sample", bot, "--prompt", "where is the dog?", "-l", 120, "-n", 2]
    records = [json.loads(line) for line in run(*flags, "--json").lines]
    assert [record["index"] for record in records] == [0, 1]
    assert all(record["prompt"] == "A: where is the dog?" for record in records)
    assert all(len(record["text"]) == 120 and record["text"].startswith("\nB: ") for record in records)
    assert records[0]["text"] != records[1]["text"]
    hidden = run(*flags, "--no-show-prompt").out.decode()
    assert hidden == "\n\n".join(record["text"] for record in records) + "\n"


def test_sample_dialogue_stop_at_end(run: Run, bot: Path) -> None:
    flags = ["--prompt", "where is the dog?", "-l", 2000, "-t", 0.3, "--stop-at-end", "--json"]
    record = run("sample", bot, *flags).json
    assert record["finish_reason"] == "end"
    assert record["text"].count("\n") == 3


# ---- score and evaluate ----


def test_score_dialogue_conversation_is_a_record(run: Run, bot: Path, known_file: Path, tmp_path: Path) -> None:
    records = [json.loads(line) for line in run("score", bot, known_file).lines]
    assert [record["name"].rpartition(":")[2] for record in records] == [str(number) for number in range(1, 13)]
    for record, turns in zip(records, KNOWN, strict=True):
        assert record["tokens"] == sum(len(words) + 1 for _, words in turns) + 1
        assert record["nats"] > 0
    piped = [json.loads(line) for line in run("score", bot, "-", stdin=known_file.read_bytes()).lines]
    assert [record["nats"] for record in piped] == [record["nats"] for record in records]
    assert run("score", bot, known_file, "--lines", status=2).err.count("\n") == 1
    (tmp_path / "prose.txt").write_text(prose(20))
    assert run("score", bot, tmp_path / "prose.txt", status=2).err.count("\n") == 1


METRICS = {
    "perplexity_per_word", "bits_per_character", "hits_at_1_of_10", "distinct_1", "distinct_2",
    "reference_distinct_1", "reference_distinct_2",
}  # fmt: skip


def test_evaluate_dialogue_metrics(run: Run, bot: Path, tmp_path: Path) -> None:
    path = tmp_path / "six.jsonl"
    path.write_text(in_messages(KNOWN[:6]))
    result = run("evaluate", bot, path, "--json", "--replies", 5).json
    assert result["task"] == "dialogue"
    assert (result["records"], result["turns"], result["questions"]) == (6, 24, 18)
    assert set(result["metrics"]) >= METRICS
    assert all(isinstance(value, (int, float)) for value in result["metrics"].values())
    assert result["metrics"]["hits_at_1_of_10"] >= 0.5
    assert result["metrics"]["hits_at_1_of_10_by_probability"] >= 0.8
    assert 1 < result["metrics"]["perplexity_per_word"] < 20
    for name in ("distinct_1", "distinct_2", "reference_distinct_1", "reference_distinct_2"):
        assert 0 < result["metrics"][name] <= 1
    assert result["baselines"]["random"] == {"hits_at_1_of_10": 0.1}
    assert 0 <= result["baselines"]["tfidf"]["hits_at_1_of_10"] <= 1


def test_evaluate_dialogue_of_few_replies_has_fewer_candidates_and_more_chance(
    run: Run, bot: Path, tmp_path: Path
) -> None:
    """Beside the true reply stand the three of the other conversation, or two: `who has it?` is in both."""
    path = tmp_path / "two.jsonl"
    path.write_text(in_messages(KNOWN[:2]))
    result = run("evaluate", bot, path, "--json").json
    assert result["questions"] == 6
    assert result["baselines"]["random"] == {"hits_at_1_of_10": pytest.approx((1 / 4 + 1 / 3 + 1 / 4) / 3)}


def test_evaluate_dialogue_table(run: Run, bot: Path, tmp_path: Path) -> None:
    path = tmp_path / "six.jsonl"
    path.write_text(in_messages(KNOWN[:6]))
    done = run("evaluate", bot, path, "--replies", 0)
    text = done.out.decode()
    assert done.err == ""
    for words in ("6 records", "hits_at_1_of_10", "perplexity_per_word", "random", "tfidf", "0.1000"):
        assert words in text
    assert "distinct_1" not in text


def test_evaluate_dialogue_says_where_words_are_counted_without_the_training_set(run: Run, bot: Path) -> None:
    """What is evaluated is that set here."""
    arguments = ("evaluate", bot, json.loads((bot / "config.json").read_text())["data"]["sources"][0]["name"])
    assert "TF-IDF counts words in what is evaluated" in run(*arguments).err
    assert "TF-IDF" not in run(*arguments, "--no-baselines").err


def test_evaluate_dialogue_without_baselines(run: Run, bot: Path, tmp_path: Path) -> None:
    """One conversation alone: nobody else's replies to choose among."""
    path = tmp_path / "one.jsonl"
    path.write_text(to_messages(KNOWN[0]) + "\n")
    result = run("evaluate", bot, path, "--json", "--replies", 3).json
    assert result["questions"] == 0
    assert "hits_at_1_of_10" not in result["metrics"]
    assert result["metrics"]["distinct_1"] > 0
    path.write_text(to_messages(KNOWN[0][:1]) + "\n")  # nor a reply at all
    result = run("evaluate", bot, path, "--json", "--replies", 3, "--no-baselines").json
    assert result["baselines"] == {}
    assert result["metrics"]["distinct_1"] == 0


def test_evaluate_dialogue_without_conversations_is_an_error(run: Run, bot: Path, tmp_path: Path) -> None:
    (tmp_path / "prose.txt").write_text(prose(20))
    done = run("evaluate", bot, tmp_path / "prose.txt", status=2)
    assert done.err.count("\n") == 1
    assert done.out == b""
