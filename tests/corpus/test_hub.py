"""Datasets: from a server that answers like the hub, and local Parquet, Arrow, JSON and CSV."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgen.corpus import hub
from seqgen.corpus.dataset_rows import AS_TEXT, RowFormat, guess_text_column
from seqgen.corpus.hub import DatasetName, parse
from seqgen.corpus.labelled.read import LabelledOptions, read_examples
from seqgen.corpus.labelled.unlabelled import UnlabelledOptions, json_texts
from seqgen.corpus.sources import Spool, checksum_documents, find
from seqgen.errors import DataError
from seqgen.specs.tasks import RowLayout
from tests.helpers.hub_server import Hub, Repository, commit_of, serve
from tests.helpers.running import Run

# Read when `datasets` is imported, so set here, before any test runs: none may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

RECORDS = RowFormat(RowLayout.RECORDS)


def put(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def parquet(**columns: list[Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def arrow(**columns: list[Any]) -> bytes:
    import pyarrow as pa

    stream = io.BytesIO()
    table = pa.table(columns)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@pytest.fixture(scope="module", autouse=True)
def nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache for `datasets`, apart from the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
        yield


def read(source: object, rows: RowFormat = AS_TEXT) -> bytes:
    with Spool() as spool:
        return b"".join(
            chunk for one in checksum_documents(find([str(source)], spool, rows=rows)) for chunk in one.chunks()
        )


def one_line(error: pytest.ExceptionInfo[BaseException]) -> bool:
    message = str(error.value)
    return bool(message) and "\n" not in message and len(message) < 400


# ---- Names ----


@pytest.mark.parametrize(
    ("source", "config", "revision", "split"),
    [
        ("hf:a/b", None, None, "train"), ("hf:a/b:c", "c", None, "train"), ("hf:a/b@r", None, "r", "train"),
        ("hf:a/b#s", None, None, "s"), ("hf:a/b:c@r#s", "c", "r", "s"), ("hf:a/b:c.d-e@refs/pr/1", "c.d-e",
         "refs/pr/1", "train"), ("hf:a/b@v1.0#test", None, "v1.0", "test"),
    ],
)  # fmt: skip
def test_parse_with_config_revision_and_split_returns_them(
    source: str, config: str | None, revision: str | None, split: str
) -> None:
    assert parse(source) == DatasetName(source, "a/b", config, revision, split)


@pytest.mark.parametrize(
    "name",
    ["", ":", "@", "#", ":config", "@main", "#test", "a", "json", "a/b:", "a/b@", "a/b:@r", "a/b:c@", "a/b/c", "a b/c",
     "ä/b"],
)  # fmt: skip
def test_parse_of_a_malformed_name_raises_with_the_form(name: str) -> None:
    with pytest.raises(DataError, match="OWNER/NAME") as error:
        parse(f"hf:{name}")
    assert one_line(error)


@pytest.mark.parametrize("name", ["./x", "/no/such", "~/nowhere-at-all", "../x#test"])
def test_parse_of_a_missing_path_raises(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # an x may exist beside the checkout
    with pytest.raises(DataError, match="no file or folder") as error:
        parse(f"hf:{name}")
    assert one_line(error)


def test_parse_of_an_existing_path_with_separators_returns_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("owner/name", "a:b#c@d", "plain"):
        put(tmp_path / name / "x.txt", b"x\n")
    assert parse("hf:owner/name#test").path == Path("owner/name")
    assert parse("hf:owner/name#test").split == "test"
    assert parse("hf:owner/name:some").config == "some"
    assert parse("hf:a:b#c@d").path == Path("a:b#c@d")
    assert parse("hf:a:b#c@d").split == "train"
    assert parse("hf:plain").path == Path("plain")
    assert parse("hf:owner/other").path is None


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_parse_of_any_name_returns_or_raises_one_line(name: str) -> None:
    try:
        assert parse(f"hf:{name}").name
    except DataError as error:
        assert len(str(error).splitlines()) == 1 or name.splitlines() != [name]


# ---- Files and folders ----

TEXTS = ["one", "two, and", "月 three"]
FILES: dict[str, bytes] = {
    "a.parquet": parquet(id=[1, 2, 3], text=TEXTS),
    "a.arrow": arrow(id=[1, 2, 3], text=TEXTS),
    "a.jsonl": jsonl(*({"id": n, "text": text} for n, text in enumerate(TEXTS))),
    "a.json": json.dumps([{"id": n, "text": text} for n, text in enumerate(TEXTS)]).encode(),
    "a.ndjson": jsonl(*({"text": text} for text in TEXTS)),
    "a.csv": 'id,text\n1,one\n2,"two, and"\n3,月 three\n'.encode(),
    "a.tsv": "id\ttext\n1\tone\n2\ttwo, and\n3\t月 three\n".encode(),
    "a.txt": "one\ntwo, and\n月 three\n".encode(),
    "a [1] *.csv": 'text\none\n"two, and"\n月 three\n'.encode(),
    "a.jsonl.gz": gzip.compress(jsonl(*({"text": text} for text in TEXTS))),
    "a.csv.zst": zstandard.ZstdCompressor().compress('text\none\n"two, and"\n月 three\n'.encode()),
    "json without an ending": jsonl(*({"text": text} for text in TEXTS)),
}


@pytest.mark.parametrize("name", FILES)
def test_fetch_of_a_file_returns_its_rows(name: str, tmp_path: Path) -> None:
    path = put(tmp_path / name, FILES[name])
    assert read(f"hf:{path}").decode() == "".join(f"{text}\n" for text in TEXTS)


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.csv", "a.arrow"])
def test_fetch_of_a_folder_returns_its_rows(name: str, tmp_path: Path) -> None:
    put(tmp_path / "set" / name, FILES[name])
    assert read(f"hf:{tmp_path / 'set'}").decode() == "".join(f"{text}\n" for text in TEXTS)


@pytest.mark.parametrize(
    ("name", "plain"), [("a.parquet", False), ("a.arrow", False), ("a.jsonl", True), ("a.csv", True), ("a.txt", True)]
)
def test_find_of_a_table_without_hf_returns_its_rows(name: str, plain: bool, tmp_path: Path) -> None:
    """Parquet and Arrow are always read as rows; CSV and JSON are text, unless a column is named."""
    path = put(tmp_path / name, FILES[name])
    assert read(path) == (FILES[name] if plain else "".join(f"{text}\n" for text in TEXTS).encode())
    if name != "a.txt":
        assert read(path, RowFormat(RowLayout.TEXT, "text")).decode() == "".join(f"{text}\n" for text in TEXTS)


@pytest.mark.parametrize("wrong", ["a.csv", "a.txt", "a.jsonl"])
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_find_of_a_table_under_another_name_returns_its_rows(kind: str, wrong: str, tmp_path: Path) -> None:
    """The bytes count, as everywhere: pandas gave up on a Parquet file that is called .csv, in its own words."""
    import pyarrow

    table, stream = pyarrow.table({"text": TEXTS}), io.BytesIO()
    with pyarrow.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)
    path = put(tmp_path / wrong, FILES["a.parquet"] if kind == "parquet" else stream.getvalue())
    for source in (path, f"hf:{path}"):
        assert read(source).decode() == "".join(f"{text}\n" for text in TEXTS)
        with Spool() as spool:  # for a model of texts without columns too, to which any other line is a text
            (one,) = find([str(source)], spool, rows=RowFormat(RowLayout.RECORDS))
            assert list(json_texts(one, UnlabelledOptions()) or ()) == TEXTS


def test_find_in_a_folder_of_tables_returns_their_rows(tmp_path: Path) -> None:
    put(tmp_path / "b.parquet", parquet(text=["b"]))
    put(tmp_path / "sub" / "a.arrow", arrow(text=["a"]))
    put(tmp_path / "read me.txt", b"me\n")
    with Spool() as spool:
        found = find([str(tmp_path)], spool)
        assert [Path(document.name).name for document in found] == ["b.parquet", "read me.txt", "a.arrow"]
        assert [b"".join(document.chunks()) for document in found] == [b"b\n", b"me\n", b"a\n"]


def test_find_of_standard_input_with_a_table_returns_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (FILES["a.jsonl"], FILES["a.csv"], FILES["a.tsv"], FILES["a.parquet"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert read("-", RowFormat(RowLayout.TEXT, "text")).decode() == "".join(f"{text}\n" for text in TEXTS)


@pytest.mark.parametrize("several", [False, True])
def test_fetch_of_a_saved_dataset_returns_its_rows(several: bool, tmp_path: Path) -> None:
    import datasets

    first, second = datasets.Dataset.from_dict({"text": TEXTS}), datasets.Dataset.from_dict({"text": ["other"]})
    saved = datasets.DatasetDict({"train": first, "test": second}) if several else first
    saved.save_to_disk(str(tmp_path / "kept"))
    for source in (f"hf:{tmp_path / 'kept'}", tmp_path / "kept"):
        assert read(source).decode() == "".join(f"{text}\n" for text in TEXTS)
    if several:
        assert read(f"hf:{tmp_path / 'kept'}#test") == b"other\n"
        with pytest.raises(DataError, match="no split 'none'; the splits are train, test") as error:
            read(f"hf:{tmp_path / 'kept'}#none")
        assert one_line(error)


def test_fetch_of_a_folder_with_splits_and_configs_returns_the_named_one(tmp_path: Path) -> None:
    put(tmp_path / "split" / "train.jsonl", jsonl({"text": "learn"}))
    put(tmp_path / "split" / "test.jsonl", jsonl({"text": "measure"}))
    assert read(f"hf:{tmp_path / 'split'}") == b"learn\n"
    assert read(f"hf:{tmp_path / 'split'}#test") == b"measure\n"
    with pytest.raises(DataError, match=r"no split 'valid'; the splits are 'train', 'test'; write .*#SPLIT") as error:
        read(f"hf:{tmp_path / 'split'}#valid")
    assert one_line(error)
    card = "---\nconfigs:\n- config_name: a\n  data_files: a.csv\n- config_name: b\n  data_files: b.csv\n---\n"
    put(tmp_path / "two" / "README.md", card.encode())
    put(tmp_path / "two" / "a.csv", b"text\nfrom a\n")
    put(tmp_path / "two" / "b.csv", b"text\nfrom b\n")
    assert read(f"hf:{tmp_path / 'two'}:b") == b"from b\n"
    for wrong, complaint in (("", "several configs.*'a', 'b'"), (":c", "no config 'c'; the configs are 'a', 'b'")):
        with pytest.raises(DataError, match=complaint) as error:
            read(f"hf:{tmp_path / 'two'}{wrong}")
        assert one_line(error)


def test_fetch_with_or_without_a_text_column_returns_its_texts(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", jsonl({"title": "T", "body": "long text", "n": 7}, {"title": "U", "n": 8}))
    assert read(f"hf:{path}") == b"long text\n\n"
    assert read(f"hf:{path}", RowFormat(RowLayout.TEXT, "title")) == b"T\nU\n"
    assert read(f"hf:{path}", RowFormat(RowLayout.TEXT, "title, body")) == b"T\nlong text\nU\n\n"
    assert read(f"hf:{path}", RowFormat(RowLayout.TEXT, "n")) == b"7\n8\n"
    with pytest.raises(DataError, match="no column 'none'; the columns are title, body, n") as error:
        read(f"hf:{path}", RowFormat(RowLayout.TEXT, "none"))
    assert one_line(error)
    assert guess_text_column([{"title": "a long title", "text": "short"}]) == "text"
    assert guess_text_column([{"text": None, "title": "x", "n": 1000000}, {"body": "longer"}]) == "body"
    with pytest.raises(DataError, match="no column has text; the columns are a, b"):
        guess_text_column([{"a": 1, "b": None}])


def test_fetch_as_records_replaces_class_numbers_by_names(tmp_path: Path) -> None:
    import datasets

    classes = datasets.ClassLabel(names=["no", "yes"])
    types = {"text": datasets.Value("string"), "label": classes, "all": datasets.Sequence(classes)}
    values = {"text": ["a", "b", "c"], "label": [1, 0, -1], "all": [[0, 1], [], [1]]}
    rows = datasets.Dataset.from_dict(values, features=datasets.Features(types))
    (tmp_path / "set").mkdir()
    rows.to_parquet(str(tmp_path / "set" / "train.parquet"))
    for source in (f"hf:{tmp_path / 'set'}", tmp_path / "set" / "train.parquet"):
        found = [json.loads(line) for line in read(source, RECORDS).splitlines()]
        assert found == [
            {"text": "a", "label": "yes", "all": ["no", "yes"]}, {"text": "b", "label": "no", "all": []},
            {"text": "c", "label": None, "all": ["yes"]},
        ]  # fmt: skip
    with Spool() as spool:
        documents = find([f"hf:{tmp_path / 'set'}"], spool, rows=RECORDS)
        texts = list(read_examples(documents, LabelledOptions(), lambda _: None))
    assert [(each.text, each.labels) for each in texts] == [("a", ("yes",)), ("b", ("no",))]


def test_fetch_as_records_writes_times_as_text_and_bytes_as_null(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", parquet(text=["a"], when=[datetime.date(2020, 2, 29)], picture=[b"\xff\0"]))
    assert json.loads(read(path, RECORDS)) == {"text": "a", "when": "2020-02-29", "picture": None}


def test_fetch_for_a_task_without_rows_raises(tmp_path: Path) -> None:
    path = put(tmp_path / "a.parquet", FILES["a.parquet"])
    with pytest.raises(DataError, match="this task reads files") as error:
        read(f"hf:{path}", RowFormat(RowLayout.NONE))
    assert one_line(error)


DAMAGED = {
    "cut.parquet": FILES["a.parquet"][:-40], "none.parquet": b"PAR1", "empty.parquet": b"", "text.arrow": b"no arrow",
    "a.json": b'{"text": ', "a.jsonl": b'{"text": "a"}\n{"text"\n', "a.csv": b'a,b\n"',
    "rows.parquet": parquet(text=[]), "cut.jsonl.gz": FILES["a.jsonl.gz"][:-9], "empty.csv": b"",
    "text.jsonl": b"no json\n",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_fetch_of_a_damaged_table_raises_and_stores_nothing(name: str, tmp_path: Path, private_cache: Path) -> None:
    path = put(tmp_path / name, DAMAGED[name])
    before = set((private_cache / "sets").glob("*"))
    with pytest.raises(DataError) as error:
        read(f"hf:{path}", RowFormat(RowLayout.TEXT, None if "csv" not in name else "text"))
    assert one_line(error)
    assert name in str(error.value)
    assert set((private_cache / "sets").glob("*")) == before


def test_fetch_of_a_folder_without_data_raises_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read") as error:
        read(f"hf:{tmp_path}")
    assert one_line(error)


def test_fetch_of_an_image_folder_raises(tmp_path: Path) -> None:
    put(tmp_path / "set" / "a.png", b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match="not a table or text") as error:
        read(f"hf:{tmp_path / 'set'}")
    assert one_line(error)


# ---- The cache ----


def test_fetch_again_reads_the_file_only_if_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.parquet", parquet(text=["before"]))
    assert read(path) == b"before\n"
    with monkeypatch.context() as patch:
        patch.setattr(hub, "_stream", lambda *_: pytest.fail("read again"))
        assert read(path) == read(f"hf:{path}") == b"before\n"
    put(path, parquet(text=["after!"]))
    assert read(path) == b"after!\n"


def test_fetch_of_a_file_that_changes_meanwhile_stores_nothing(
    tmp_path: Path, private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(tmp_path / "a.jsonl", jsonl({"text": "before"}))
    stream = hub._stream

    def meddling(builder: Any, split: str) -> Any:
        tables, names = stream(builder, split)

        def meddled() -> Iterator[Any]:
            yield from tables
            put(path, jsonl({"text": "meanwhile"}))

        return meddled(), names

    monkeypatch.setattr(hub, "_stream", meddling)
    before = set((private_cache / "sets").glob("*"))
    with pytest.raises(DataError, match="it changed while it was being read") as error:
        read(f"hf:{path}")
    assert one_line(error)
    assert set((private_cache / "sets").glob("*")) == before


def test_fetch_restores_the_settings_of_datasets(tmp_path: Path) -> None:
    import datasets

    def state() -> list[Any]:
        names = [name for name in dir(datasets.config) if name.isupper()]
        return [datasets.utils.logging.get_verbosity(), *(repr(getattr(datasets.config, name)) for name in names)]

    before = state()
    read(f"hf:{put(tmp_path / 'a.csv', FILES['a.csv'])}")
    with pytest.raises(DataError):
        read(f"hf:{put(tmp_path / 'b.csv', b'')}")
    assert state() == before


def test_fetch_of_local_files_never_uses_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("a.parquet", "a.csv"):
        put(tmp_path / name / name, FILES[name])
        assert read(f"hf:{tmp_path / name}")
        assert read(tmp_path / name)


def test_fetch_from_the_hub_without_a_network_raises_one_line() -> None:
    for name in ("nobody/nothing", "nobody/nothing:config@main#test"):
        with pytest.raises(DataError, match=r"cannot read 'hf:nobody/nothing.*switched off") as error:
            read(f"hf:{name}")
        assert one_line(error)


def test_fetch_from_the_hub_never_reads_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "nobody" / "nothing" / "train.csv", FILES["a.csv"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="the working folder has a folder of that name"):
        read("hf:nobody/nothing@main")


# ---- The commands ----


def test_train_on_tables_works_for_every_task(run: Run, tmp_path: Path) -> None:
    words = ["the boat came home", "a lamp on the quay", "rain and cold again", "late in the evening"]
    put(tmp_path / "text.parquet", parquet(text=[f"{word} {n}" for n in range(60) for word in words]))
    put(tmp_path / "labels.parquet", parquet(
        review=[f"{('bad', 'good')[n % 2]} {words[n % 4]} {n}" for n in range(60)], label=[n % 2 for n in range(60)],
    ))  # fmt: skip
    put(tmp_path / "talk.parquet", parquet(dialog=[[word, "yes", "no, not now"] for word in words * 8]))
    put(tmp_path / "rows.arrow", arrow(
        when=[datetime.datetime(2020, 1, 1) + datetime.timedelta(hours=n) for n in range(300)],
        load=[float(n % 24) for n in range(300)],
    ))  # fmt: skip
    short = ("--steps", 2, "--rnn-size", 8, "--quiet", "--threads", 1)
    run("train", tmp_path / "text.parquet", "-o", tmp_path / "t", *short)
    assert len(run("tokenize", tmp_path / "t", f"hf:{tmp_path / 'text.parquet'}").lines) == 1
    assert run("score", tmp_path / "t", tmp_path / "text.parquet").json["tokens"] > 1000
    run("train", tmp_path / "labels.parquet", "--task", "classify", "--text-column", "review", "--tokenizer", "char",
        "-o", tmp_path / "c", *short)  # fmt: skip
    assert len(run("classify", tmp_path / "c", tmp_path / "labels.parquet").lines) == 60
    assert (
        run("evaluate", tmp_path / "c", tmp_path / "labels.parquet", "--json", "--no-baselines").json["records"] == 60
    )
    run("train", f"hf:{tmp_path / 'talk.parquet'}", "--task", "dialogue", "--tokenizer", "char", "-o", tmp_path / "d",
        *short)  # fmt: skip
    assert json.loads((tmp_path / "d" / "config.json").read_text())["data"]["train_turns"] == 29 * 3
    run("train", tmp_path / "rows.arrow", "--task", "forecast", "--horizon", 4, "-o", tmp_path / "f", *short)
    assert run("forecast", tmp_path / "f", tmp_path / "rows.arrow").lines[0].startswith("when,load")
    result = run("train", f"hf:{tmp_path / 'text.parquet'}", "--task", "music", "-o", tmp_path / "m", status=2)
    assert result.err.startswith("seqgen: error: ") and result.err.count("\n") == 1


# ---- The hub ----

SET = {
    "README.md": b"---\nlicense: mit\n---\nWords.\n",
    "data/train-00000-of-00002.parquet": parquet(text=["first part"] * 300, label=[0] * 300),
    "data/train-00001-of-00002.parquet": parquet(text=["second part"] * 300, label=[1] * 300),
    "data/test-00000-of-00001.parquet": parquet(text=["to measure"] * 300, label=[1] * 300),
}
OLD = {"train.jsonl": jsonl({"text": "as it was"})}
CONFIGS = {
    "README.md": b"---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n"
    b"---\n",
    "a.jsonl": jsonl({"text": "from a"}),
    "b.jsonl": jsonl({"text": "from b"}),
}
CUT = {"train.parquet": parquet(text=[os.urandom(400).hex() for _ in range(500)])}
CLASSES = {
    "README.md": b"""---
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': bad
          '1': good
