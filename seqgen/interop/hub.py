"""Models on the Hugging Face hub: `hf:OWNER/NAME[@REVISION]` as a MODEL, and `seqgen push`.

A model is fetched once into the cache, in a folder named after its commit, and loaded as strictly as any other. Only
the files of a model folder are fetched, and none of them can run code.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgen import checkpoint
from seqgen.checkpoint import CARD, CONFIG, CORPUS, METRICS, RANKER, TOKENIZER_FILES, WEIGHTS, Checkpoint
from seqgen.config import TrainOptions
from seqgen.corpus.cache import store as cache
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.hub import check_reachable, names_hub_dataset
from seqgen.errors import DataError, ModelError, UserError
from seqgen.streams import PARTIAL_SUFFIX, reason, write_bytes

PREFIX = "hf:"
_FORM = "hf:OWNER/NAME or hf:OWNER/NAME@REVISION"
_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
_DATASET_PARTS = re.compile("[:@#]")  # before the config, the revision and the split
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEEDED, _OPTIONAL = (CONFIG, WEIGHTS, TOKENIZER_FILES[0]), (TOKENIZER_FILES[1], METRICS, CARD, CORPUS, RANKER)
_PATHS = ("FILE", "SOURCE")  # metavars of options whose values may be paths
_MAX_BYTES = 4 << 30  # of a model; the largest that anyone trains on a laptop has a tenth of that


@dataclass(frozen=True)
class HubModel:
    """The parts of `hf:OWNER/NAME[@REVISION]`."""

    repository: str
    revision: str | None = None


def parse(name: str) -> HubModel:
    """Parse the name of a model on the hub. Raises `ModelError` for a malformed one."""
    match = _NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None or ".." in name:
        raise ModelError(f"{name!r} is not the name of a model on the hub; write {_FORM}")
    return HubModel(match["repository"], match["revision"])


def find_model(name: str) -> Path:
    """The folder in the cache of the model `hf:OWNER/NAME[@REVISION]`, fetched if needed.

    A branch or tag is looked up each time; without a network, the commit that it had last is used.

    Raises:
        ModelError: the hub can't be reached, or has no such model.
        UserError: the cache can't be written.
    """
    named = parse(name)
    home = cache_folder() / "models" / named.repository.replace("/", "--")
    if named.revision is not None and _COMMIT.fullmatch(named.revision) and (home / named.revision).is_dir():
        return home / named.revision
    newest = home / f"{(named.revision or 'main').replace('/', '--')}.json"  # the commit that the revision had last
    try:
        with _readable_errors(named, f"fetch {name!r}"):
            api = _api()
            check_reachable(api.endpoint)
            facts = api.model_info(named.repository, revision=named.revision, files_metadata=True)
            folder = _fetch(api, home, named, facts)
    except _UnreachableError:  # what the hub says of the model itself is not to be covered up by an older commit
        folder = home / _saved_commit(newest)
        if not folder.is_dir() or folder == home:
            raise
        return folder
    write_bytes(newest, json.dumps({"commit": facts.sha}).encode())
    return folder


def _saved_commit(path: Path) -> str:
    try:
        commit = json.loads(path.read_bytes())["commit"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else ""


def _fetch(api: Any, home: Path, named: HubModel, facts: Any) -> Path:
    """Fetch the files of a commit into the cache, as one folder that appears at once."""
    commit = str(facts.sha)
    if not _COMMIT.fullmatch(commit):
        raise ModelError(f"its commit {commit[:60]!r} is malformed")
    sizes = {entry.rfilename: entry.size or 0 for entry in facts.siblings or ()}
    if missing := [name for name in _NEEDED if name not in sizes]:
        raise ModelError(f"it is not a model of seqgen: it has no {missing[0]}")
    wanted = [name for name in (*_NEEDED, *_OPTIONAL) if name in sizes]
    if sum(sizes[name] for name in wanted) > _MAX_BYTES:
        raise ModelError(f"it has {sum(sizes[name] for name in wanted):,} bytes, more than the {_MAX_BYTES:,} allowed")
    target = home / commit
    with cache.locked(target):
        if target.is_dir():
            return target
        partial = Path(tempfile.mkdtemp(prefix=f".{commit}.", suffix=PARTIAL_SUFFIX, dir=home))
        try:
            for name in wanted:
                api.hf_hub_download(named.repository, name, revision=commit, local_dir=partial)
            shutil.rmtree(partial / ".cache", ignore_errors=True)  # of the library's own
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


# ---- Push ----


@dataclass(frozen=True)
class Upload:
    """What `push` writes: the repository, and the contents or paths of its files."""

    repository: str
    files: dict[str, bytes | Path]

    @property
    def size(self) -> int:
        return sum(len(data) if isinstance(data, bytes) else data.stat().st_size for data in self.files.values())


def make_upload(
    loaded: Checkpoint, repository: str, license_name: str | None, language: str | None, with_corpus: bool
) -> Upload:
    """The files to push of a model: all but `resume/` and, unless asked for, its saved corpus.

    The card gets the front matter of the hub. Paths of this machine in config.json are cut to file names.

    Raises:
        UserError: `repository` is not OWNER/NAME, or there is no corpus.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII) or ".." in repository:
        raise UserError(f"{repository!r} is not the name of a repository; write OWNER/NAME")
    if with_corpus and not (loaded.folder / CORPUS).exists():
        raise UserError("--with-corpus: this model has no saved corpus (`train --keep-corpus` saves one)")
    config = _without_paths(loaded.config)
    title = repository.partition("/")[2]
    text = _front_matter(loaded, title, license_name, language) + checkpoint.card(config, f"{PREFIX}{repository}")
    files: dict[str, bytes | Path] = {
        CONFIG: (json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace"),
        CARD: text.encode("utf-8", "replace"),
    }
    names = (WEIGHTS, METRICS, RANKER, *TOKENIZER_FILES, *([CORPUS] if with_corpus else []))
    files |= {name: loaded.folder / name for name in names if (loaded.folder / name).exists()}
    return Upload(repository, files)


def _without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """config.json with the names of its sources and other files, but without their folders on this machine."""
    training, data = dict(config["training"]), dict(config["data"])
    if isinstance(training.get("options"), dict):
        training["options"] = {name: _option_without_paths(name, value) for name, value in training["options"].items()}
    for key in ("sources", "valid"):
        if isinstance(training.get(key), list):
            training[key] = [_base_name(name) for name in training[key]]
    if isinstance(training.get("init_from"), str):
        training["init_from"] = _base_name(training["init_from"])
    for key in ("sources", "valid_sources", "unlabelled_sources"):
        if isinstance(data.get(key), list):
            data[key] = [{**entry, "name": _base_name(entry["name"])} for entry in checkpoint.sources_of(config, key)]
    return {**config, "training": training, "data": data}


def _option_without_paths(name: str, value: Any) -> Any:
    """The value of an option of `train`: those that name files or sources without their folders."""
    option = TrainOptions.__dataclass_fields__.get(name)
    if option is None or option.metadata["metavar"] not in _PATHS or not isinstance(value, (str, list)):
        return value
    return _base_name(value) if isinstance(value, str) else [_base_name(each) for each in value]


def _base_name(name: Any) -> Any:
    if not isinstance(name, str) or names_hub_dataset(name):  # config.json is untrusted
        return name
    return re.split(r"[/\\]", name.removeprefix(PREFIX).rstrip("/\\"))[-1] or name


def _front_matter(loaded: Checkpoint, title: str, license_name: str | None, language: str | None) -> str:
    """The YAML block at the head of a card."""
    from huggingface_hub import EvalResult, ModelCardData

    task = loaded.spec.hub_task
    results = [
        EvalResult(task, "held-out", f"held out: {loaded.spec.held_out}", name, value)
        for name, value in loaded.config["metrics"].items()
        if isinstance(value, float) and name != "train_loss"
    ]
    data = ModelCardData(
        library_name="seqgen",
        pipeline_tag=task,
        tags=["seqgen", loaded.network.cell, loaded.task],
        license=license_name,
        language=language,
        datasets=list(
            dict.fromkeys(
                _DATASET_PARTS.split(source["name"].removeprefix(PREFIX))[0]
                for source in loaded.sources
                if names_hub_dataset(source["name"])
            )
        )
        or None,
        model_name=title,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"


def push(upload: Upload, private: bool) -> str:
    """Write the files to the hub in one commit, and return the address of the repository.

    Files of a model that was there before, and that this one hasn't, are deleted: they belong to the other.

    Raises:
        ModelError: the hub can't be reached or refuses, with the reason, or a repository that was to be private is
            public.
    """
    with _readable_errors(HubModel(upload.repository), f"push to {upload.repository!r}"):
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        api = _api()
        check_reachable(api.endpoint)
        address = api.create_repo(upload.repository, private=private, exist_ok=True)
        facts = api.model_info(upload.repository)
        if private and facts.private is False:  # an existing one keeps its visibility
            raise ModelError("the repository exists and is public; make it private on its page, or name another")
        present = {entry.rfilename for entry in facts.siblings or ()}
        operations = [
            *(CommitOperationAdd(name, data) for name, data in upload.files.items()),
            *(CommitOperationDelete(name) for name in _OPTIONAL if name in present - upload.files.keys()),
        ]
        api.create_commit(upload.repository, operations, commit_message="Model trained with seqgen")
        return str(address)


# ---- The `huggingface_hub` library ----


class _UnreachableError(ModelError):
    """The hub can't be reached, or is out of order."""


def _api() -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars, logging  # type: ignore[attr-defined]

    disable_progress_bars()
    logging.set_verbosity(50)  # critical; errors become one line of our own
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="seqgen")


@contextlib.contextmanager
def _readable_errors(named: HubModel, action: str) -> Iterator[None]:
    """Turn any error into a one-line `ModelError`."""
    try:
        yield
    except DataError as error:  # of `check_reachable`
        raise _UnreachableError(f"cannot {action}: {error}") from error
    except ModelError as error:
        raise ModelError(f"cannot {action}: {error}") from error
    except (UserError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # huggingface_hub raises dozens of types
        kind = _UnreachableError if _is_of_the_network(error) else ModelError
        raise kind(f"cannot {action}: {_explain(named, error)}") from error


def _is_of_the_network(error: Exception) -> bool:
    """Whether a connection failed, or the server, rather than the request."""
    types = {each.__name__ for each in type(error).__mro__}  # of httpx or requests, by the version of the library
    kinds = {"ConnectionError", "TransportError", "Timeout", "ChunkedEncodingError", "LocalEntryNotFoundError"}
    return bool(types & kinds) or _status(error) >= 500


def _status(error: Exception) -> int:
    """The status of the HTTP response that an error reports; 0 for another error."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else 0


def _explain(named: HubModel, error: Exception) -> str:
    types = {each.__name__ for each in type(error).__mro__}
    login = "set HF_TOKEN or log in with `hf auth login`"
    explanations: list[tuple[set[str], Callable[[], str]]] = [
        ({"GatedRepoError"}, lambda: f"it is gated: ask for access on its page, then {login}"),
        ({"RevisionNotFoundError"}, lambda: f"the hub has no revision {named.revision!r} of {named.repository!r}"),
        ({"RepositoryNotFoundError"}, lambda: f"the hub has no model {named.repository!r}, or it is private ({login})"),
        ({"LocalTokenNotFoundError"}, lambda: f"the hub must know who you are: {login}"),
        ({"LocalEntryNotFoundError"}, lambda: "the connection to the hub broke; try again later"),
        ({"EntryNotFoundError"}, lambda: "one of its files is missing"),
    ]
    for names, explain in explanations:
        if types & names:
            return explain()
    unread = types & {"JSONDecodeError", "UnicodeDecodeError", "LookupError", "TypeError", "AttributeError"}
    if unread:  # they say nothing of the hub, but of the library that reads its answer
        return f"the hub's answer is malformed ({type(error).__name__}: {reason(error)[:100]})"
    status = _status(error)
    if status in (401, 403):
        return f"the hub refuses it ({status}): {login}, with a token that may write"
    return reason(error)[:200]
