"""`hf:` sets, read by `datasets`: of the Hugging Face hub, or files and folders of Parquet, Arrow, JSON and CSV.

`hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]`, or `hf:PATH[:CONFIG][#SPLIT]`; the split is `train` where none is named. A
set streams through, whatever its size, into a file of the cache, named after the commit that it was read at: so it is
read once. The program reaches for the network only here and in `download`, and only where such a source is named.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import importlib
import json
import os
import re
import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqgen.corpus import rows
from seqgen.corpus.cache import store as cache
from seqgen.corpus.cache.folder import cache_folder
from seqgen.corpus.parquet import safe_batch_size
from seqgen.corpus.rows import RowFormat
from seqgen.errors import DataError, UserError
from seqgen.specs.tasks import RowLayout
from seqgen.streams import Progress, atomic_write, open_input, reason, suffix_of, write_bytes

_FORM = "hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT], or hf:PATH[#SPLIT]"
_NAME = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# What `datasets` calls the reader of a file, by the file's ending. The only ones that are let in: others read media,
# and some of older versions could be made to run what they read.
_READERS: dict[str, tuple[str, dict[str, str]]] = {
    ".parquet": ("parquet", {}), ".arrow": ("arrow", {}), ".json": ("json", {}), ".jsonl": ("json", {}),
    ".ndjson": ("json", {}), ".csv": ("csv", {}), ".tsv": ("csv", {"sep": "\t"}), ".txt": ("text", {}),
}  # fmt: skip
_ROWS = 1000  # at a time
_PATIENCE = 10.0  # seconds that the hub may take to answer at all
_VERSION = 1  # of what is written; rises when the same rows give other bytes


@dataclass(frozen=True)
class DatasetName:
    """What an `hf:` source names. `path`: where it is on this machine, if it is."""

    source: str
    name: str
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    path: Path | None = None


def parse(source: str) -> DatasetName:
    """Takes an `hf:` source apart; what is on the disk wins. Raises `DataError` for one that is not of the form."""
    rest = source.removeprefix("hf:")
    if rest and os.path.exists(os.path.expanduser(rest)):  # whatever marks there are in its name
        return DatasetName(source, rest, path=Path(os.path.expanduser(rest)))
    head, mark, split = rest.rpartition("#")
    head, split = (head, split) if mark and split else (rest, "train")
    for name, config in ((head, None), head.rpartition(":")[::2]):
        place = os.path.expanduser(name)
        if name and config != "" and os.path.exists(place):
            return DatasetName(source, name, config, None, split, Path(place))
    match = _NAME.fullmatch(rest)
    if rest.startswith((".", "/", "~")):
        raise DataError(f"there is no file or folder {head!r}")
    if not match:
        raise DataError(f"{source!r} is no name of a set; it is written {_FORM}")
    return DatasetName(source, match["name"], match["config"], match["revision"], match["split"] or "train")


def local_dataset(name: str, path: Path) -> DatasetName:
    """A file or folder that is read as a set without being called one."""
    return DatasetName("standard input" if name == "-" else name, str(path), path=path)


def fetch(named: DatasetName, wanted: RowFormat, progress: Progress | None = None) -> Path:
    """A file with the rows of a set, in the shape that is wanted; from the cache, where it has been read before.

    Raises:
        DataError: the set, its config, its split or its columns are not there, or it can't be reached or read.
        UserError: the cache can't be written.
    """
    if wanted.layout == RowLayout.NONE:
        raise DataError(f"{named.source!r} is a set of rows, and this task reads files")
    if named.revision and _COMMIT.fullmatch(named.revision):  # known without asking anybody
        kept = _place(named, named.revision, wanted)
        if kept.is_file():
            return _used(kept)
    with _told(named), _modestly():
        opened = _Local(named) if named.path is not None else _Remote(named)
        kept = _place(named, opened.identity, wanted)
        if kept.is_file():
            return _used(kept)
        with cache.locked(_stem(kept)):
            if not kept.is_file():
                _keep(kept, named, opened, wanted, progress)
    return kept


def _place(named: DatasetName, identity: str, wanted: RowFormat) -> Path:
    parts = [_VERSION, named.name if named.path is None else "", named.config, named.split, identity, *wanted]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return cache_folder() / "sets" / f"{key}{rows.suffix(wanted)}"


def _stem(kept: Path) -> Path:
    return kept.with_name(kept.name.split(".")[0])


def _used(kept: Path) -> Path:
    cache.remove_stale_lock(_stem(kept))
    with contextlib.suppress(OSError):
        os.utime(kept.with_suffix(".json"))  # so that it can be told what was not used for long
    return kept


def _keep(
    kept: Path, named: DatasetName, opened: _Local | _Remote, wanted: RowFormat, progress: Progress | None
) -> None:
    """Writes the rows; what stands under the name is whole."""
    tables, names = opened.tables()
    say = progress or (lambda done, of: None)
    with atomic_write(kept) as stream:
        rows.write(wanted, tables, names, stream, lambda done: say(done, None))
        opened.check()
    write_bytes(kept.with_suffix(".json"), json.dumps({"about": named.source}).encode())


class _Remote:
    """A set of the hub. `identity`: the commit that its name stands for now."""

    def __init__(self, named: DatasetName) -> None:
        datasets = _datasets()
        self._named = named
        _check_reachable(datasets.config)
        self._builder = datasets.load_dataset_builder(
            named.name, named.config, revision=named.revision, cache_dir=str(cache_folder() / "datasets")
        )
        _check_reader(self._builder)
        if hasattr(self._builder.config, "batch_size"):
            self._builder.config.batch_size = _ROWS  # not a whole row group, of whatever size
        self.identity = str(self._builder.hash)

    def tables(self) -> tuple[Iterator[Any], dict[str, list[str]]]:
        return _stream(self._builder, self._named.split)

    def check(self) -> None:
        """Nothing: a commit does not change."""


class _Local:
    """Files of this machine. `identity`: which they are, and when they were written."""

    def __init__(self, named: DatasetName) -> None:
        assert named.path is not None
        self._named, self._path = named, named.path
        self.identity = self._state()

    def _state(self) -> str:
        files = [self._path] if self._path.is_file() else sorted(p for p in self._path.rglob("*") if p.is_file())
        return json.dumps([[os.path.realpath(path), *cache.stamp(path)] for path in files])

    def tables(self) -> tuple[Iterator[Any], dict[str, list[str]]]:
        datasets = _datasets()
        path, split = self._path, self._named.split
        if is_saved_dataset(path):
            found = datasets.load_from_disk(str(path))
            if isinstance(found, dict):
                if split not in found:
                    raise DataError(f"it has no split {split!r}; there are {', '.join(found)}")
                found = found[split]
            # Through its own iterator, so that nothing of it stays in memory.
            return found.with_format("arrow").iter(_ROWS), _class_names(found.features)
        place = str(cache_folder() / "datasets")
        if path.is_file():
            reader, settings = _reader_of(path)
            how: dict[str, Any] = dict(settings)
            if reader == "parquet":
                how["batch_size"] = safe_batch_size(path)
            builder = datasets.load_dataset_builder(
                reader, data_files={"train": glob.escape(os.path.realpath(path))}, cache_dir=place, **how
            )
        else:
            builder = datasets.load_dataset_builder(os.path.realpath(path), self._named.config, cache_dir=place)
        _check_reader(builder)
        if path.is_dir() and hasattr(builder.config, "batch_size"):
            builder.config.batch_size = min(map(safe_batch_size, path.rglob("*.parquet")), default=None)
        return _stream(builder, split)

    def check(self) -> None:
        """Raises `DataError` where a file changed while it was read."""
        if self._state() != self.identity:
            raise DataError("it changed while it was read; start again when nobody writes to it")


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` of `datasets` leaves."""
    single = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return single or (folder / "dataset_dict.json").is_file()


