"""The exact line that a person gets for a mistake, over all commands and the models of all tasks; status 2.

`test_errors_table.py` has the wider table, which asks for words of the line only.
"""

from __future__ import annotations

import gzip
import random
import shlex
import shutil
from pathlib import Path

import pytest

from tests.helpers import model_zoo
from tests.helpers.running import COMMANDS, RefusedRun

# What is typed (standard input is there, and empty), and what follows `seqgen: error: `.
ROWS = [
    # ---- flags and arguments ----
    ("sample text hello",
     "unexpected argument 'hello': is a flag missing before it? usage: `seqgen sample [OPTIONS] [MODEL]`"),
    ("sample text --length", "--length needs a value"),
    ("sample text --length 1e3", "--length must be a whole number, not '1e3'"),
    ("sample text --top-p 90%", "--top-p must be a number, not '90%'"),
    ("sample text --quiet=yes", "--quiet takes no value"),
    ("sample text -n 0", "--num-samples must be at least 1, not 0"),
    ("sample text -n 99999999999999999999", "--num-samples must be at most 1000000000000, not 99999999999999999999"),
    ("sample text --first 99999999999999999999", "--first must be at most 1000000000000, not 99999999999999999999"),
    ("tokenize subword words.txt --vocab-size 2147483648", "--vocab-size must be at most 1048576, not 2147483648"),
    ("sample --replay words.txt --engine cpu", "--replay takes all settings from the receipt: leave --engine out"),
    ("sample --replay words.txt --device mps", "--replay takes all settings from the receipt: leave --device out"),
    ("tokenize byte words.txt --encoding gb18030",
     "--encoding can't be used with the tokenizer byte, which takes bytes as they are"),
    ("train words.txt -o new --tokenizer byte --encoding gb18030",
     "--encoding can't be used with the tokenizer byte, which takes bytes as they are"),
    ("tokenize byte words.txt --check --pieces",
     "give --pieces or --check, not both: --check prints a summary, not the tokens"),
    ("sample text --config ''", "--config is empty: name a file"),
    ("train texts.csv -o new --task classify --stop-words ''", "--stop-words is empty: name a file"),
    ("sample text -o ''", "-o is empty: name a file"),
    ("serve text --port 99999", "--port must be at most 65535, not 99999"),
    ("serve text --timeout soon", "--timeout must be a time such as 90s, 10m or 2h; not 'soon'"),
    ("serve", "MODEL is missing; usage: `seqgen serve [OPTIONS] MODEL...`"),
    ("push text", "OWNER/NAME is missing; usage: `seqgen push [OPTIONS] MODEL OWNER/NAME`"),
    ("corpora --about", "--about describes one corpus: give its NAME, or leave it out for the list"),
    ("docs train", "there is no page 'train'; `seqgen train --help` has the flags of the command"),
    ("compare words.txt -o text", "-o 'text' has files that are no comparison; name a new folder"),
    ("compare words.txt -o table.csv", "-o 'table.csv' is a file; name a folder"),
    ("classify classify weather",
     "weather has no column 'text', which the model was trained on; the columns are time, temperature, humidity, "
     "wind, pressure; give one with --text-column"),
    ("classify classify dialogues",
     "dialogues:1: expected an object with 'text'; the keys are messages; give the key with --text-column"),
    ("forecast forecast table.csv --style json", "--style must be one of wide, nixtla; not 'json'"),
    ("forecast forecast table.csv --plot a.pdf", "--plot must name a .png file, not 'a.pdf'"),
    ("evaluate classify texts.csv --plot a.SVG", "--plot must name a .png file, not 'a.SVG'"),
    ("info text --plot -", "--plot must name a .png file, not '-'"),
    # ---- train ----
    ("train words.txt", "-o MODEL is missing: name a folder to save the model in"),
    ("train words.txt -o words.txt", "-o 'words.txt' is a file; name a folder"),
    ("train words.txt -o .", "-o must name a folder to make, not '.'"),
    ("train words.txt -o hf:me/tales", "-o 'hf:me/tales' would be taken for a model of the hub: name another folder"),
    ("train words.txt -o diary", "-o 'diary' has files that are not a model; name a new folder"),
    ("train words.txt -o text",
     "there is already a model in 'text'; replace it with --overwrite or continue with --resume"),
    ("train words.txt -o text --overwrite --resume", "give --resume or --overwrite, not both"),
    ("train missing.txt -o new", "there is no file or folder 'missing.txt'"),
    ("train - - -o new", "standard input can be read only once: '-' is given twice"),
    ("train '' -o new", "'' is not a source; is a variable empty?"),
    ("train '*.nothing' -o new", "no file matches '*.nothing'"),
    ("train void -o new", "'void' has no text"),
    ("train empty.txt -o new", "'empty.txt' is empty: there is nothing to read"),
    ("train cut.gz -o new", "cannot read 'cut.gz': Compressed file ended before the end-of-stream marker was reached"),
    ("train tidewatr -o new", "'tidewatr' is neither a file nor the name of a corpus; did you mean 'tidewater'?"),
    ("train hf: -o new",
     "'hf:' is not a dataset name; write hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT], or hf:PATH[#SPLIT]"),
    ("train words.txt -o new --budget soon", "--budget must be a time such as 90s, 10m or 2h; not 'soon'"),
    ("train words.txt -o new --steps 0", "--steps must be at least 1, not 0"),
    ("train words.txt -o new --steps 3 --epochs 2",
     "give one of --budget, --epochs and --steps, not --epochs and --steps"),
    ("train words.txt -o new --dropout 1.5", "--dropout must be at most 0.95, not 1.5"),
    ("train words.txt -o new --cell elm", "--cell must be one of lstm, gru, rnn; not 'elm'"),
    ("train words.txt -o new --activation relu", "--activation relu needs --cell rnn, not lstm"),
    ("train words.txt -o new --task poetry",
     "task must be one of text, dialogue, music, classify, forecast; not 'poetry'"),
    ("train words.txt -o new --task music", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    ("train words.txt -o new --task dialogue",
     "'words.txt' has no dialogue in a known format (messages, turns, pairs, eou, yaml, WhatsApp, "
     "IRC, SubRip, log, blocks, parlai, csv, tsv, transcript)"),
    ("train words.txt -o new --task classify",
     "'words.txt' has no text and label columns; expected a table (CSV, TSV, .xlsx), JSON lines, lines that start with "
     "__label__, or one folder per class"),
    ("train words.txt -o new --task forecast",
     "words.txt has no numeric column to forecast; the columns are column_1"),
    ("train words.txt -o new --horizon 5", "words.txt has no numeric column to forecast; the columns are column_1"),
    ("train words.txt -o new --grid 8", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    ("train words.txt -o new --task text --sheet A", "--sheet is for dialogue, classify and forecast; this is text"),
    ("train words.txt -o new --init-from missing", "there is no model 'missing'"),
    ("train words.txt -o new --init-from music", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    ("train words.txt -o new --init-from text --rnn-size 64",
     "--rnn-size 64 contradicts --init-from, whose model has 8"),
    ("train talk.jsonl -o new --task dialogue --tokenizer midi",
     "--tokenizer must be one of char, byte, subword; not 'midi'"),
    ("train one.csv -o new --task classify", "every text has the same label, 'good'; at least two labels are needed"),
    ("train texts.csv -o new --task classify --label-column stars",
     "'texts.csv' has no column 'stars'; the columns are text, label"),
    ("train texts.csv -o new --task classify --text-column stars",
     "'texts.csv' has no column 'stars'; the columns are text, label"),
    ("train texts.csv -o new --task classify --generative --balance",
     "--balance cannot be used with --generative"),
    ("train texts.csv -o new --task classify --tie-weights",
     "--tie-weights needs --generative: another classifier has labels as outputs, not tokens"),
    ("train texts.csv -o new --task classify --stop-words missing.txt",
     "cannot read 'missing.txt': No such file or directory"),
    ("train prices.csv -o new --task forecast --target close",
     "prices.csv, line 3, column 'close': 'x' is not a number; correct it, or leave the cell empty"),
    ("train table.csv -o new --task forecast --seq-length 24", "--seq-length has no effect on forecast: leave it out"),
    ("train table.csv -o new --task forecast --target clsoe",
     "table.csv has no column 'clsoe'; the columns are time, temperature, humidity, wind, pressure"),
    ("train table.csv -o new --task forecast --levels 120",
     "--levels must be percentages such as 80,95, or none; not '120'"),
    ("train table.csv -o new --task forecast --split-rows 1",
     "--split-rows must be two or three numbers of rows such as 8640,2880,2880, or fractions such as "
     "0.7,0.1,0.2; not '1'"),
    ("train table.csv -o new --task forecast --frequency fortnightly",
     "--frequency must be a step such as hour, '15 minutes', 'business day', month or row, not 'fortnightly'"),
    ("train few.csv -o new --task forecast --look-back 20 --horizon 5",
     "there are only 3 training rows; --look-back 20 and --horizon 5 need at least 25"),
    ("train tune.mid -o new --task music --pitch-range 90-20",
     "--pitch-range must be two MIDI pitches such as 21-108, not '90-20'"),
    ("train -o text --resume --rnn-size 64", "--rnn-size can't change on --resume: the run has 8"),
    ("train table.csv -o text --resume",
     "the sources are not those that the run began with; give the same ones, or train on others in another folder "
     "with --init-from"),
    # ---- sample ----
    ("sample missing", "there is no model 'missing'"),
    ("sample words.txt", "there is no model 'words.txt' (it is a file); name a folder that `train` wrote"),
    ("sample diary", "'diary' is not a model: it has no config.json"),
    ("info shelf", "'shelf' is not a model: it has no config.json; it holds models: name one, such as 'shelf/one'"),
    ("sample text/config.json", "there is no model 'text/config.json' (it is a file); its folder 'text' is one"),
    ("sample text --prompt a --prompt-file words.txt", "give --prompt or --prompt-file, not both"),
    ("sample text --prompt-file missing.txt", "cannot read 'missing.txt': No such file or directory"),
    ("sample text --stop ''", "--stop must not be empty"),
    ("sample text --temperature -1", "--temperature must be at least 0, not -1"),
    ("sample text --top-p 0", "--top-p must be more than 0, not 0"),
    ("sample text --seed -1", "--seed must be at least 0, not -1"),
    ("sample text --engine steam", "--engine must be one of auto, cpu, torch; not 'steam'"),
    ("sample text --device abacus", "--device must be one of auto, cpu, cuda, mps; not 'abacus'"),
    ("sample text --engine light --device cuda", "--engine cpu cannot compute on cuda; use --engine torch"),
    ("sample text --primer tune.mid", "--primer is for music; this is a model for text"),
    ("sample text --label good", "--label is for models trained with --generative; this is one for text"),
    ("sample text --tempo 120", "--tempo is for music; this is a model for text"),
    ("sample music --prompt hello",
     "--prompt, --prompt-file and --stop are for text; this is a model for music, which continues --primer FILE.mid"),
    ("sample music --primer words.txt", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    ("sample music --primer missing.mid", "cannot read 'missing.mid': No such file or directory"),
    ("sample music --key 'H flat'",
     "no scale 'H flat': give a tonic and one of major, ionian, dorian, phrygian, lydian, mixolydian, "
     "aeolian, locrian, minor, natural minor, harmonic minor, melodic minor, pentatonic, major pentatonic, "
     "minor pentatonic, blues, whole tone, chromatic, for example 'D dorian' or 'F#m'"),
    ("sample music --instrument kazoo2", "no General MIDI instrument is named 'kazoo2': did you mean koto (107)?"),
    ("sample music -n 2", "several pieces need a folder: -o FOLDER"),
    ("sample music --adaptive", "--adaptive is for text; this is a model for music"),
    ("sample music -n 2 --plot a.png -o out", "--plot draws one piece, and -n asks for more"),
    ("sample music -o diary/ --state-out diary/0.mid",
     "--state-out names the file of a piece, 'diary/0.mid': name another"),
    ("sample text --replay words.txt -o words.txt",
     "-o 'words.txt' would replace a file that is read: name another"),
    ("score text --state-in -", "standard input can be read only once: '-' is given twice"),
    ("sample music -o diary --plot diary/0.png --format png",
     "--plot names the file of a piece, 'diary/0.png': name another"),
    ("sample music --json -o a.mid --state-out -",
     "--state-out - and the output would both go to standard output; name a file for one of them"),
    ("sample text --shard 1/2 --state-out a", "--state-out saves the state after a sample, and this shard has none"),
    ("sample dialogue --key 'D dorian'", "--key is for music; this is a model for dialogue"),
    ("sample classify", "this model classifies but can't write; `train --generative` makes one that does both"),
    ("sample forecast", "this is a model for forecast: it reads tables of numbers; use `seqgen forecast`"),
    ("sample generative", "--label must be one of this model's labels: negative, positive"),
    ("sample generative --label nothing",
     "--label must be one of this model's labels: negative, positive; not 'nothing'"),
    ("sample text -o diary", "-o 'diary' is a folder; name a file"),
    ("sample text -o words.txt/inside", "cannot write 'words.txt/inside': 'words.txt' is not a writable folder"),
    # ---- chat ----
    ("chat text", "this is a model for text; a conversation needs one for dialogue"),
    ("chat missing", "there is no model 'missing'"),
    ("chat dialogue --stop x", "--stop and --length are for `sample`; the model ends its replies itself"),
    ("chat dialogue --candidates 0", "--candidates must be at least 1, not 0"),
    ("chat dialogue --mutual 2", "--mutual must be at most 1, not 2"),
    ("chat dialogue --length 5", "--stop and --length are for `sample`; the model ends its replies itself"),
    # ---- classify ----
    ("classify text words.txt", "this is a model for text; `seqgen classify` needs one for classify"),
    ("classify missing words.txt", "there is no model 'missing'"),
    ("classify forecast words.txt", "this is a model for forecast; `seqgen classify` needs one for classify"),
    ("classify classify missing.txt", "there is no file or folder 'missing.txt'"),
    ("classify classify void", "'void' has no text"),
    ("classify classify --top-k 0 words.txt", "--top-k must be at least 1, not 0"),
    ("classify classify --min-confidence 2 words.txt", "--min-confidence must be at most 1, not 2"),
    ("classify classify --format xml words.txt", "--format must be one of text, jsonl, fasttext, csv; not 'xml'"),
    ("classify classify words.txt -o diary", "-o 'diary' is a folder; name a file"),
    # ---- forecast ----
    ("forecast text table.csv", "this is a model for text; `seqgen forecast` needs one for forecast"),
    ("forecast missing table.csv", "there is no model 'missing'"),
    ("forecast forecast missing.csv", "there is no file or folder 'missing.csv'"),
    ("forecast forecast words.txt", "words.txt has no column 'time'; the columns are column_1"),
    ("forecast forecast few.csv --levels 99",
     "--levels 99: the model has no such prediction interval; it has 50, 80, 95"),
    ("forecast forecast table.csv --levels many", "--levels must be percentages such as 80,95, or none; not 'many'"),
    ("forecast forecast table.csv --horizon 0", "--horizon must be at least 1, not 0"),
    ("forecast forecast table.csv --backtest 1000", "--backtest 1,000 needs 3,001 rows; there are 199"),
    ("forecast forecast prices.csv", "prices.csv has no column 'time'; the columns are date, close"),
    ("forecast forecast table.csv -o diary", "-o 'diary' is a folder; name a file"),
    ("forecast forecast table.csv --plot words.txt/a.png",
     "cannot write 'words.txt/a.png': 'words.txt' is not a writable folder"),
    # ---- score ----
    ("score missing words.txt", "there is no model 'missing'"),
    ("score classify words.txt", "this is a model for classify: it can't score; use `seqgen classify`"),
    ("score forecast table.csv", "this is a model for forecast: it reads tables of numbers; use `seqgen forecast`"),
    ("score music words.txt", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    ("score music --lines tune.mid", "--lines is for text; a piece is a record"),
    ("score dialogue --lines words.txt", "--lines is for text; a conversation is a record"),
    ("score dialogue words.txt",
     "'words.txt' has no dialogue in a known format (messages, turns, pairs, eou, yaml, WhatsApp, "
     "IRC, SubRip, log, blocks, parlai, csv, tsv, transcript)"),
    ("score text empty.txt", "'empty.txt' is empty"),
    ("score text - -", "standard input can be read only once: '-' is given twice"),
    ("score text void", "'void' has no text"),
    ("score text words.txt --colour always --lines",
     "--lines can't be used with --colour always, which prints the text instead"),
    ("score text words.txt --colour always --per-token",
     "--per-token can't be used with --colour always, which prints the text instead"),
    ("score text words.txt -o diary", "-o 'diary' is a folder; name a file"),
    ("score text words.txt --shard 2/2 --state-out a",
     "--state-out saves the state after one record, and this shard has none; score one"),
    # ---- evaluate ----
    ("evaluate missing words.txt", "there is no model 'missing'"),
    ("evaluate text empty.txt", "'empty.txt' is empty: there is nothing to read"),
    ("evaluate text missing.txt", "there is no file or folder 'missing.txt'"),
    ("evaluate text words.txt --pieces 3", "--pieces is for music; this is text"),
    ("evaluate text words.txt --seed 4", "--seed is for dialogue and music; this is text"),
    ("evaluate classify texts.csv -t 0.5", "--temperature is for dialogue and music; this is classify"),
    ("evaluate music tune.mid --pieces 0 --plot a.png",
     "--plot draws generated pieces, and --pieces 0 asks for none"),
    ("evaluate music words.txt", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    ("evaluate dialogue words.txt",
     "'words.txt' has no dialogue in a known format (messages, turns, pairs, eou, yaml, WhatsApp, "
     "IRC, SubRip, log, blocks, parlai, csv, tsv, transcript)"),
    ("evaluate classify words.txt",
     "'words.txt' has no text and label columns; expected a table (CSV, TSV, .xlsx), JSON lines, lines that start with "
     "__label__, or one folder per class"),
    ("evaluate classify one.csv --errors -1", "--errors must be at least 0, not -1"),
    ("evaluate forecast words.txt", "words.txt has no column 'time'; the columns are column_1"),
    ("evaluate forecast few.csv", "few.csv has no column 'time'; the columns are date, close"),
    ("evaluate forecast table.csv --adaptive", "--adaptive is for text; this is forecast"),
    ("evaluate text words.txt -o diary", "-o 'diary' is a folder; name a file"),
    # ---- info ----
    ("info missing", "there is no model 'missing'"),
    ("info words.txt", "there is no model 'words.txt' (it is a file); name a folder that `train` wrote"),
    ("info diary", "'diary' is not a model: it has no config.json"),
    # ---- tokenize ----
    ("tokenize words words.txt",
     "there is no model 'words'; the tokenizers are char, byte, subword, midi; did you mean 'subword'?"),
    ("tokenize forecast table.csv", "this is a model for forecast: it reads tables of numbers; use `seqgen forecast`"),
    ("tokenize missing words.txt", "there is no model 'missing'; the tokenizers are char, byte, subword, midi"),
    ("tokenize char missing.txt", "there is no file or folder 'missing.txt'"),
    ("tokenize char words.txt --vocab-size 400", "--vocab-size is for the tokenizer subword only"),
    ("tokenize char words.txt --grid 8", "--grid is for the tokenizer midi only"),
    ("tokenize char words.txt --plot a.png", "--plot draws music, and this is text"),
    ("tokenize midi words.txt", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    ("tokenize midi tune.mid --grid 100", "--grid must be at most 48, not 100"),
    ("tokenize midi tune.mid --tracks some", "--tracks must be one of all, melody, piano; not 'some'"),
    ("tokenize char words.txt -o diary", "-o 'diary' is a folder; name a file"),
    ("tokenize subword empty.txt", "'empty.txt' is empty: there is nothing to read"),
    # ---- corpora ----
    ("corpora nothing-like-it",
     "'nothing-like-it' is neither a file nor the name of a corpus; `seqgen corpora` lists the names"),
    ("corpora missing --json",
     "'missing' is neither a file nor the name of a corpus; `seqgen corpora` lists the names"),
    # ---- read, docs ----
    ("read missing", "'missing' is neither a file nor the name of a corpus; `seqgen corpora` lists the names"),
    ("read words.txt --task poetry", "task must be one of text, dialogue, music, classify, forecast; not 'poetry'"),
    ("render", "standard output has no known format: give --format, one of mid, wav, musicxml, abc, html, png"),
    ("render tune.mid -o tune.mp3",
     "the output 'tune.mp3' has no known format: give --format, one of mid, wav, musicxml, abc, html, png"),
    ("render pic.png -o pic.wav", "'pic.png' is a PNG image, not MIDI, ABC or MusicXML"),
    ("score music pic.png", "'pic.png' is a PNG image, not MIDI, ABC or MusicXML"),
    ("sample music --primer pic.png", "'pic.png' is a PNG image, not MIDI, ABC or MusicXML"),
    ("score text pic.png", "'pic.png' is a PNG image, not text; it holds no text; recognise its text first"),
    ("render words.txt -o words.wav", "'words.txt': not MIDI (no MThd header), ABC or MusicXML"),
    # ---- compare, inspect, export, push, serve ----
    ("compare words.txt", "-o DIR is missing: name a folder to save the models in"),
    ("inspect missing", "there is no model 'missing'"),
    ("export text", "name a file to write with -o, such as model.onnx"),
    ("export text -o text.safetensors", "'text.safetensors' would hold onnx: add --torch, or rename it"),
    ("push text tales", "'tales' is not the name of a repository; write OWNER/NAME"),
    ("serve text --host 0.0.0.0",
     "--host 0.0.0.0 lets others in: give --api-key-file too, or leave the host at 127.0.0.1"),
    ("docs musick", "there is no page 'musick'; did you mean 'music'?"),
    ("doctor --jsn", "there is no flag --jsn; did you mean '--json'?"),
    ("docs nothing-like-it", "there is no page 'nothing-like-it'; `seqgen docs` lists them"),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the table names."""
    place = tmp_path_factory.mktemp("lines")
    for kind, model in zoo.items():
        shutil.copytree(model, place / kind)
    model_zoo.write_inputs(place)
    files = {
        "empty.txt": b"",
        "diary/today.txt": b"dear diary",
        "cut.gz": gzip.compress(random.Random(0).randbytes(5000))[:3000],
        "pic.png": b"\x89PNG\r\n\x1a\n" + bytes(range(40)),
        "one.csv": b"text,label\nfine,good\nbad,good\n",
        "prices.csv": b"date,close\n2020-01-01,1\n2020-01-02,x\n2020-01-03,3\n",
        "few.csv": b"date,close\n2020-01-01,1\n2020-01-02,2\n2020-01-03,3\n",
    }
    for name, data in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(data)
    (place / "void").mkdir()
    shutil.copytree(zoo["text"], place / "shelf" / "one")
    return place


@pytest.mark.parametrize(("typed", "line"), ROWS, ids=[typed for typed, _ in ROWS])
def test_main_bad_input_prints_this_line(
    typed: str, line: str, place: Path, refused: RefusedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert refused(shlex.split(typed)) == f"seqgen: error: {line}\n"
    assert sorted(place.rglob("*")) == before, "a mistake leaves nothing behind"


def test_error_lines_table_covers_every_command() -> None:
    assert len(ROWS) >= 60
    assert {typed.split()[0] for typed, _ in ROWS} == set(COMMANDS)
    assert len({typed for typed, _ in ROWS}) == len(ROWS)


def test_error_lines_are_sentences() -> None:
    for typed, line in ROWS:
        assert line == line.strip() != ""
        assert not line.endswith(".") or "the columns are" in line, typed  # the name of a column
        assert "Traceback" not in line and "Error" not in line and "None" not in line, typed