---
""",
    "train.parquet": parquet(text=[f"{'well done' if n % 2 else 'no good'} {n}" for n in range(80)],
                             label=[n % 2 for n in range(80)]),
}  # fmt: skip

# In a process of its own, because `datasets` reads where the hub is when it is imported.
DRIVER = """
import contextlib, io, json, sys, time
real = time.sleep
time.sleep = lambda seconds: real(min(seconds, 0.01))  # huggingface_hub retries for half a minute
from seqgen.cli.main import main
from seqgen.corpus.sources import Spool, find
from seqgen.specs.tasks import RowLayout
results = []
for kind, *words in json.load(sys.stdin):
    if kind == "read":
        with Spool() as spool:
            (document,) = find(words, spool)
            results.append(b"".join(document.chunks()).decode())
    else:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            status = main(words)
        results.append([status, said.getvalue()])
print(json.dumps(results))
"""
Ask = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("at-home")


@pytest.fixture(scope="module")
def ask(home: Path) -> Ask:
    def ask(address: str, questions: list[list[str]], **environment: str) -> list[Any]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER], input=json.dumps(questions), capture_output=True, text=True, timeout=240,
            env={**inherited, "HF_ENDPOINT": address, "HF_HOME": str(home / "hf"), "SEQGEN_CACHE": str(home / "cache"),
                 "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return json.loads(done.stdout)

    return ask


@pytest.mark.slow
def test_fetch_from_the_hub_returns_rows_and_readable_errors(ask: Ask, home: Path) -> None:
    short = ("--steps", "2", "--rnn-size", "8", "--threads", "1", "--quiet")
    pinned = commit_of(OLD)
    with serve(Hub({
        "me/set": Repository({"main": SET, "v1": OLD}), "me/configs": Repository({"main": CONFIGS}),
        "me/secret": Repository({"main": SET}, gated=True), "me/classes": Repository({"main": CLASSES}),
        "me/cut": Repository({"main": CUT}, cut={"train.parquet"}),
    })) as server:  # fmt: skip
        wrong = {
            "hf:me/none": "the hub has no dataset 'me/none', or it is private",
            "hf:me/secret": "gated",
            "hf:me/set@none": "no revision 'none' of 'me/set'",
            "hf:me/set#none": "it has no split 'none'; the splits are 'train', 'test'",
            "hf:me/set:none": "no config 'none'",
            "hf:me/configs": "it has several configs; name one of 'a', 'b'",
            "hf:me/configs:c": "it has no config 'c'; the configs are 'a', 'b'",
            "hf:me/cut": "the connection to the hub broke",
        }
        found = ask(server.address, [
            ["read", "hf:me/set"], ["read", "hf:me/set#test"], ["read", "hf:me/set@v1"],
            ["read", f"hf:me/set@{pinned}"], ["read", "hf:me/configs:b"],
            ["run", "train", "hf:me/set", "--valid", "hf:me/set#test", "-o", str(home / "text"), *short],
            ["run", "train", "hf:me/classes", "--task", "classify", "--tokenizer", "char", "-o", str(home / "sort"),
             *short],
            ["run", "train", "hf:me/set", "--text-column", "none", "-o", str(home / "none"), *short],
            *(["run", "train", source, "-o", str(home / "none"), *short] for source in wrong),
        ])  # fmt: skip
        assert found[:5] == [
            "first part\n" * 300 + "second part\n" * 300, "to measure\n" * 300, "as it was\n", "as it was\n",
            "from b\n",
        ]  # fmt: skip
        assert found[5:7] == [[0, ""], [0, ""]]
        data = json.loads((home / "text" / "config.json").read_text())["data"]
        assert [source["name"] for source in data["sources"] + data["valid_sources"]] == ["hf:me/set", "hf:me/set#test"]
        assert (data["train_bytes"], data["held_out_bytes"]) == (300 * 11 + 300 * 12, 300 * 11)
        shares = json.loads((home / "sort" / "config.json").read_text())["data"]["label_shares"]
        assert set(shares) == {"bad", "good"}
        complaints = ["no column 'none'; the columns are text, label", *wrong.values()]
        for (status, said), complaint in zip(found[7:], complaints, strict=True):
            assert status == 2
            assert said.startswith("seqgen: error: cannot read 'hf:me/")
            assert said.count("\n") == 1
            assert complaint in said
        assert not (home / "none").exists()
        assert not [path for path in (home / "cache" / "sets").iterdir() if path.name.startswith(".")]

        # The second time, only the current commit is requested; for a commit, nothing.
        server.requests.clear()
        again = ask(server.address, [["read", "hf:me/set"], ["read", f"hf:me/set@{pinned}"]])
        assert again == [found[0], found[3]]
        assert not [path for _, path in server.requests if path.endswith((".parquet", ".jsonl"))]
        server.repositories["me/set"].revisions["main"] = {**SET, "data/train-00000-of-00002.parquet": parquet(
            text=["new part"] * 300, label=[0] * 300)}  # fmt: skip
        assert ask(server.address, [["read", "hf:me/set"]]) == ["new part\n" * 300 + "second part\n" * 300]
    (status, said), exists = ask(
        server.address, [["run", "train", "hf:me/set", "-o", str(home / "none")], ["read", f"hf:me/set@{pinned}"]]
    )
    *progress, error = said.splitlines()  # a busy machine is told that it reads
    assert status == 2 and progress in ([], ["seqgen: reading hf:me/set"])
    assert error.startswith("seqgen: error: ") and "can't be reached: Connection refused" in error
    assert exists == "as it was\n"