def _stream(builder: Any, split: str) -> tuple[Iterator[Any], dict[str, list[str]]]:
    found = builder.as_streaming_dataset(split=split)
    return found.with_format("arrow").iter(_ROWS), _class_names(getattr(found, "features", None))


def _class_names(features: Any) -> dict[str, list[str]]:
    found = {}
    for key, value in (features or {}).items():
        inner = getattr(value, "feature", value)  # of a list of classes
        if hasattr(inner, "names"):
            found[key] = list(inner.names)
    return found


def _reader_of(path: Path) -> tuple[str, dict[str, str]]:
    """By the ending of the name, or else by how the file begins."""
    ending = suffix_of(path)
    if ending not in _READERS:
        with contextlib.closing(open_input(path)) as stream:
            start = stream.read(4096).lstrip()
        ending = (
            ".parquet" if start.startswith(b"PAR1")
            else ".jsonl" if start.startswith((b"{", b"["))
            else ".tsv" if b"\t" in start.partition(b"\n")[0]
            else ".csv"
        )  # fmt: skip
    return _READERS[ending]


def _check_reader(builder: Any) -> None:
    reader = type(builder).__module__.rpartition(".")[2]
    if reader not in {name for name, _ in _READERS.values()}:
        raise DataError(f"it is no table or text, but for the reader {reader!r}")


