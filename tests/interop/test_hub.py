"""Models on a hub: pushed, fetched once, and refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import huggingface_hub
import huggingface_hub.constants
import pytest
from huggingface_hub import ModelCard

import seqgen
from seqgen.corpus.cache.folder import cache_folder
from seqgen.errors import ModelError
from seqgen.interop.hub import make_upload
from tests.helpers.hub_server import Hub, Repository, commit_of, serve
from tests.helpers.running import Run

CONTENT = ("config.json", "model.safetensors", "tokenizer.json", "README.md")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub without repositories, and a cache of one's own."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # read when it was imported
    with serve(Hub()) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_push_then_fetch_gives_the_same_model(model_folder: Path, hub: Hub, run: Run) -> None:
    pushed = run("push", model_folder, "me/tales", "--license", "mit", "--language", "en")
    assert pushed.out.decode() == f"{hub.address}/me/tales\n"
    files = hub.repositories["me/tales"].revisions["main"]
    assert set(files) == {*CONTENT, "metrics.jsonl"}  # nothing of resume/
    assert str(model_folder.parent).encode() not in b"".join(files.values())
    here = run("sample", model_folder, "--length", 60, "--seed", 4).out
    assert run("sample", "hf:me/tales", "--length", 60, "--seed", 4).out == here
    (stored,) = [path for path in (cache_folder() / "models" / "me--tales").iterdir() if path.is_dir()]
    assert stored.name == commit_of(files)
    assert files_of(stored) == files

    hub.requests.clear()  # the second time, only the commit is asked for; of a commit, nothing
    assert run("sample", "hf:me/tales", "--length", 60, "--seed", 4).out == here
    assert [path for _, path in hub.requests] == ["/api/models/me/tales"]
    hub.requests.clear()
    assert seqgen.load(f"hf:me/tales@{stored.name}").checkpoint.folder == stored
    assert hub.requests == []


def test_served_model_of_the_hub_is_the_commit_that_was_checked(model_folder: Path, hub: Hub, run: Run) -> None:
    pytest.importorskip("starlette")
    from seqgen.server.models import ServedModels

    run("push", model_folder, "me/tales")
    served = ServedModels(["hf:me/tales"]).find("me/tales")
    hub.requests.clear()
    hub.repositories["me/tales"].revisions["main"]["config.json"] = b"{}"  # pushed meanwhile
    assert served.model.sample("The ", length=5)[0].text
    assert hub.requests == []


def test_push_card_is_one_that_the_hub_accepts(model_folder: Path, hub: Hub, run: Run) -> None:
    run("push", model_folder, "me/tales", "--license", "mit", "--language", "en")
    card = ModelCard(hub.repositories["me/tales"].revisions["main"]["README.md"].decode())
    facts = card.data.to_dict()
    assert (facts["library_name"], facts["pipeline_tag"]) == ("seqgen", "text-generation")
    assert (facts["license"], facts["language"]) == ("mit", "en")
    held_out = json.loads((model_folder / "config.json").read_text())["metrics"]
    assert {result.metric_type: result.metric_value for result in card.data.eval_results or []} == {
        name: value for name, value in held_out.items() if isinstance(value, float) and name != "train_loss"
    }
    assert "seqgen sample hf:me/tales" in card.text


def test_push_private_is_never_public(model_folder: Path, hub: Hub, run: Run) -> None:
    run("push", model_folder, "me/secret", "--private")
    run("push", model_folder, "me/secret", "--private")
    assert hub.repositories["me/secret"].private
    hub.repositories["me/open"] = Repository({"main": {}})
    error = run("push", model_folder, "me/open", "--private", status=2).err
    assert "cannot push to 'me/open': the repository exists and is public" in error and error.count("\n") == 1
    assert hub.repositories["me/open"].revisions == {"main": {}}


def test_push_deletes_what_only_the_model_before_had(model_folder: Path, hub: Hub, run: Run) -> None:
    """Its corpus stayed published, and was then not the corpus of this model; files of others stay."""
    old = dict.fromkeys(("corpus.safetensors", "ranker.safetensors", "tokenizer.model", "notes.md"), b"old")
    hub.repositories["me/tales"] = Repository({"main": old})
    run("push", model_folder, "me/tales")
    assert set(hub.repositories["me/tales"].revisions["main"]) == {*CONTENT, "metrics.jsonl", "notes.md"}


def test_push_dry_run_pushes_nothing(model_folder: Path, hub: Hub, run: Run) -> None:
    shown = run("push", model_folder, "me/tales", "--dry-run").out.decode()
    assert all(name in shown for name in CONTENT) and "library_name: seqgen" in shown
    assert (hub.requests, hub.repositories) == ([], {})


def test_push_has_no_paths_of_the_machine(model_folder: Path, hub: Hub, tmp_path: Path) -> None:
    """Neither of sources nor of the files that options name."""
    sources = ["/home/me/a.csv", "hf:/home/me/b.csv", "hf:../me/c/d.csv", "hf:you/set:en@v1#train", "hf:you/set", "web"]
    shutil.copytree(model_folder, tmp_path / "m")
    config = json.loads((model_folder / "config.json").read_text())
    config["training"]["sources"] = sources
    config["training"]["options"] |= {"stop_words": "/home/me/stop.txt", "unlabelled": sources, "holidays": "DE"}
    for key in ("sources", "unlabelled_sources"):
        config["data"][key] = [{"name": name, "bytes": 1, "sha256": "0" * 64} for name in sources]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    upload = make_upload(seqgen.load(tmp_path / "m").checkpoint, "me/tales", None, None, False)
    pushed = json.loads(cast(bytes, upload.files["config.json"]))
    names = ["a.csv", "b.csv", "d.csv", "hf:you/set:en@v1#train", "hf:you/set", "web"]
    assert pushed["training"]["sources"] == pushed["training"]["options"]["unlabelled"] == names
    for key in ("sources", "unlabelled_sources"):
        assert [source["name"] for source in pushed["data"][key]] == names
    options = pushed["training"]["options"]
    assert (options["stop_words"], options["holidays"]) == ("stop.txt", "DE")
    card = cast(bytes, upload.files["README.md"]).decode()
    assert "/home" not in card and ModelCard(card).data.datasets == ["you/set"]


def test_push_of_malformed_sources_leaves_them_out(model_folder: Path, tmp_path: Path) -> None:
    """An untrusted model, taken and changed: its config.json ended push with a KeyError."""
    model = Path(shutil.copytree(model_folder, tmp_path / "m"))
    config = json.loads((model / "config.json").read_text())
    kept = config["data"]["sources"][0]
    config["data"]["sources"] += [{"sha256": "0", "bytes": 1}, 5, *({**kept, "encoding": bad} for bad in (None, [], 5))]
    config["training"]["sources"], config["training"]["valid"] = [3, "/a/b"], [None]
    (model / "config.json").write_text(json.dumps(config))
    found = json.loads(
        cast(bytes, make_upload(seqgen.load(model).checkpoint, "me/tales", None, None, False).files["config.json"])
    )
    assert found["data"]["sources"] == [{**kept, "name": Path(kept["name"]).name}]
    assert found["training"]["sources"] == [3, "b"] and found["training"]["valid"] == [None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["me"], "write OWNER/NAME"),
        (["me/../x"], "write OWNER/NAME"),
        (["me/tales", "--with-corpus"], "no saved corpus"),
    ],
)
def test_push_bad_arguments_are_one_line(
    arguments: list[str], message: str, model_folder: Path, hub: Hub, run: Run
) -> None:
    assert message in run("push", model_folder, *arguments, status=2).err


def test_push_without_the_right_token_is_one_line(
    model_folder: Path, hub: Hub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    error = run("push", model_folder, "me/tales", status=2).err
    assert error.count("\n") == 1 and "hf auth login" in error


def test_find_model_without_a_network_uses_the_commit_it_had(
    model_folder: Path, hub: Hub, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("push", model_folder, "me/tales")
    before = run("sample", "hf:me/tales", "--length", 20, "--seed", 1).out
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run("sample", "hf:me/tales", "--length", 20, "--seed", 1).out == before
    assert "switched off by HF_HUB_OFFLINE" in run("sample", "hf:me/other", status=2).err


def test_find_model_whose_connection_breaks_is_the_commit_it_had(model_folder: Path, hub: Hub) -> None:
    good = {name: (model_folder / name).read_bytes() for name in CONTENT}
    hub.repositories["me/tales"] = Repository({"main": good})
    before = seqgen.load("hf:me/tales").checkpoint.folder
    hub.repositories["me/tales"].revisions["main"] = {**good, "README.md": b"newer"}
    hub.repositories["me/tales"].cut.add("model.safetensors")
    assert seqgen.load("hf:me/tales").checkpoint.folder == before
    hub.repositories["me/tales"].cut.clear()
    assert seqgen.load("hf:me/tales").checkpoint.folder != before


def test_find_model_refused_by_the_hub_is_not_replaced_by_an_older_commit(
    model_folder: Path, hub: Hub, run: Run
) -> None:
    good = {name: (model_folder / name).read_bytes() for name in CONTENT}
    hub.repositories["me/tales"] = Repository({"main": good})
    run("sample", "hf:me/tales", "--length", 5)
    hub.repositories["me/tales"].revisions["main"] = {"config.json": good["config.json"]}
    assert "it has no model.safetensors" in run("sample", "hf:me/tales", "--length", 5, status=2).err
    hub.repositories.clear()
    assert "the hub has no model" in run("sample", "hf:me/tales", "--length", 5, status=2).err


def test_find_model_errors_are_one_line(model_folder: Path, hub: Hub, run: Run) -> None:
    good = {name: (model_folder / name).read_bytes() for name in CONTENT}
    hub.repositories |= {
        "me/tales": Repository({"main": good}),
        "me/code": Repository({"main": {"model.py": b"print()"}}),
        "me/secret": Repository({"main": good}, gated=True),
        "me/torn": Repository({"main": {**good, "model.safetensors": good["model.safetensors"][:-8]}}),
    }
    for name, message in {
        "hf:me/none": "the hub has no model 'me/none', or it is private",
        "hf:me/tales@none": "the hub has no revision 'none' of 'me/tales'",
        "hf:me/code": "it is not a model of seqgen: it has no config.json",
        "hf:me/secret": "it is gated",
        "hf:me/torn": "damaged or truncated",
        "hf:me/../etc": "write hf:OWNER/NAME",
        "hf:me": "write hf:OWNER/NAME",
    }.items():
        error = run("sample", name, status=2).err
        assert message in error and error.count("\n") == 1, name


def test_find_model_fetches_no_other_files(model_folder: Path, hub: Hub) -> None:
    files = {name: (model_folder / name).read_bytes() for name in CONTENT}
    hub.repositories["me/tales"] = Repository({"main": {**files, "evil.py": b"1/0", "resume/state.json": b"{}"}})
    found = seqgen.load("hf:me/tales").checkpoint.folder
    assert {path.name for path in found.iterdir()} == set(CONTENT)


@pytest.mark.parametrize("said", [b'{"siblings": [{}]}', b"[1]", b'{"id": "a", "siblings": 5}', b"<html>", b"\xff"])
def test_find_model_of_a_malformed_answer_is_one_clear_error(said: bytes, hub: Hub) -> None:
    """It was the KeyError or TypeError of the library: `cannot fetch 'hf:me/tales': 'rfilename'`."""
    hub.repositories["me/tales"] = Repository({"main": {}})
    hub.said = said
    with pytest.raises(ModelError, match="cannot fetch 'hf:me/tales': the hub's answer is malformed"):
        seqgen.load("hf:me/tales")


def test_find_model_killed_while_fetching_leaves_no_half_model(model_folder: Path, hub: Hub) -> None:
    files = {name: (model_folder / name).read_bytes() for name in CONTENT}
    hub.repositories["me/tales"] = Repository({"main": files}, cut={"model.safetensors"})
    with pytest.raises(ModelError, match="cannot fetch 'hf:me/tales'"):
        seqgen.load("hf:me/tales")
    home = cache_folder() / "models" / "me--tales"
    assert [path for path in home.iterdir() if path.is_dir()] == []
    hub.repositories["me/tales"].cut.clear()
    assert seqgen.load("hf:me/tales").task == "text"


def test_train_init_from_a_model_on_the_hub(model_folder: Path, text_file: Path, hub: Hub, tmp_path: Path) -> None:
    hub.repositories["me/tales"] = Repository({"main": {name: (model_folder / name).read_bytes() for name in CONTENT}})
    model = seqgen.train(str(text_file), tmp_path / "m", init_from="hf:me/tales", steps=2, threads=1)
    assert model.checkpoint.network.rnn_size == seqgen.load(model_folder).checkpoint.network.rnn_size
    shutil.rmtree(tmp_path / "m")