# ---- datasets, kept in its place ----


def _datasets() -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise UserError(f"sets are read by `datasets`, which is not there: {reason(error)}") from error


@contextlib.contextmanager
def _modestly() -> Iterator[None]:
    """Keeps `datasets` from showing bars and warnings, running code of a set, asking further servers, and waiting
    minutes for one that does not answer; afterwards all is as it was."""
    datasets = _datasets()
    wanted = {
        # huggingface_hub has tried five times already when it is these numbers' turn.
        "STREAMING_READ_MAX_RETRIES": 1, "STREAMING_READ_RETRY_INTERVAL": 0, "STREAMING_OPEN_MAX_RETRIES": 1,
        "STREAMING_OPEN_RETRY_INTERVAL": 0, "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL": 0,
        "HF_DATASETS_TRUST_REMOTE_CODE": False, "USE_PARQUET_EXPORT": False,
    }  # fmt: skip
    config = datasets.config
    before = {name: getattr(config, name) for name in wanted if hasattr(config, name)}
    loggers = [importlib.import_module(name) for name in ("datasets.utils.logging", "huggingface_hub.utils.logging")]
    levels = [logger.get_verbosity() for logger in loggers]
    bars = datasets.is_progress_bar_enabled() if hasattr(datasets, "is_progress_bar_enabled") else False
    try:
        for name in before:
            setattr(config, name, wanted[name])
        for logger in loggers:
            logger.set_verbosity(50)  # critical: what goes wrong is said in one line, by us
        datasets.disable_progress_bars()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _check_reachable(config: Any) -> None:
    """Raises `DataError` at once where there is no network, for which `huggingface_hub` would try half a minute, or
    where it may not be used."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if getattr(config, name, False) is True or os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise DataError(f"the network is switched off by {name}")
    parts = urllib.parse.urlsplit(config.HF_ENDPOINT)
    if urllib.request.getproxies().get(parts.scheme):
        return  # it is to be asked by way of somebody else
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _PATIENCE).close()
    except OSError as error:
        raise DataError(f"the hub ({parts.netloc}) can't be reached: {reason(error)}") from error


@contextlib.contextmanager
def _told(named: DatasetName) -> Iterator[None]:
    """Makes whatever goes wrong one sentence."""
    try:
        yield
    except DataError as error:
        raise DataError(f"cannot read {named.source!r}: {error}") from error
    except (UserError, KeyboardInterrupt):
        raise
    except MemoryError as error:  # pyarrow's, over a header; before anything is taken
        raise DataError(f"cannot read {named.source!r}: it asks for more memory than there is") from error
    except Exception as error:  # datasets raises dozens of kinds, from the network's to pyarrow's
        raise DataError(f"cannot read {named.source!r}: {_why(named, error)}") from error


def _why(named: DatasetName, error: Exception) -> str:
    said = reason(error)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds or "is a gated" in said:
        page = f"https://huggingface.co/datasets/{named.name}"
        return f"it is gated: ask for access at {page}, then set HF_TOKEN or log in with `hf auth login`"
    if named.path is None and kinds & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        if named.revision and "evision" in said:
            return f"the hub has no revision {named.revision!r} of {named.name!r}"
        return f"the hub has no set {named.name!r}, or it is private or gated (then set HF_TOKEN, or `hf auth login`)"
    if match := re.search(r"Bad split: .*Available splits: \[(.*)\]", said):
        return f"it has no split {named.split!r}; there are {match[1]}; write {named.source.partition('#')[0]}#SPLIT"
    if match := re.search(r"BuilderConfig .* not found.*\[(.*)\]", said):
        return f"it has no config {named.config!r}; there are {match[1]}"[:300]
    if match := re.search(r"Config name is missing.*?\[(.*?)\]", said):
        return f"it has several configs, and none is named: {match[1]}"[:300]
    if "BatchSize must be greater than 0" in said:
        return "it has no rows"
    if "RemoteProtocolError" in kinds or re.search("Server Disconnected|Connection broken|IncompleteRead", said):
        return "the connection to the hub broke off, again and again; try again later"
    if kinds & {"ConnectionError", "NetworkError", "TimeoutException"}:
        return f"the hub can't be reached: {said[:160]}"
    return said[:200]
