"""`hf:` datasets, read by the `datasets` library: from the Hugging Face hub, or local Parquet, Arrow, JSON and CSV.

`hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]`, or `hf:PATH[:CONFIG][#SPLIT]`; the default split is `train`. A dataset of
any size is streamed once into a file of the cache, named after its commit. The program uses the network only here and
in `catalogue.download`, and only for a source that names one.
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

from seqgen.corpus import arrow
from seqgen.corpus import dataset_rows as rows
from seqgen.corpus.cache import store as cache
from seqgen.corpus.cache.folder import cache_folder, fallback_warning
from seqgen.corpus.dataset_rows import RowFormat, class_names
from seqgen.corpus.opening.signatures import is_parquet
from seqgen.corpus.parquet import safe_batch_size
from seqgen.errors import DataError, UserError
from seqgen.specs.tasks import RowLayout
from seqgen.streams import Progress, atomic_write, open_input, reason, suffix_of, write_bytes

_FORM = "hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT], or hf:PATH[#SPLIT]"
_NAME = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
# By suffix: the reader of `datasets` and its options. No other reader is allowed: the others read media, and some of
# older versions could be made to run code.
_READERS: dict[str, tuple[str, dict[str, str]]] = {
    ".parquet": ("parquet", {}), ".arrow": ("arrow", {}), ".json": ("json", {}), ".jsonl": ("json", {}),
    ".ndjson": ("json", {}), ".csv": ("csv", {}), ".tsv": ("csv", {"sep": "\t"}), ".txt": ("text", {}),
}  # fmt: skip
_BATCH_ROWS = 1000
_CONNECT_TIMEOUT = 10.0  # seconds
_VERSION = 1  # of the cached files; incremented when the same rows give other bytes


@dataclass(frozen=True)
class DatasetName:
    """The parts of an `hf:` source. `path` is its path on this machine, if it is local."""

    source: str
    name: str
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    path: Path | None = None


def parse(source: str) -> DatasetName:
    """Parse an `hf:` source; local paths have priority. Raises `DataError` for a malformed one."""
    rest = source.removeprefix("hf:")
    if rest and os.path.exists(os.path.expanduser(rest)):  # even if its name contains `:`, `@` or `#`
        return DatasetName(source, rest, path=Path(os.path.expanduser(rest)))
    head, mark, split = rest.rpartition("#")
    head, split = (head, split) if mark and split else (rest, "train")
    for name, config in ((head, None), head.rpartition(":")[::2]):
        path = os.path.expanduser(name)
        if name and config != "" and os.path.exists(path):
            return DatasetName(source, name, config, None, split, Path(path))
    match = _NAME.fullmatch(rest)
    if rest.startswith((".", "/", "~")):
        raise DataError(f"there is no file or folder {head!r}")
    if not match:
        raise DataError(f"{source!r} is not a dataset name; write {_FORM}")
    return DatasetName(source, match["name"], match["config"], match["revision"], match["split"] or "train")


def names_hub_dataset(source: str) -> bool:
    """Whether a source has the form of a dataset on the hub, whatever lies on this machine."""
    return source.startswith("hf:") and _NAME.fullmatch(source.removeprefix("hf:")) is not None


def local_dataset(name: str, path: Path) -> DatasetName:
    """Return the name of a file or folder that is read as a dataset without `hf:`."""
    return DatasetName("standard input" if name == "-" else name, str(path), path=path)


def fetch(named: DatasetName, wanted: RowFormat, progress: Progress | None = None) -> Path:
    """Return a file with the rows of a dataset, from the cache if it was read before.

    Raises:
        DataError: the dataset, its config, its split or its columns don't exist, or it can't be reached or read.
        UserError: the cache can't be written.
    """
    if wanted.layout == RowLayout.NONE:
        raise DataError(f"cannot read {named.source!r}: it is a dataset of rows, and this task reads files")
    if named.revision and _COMMIT.fullmatch(named.revision):  # no request is needed
        cached = _cached_path(named, named.revision, wanted)
        if cached.is_file():
            return _mark_used(cached)
    with _readable_errors(named), _quiet_datasets():
        opened = _Local(named) if named.path is not None else _Remote(named)
        cached = _cached_path(named, opened.identity, wanted)
        if cached.is_file():
            return _mark_used(cached)
        with cache.locked(_stem(cached)):
            if not cached.is_file():
                _store(cached, named, opened, wanted, progress)
    return cached


def _cached_path(named: DatasetName, identity: str, wanted: RowFormat) -> Path:
    parts = [_VERSION, named.name if named.path is None else "", named.config, named.split, identity, *wanted]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return cache_folder() / "sets" / f"{key}{rows.suffix(wanted)}"


def _stem(cached: Path) -> Path:
    return cached.with_name(cached.name.split(".")[0])


def _mark_used(cached: Path) -> Path:
    cache.remove_stale_lock(_stem(cached))
    with contextlib.suppress(OSError):
        os.utime(cached.with_suffix(".json"))  # for `last_used` in the list of the cache
    return cached


def _store(
    cached: Path, named: DatasetName, opened: _Local | _Remote, wanted: RowFormat, progress: Progress | None
) -> None:
    """Write the rows to the cache, atomically."""
    tables, names = opened.tables()
    report = progress or (lambda done, of: None)
    with atomic_write(cached) as stream:
        rows.write(wanted, tables, names, stream, lambda done: report(done, None))
        opened.verify()
    write_bytes(cached.with_suffix(".json"), json.dumps({"about": named.source}).encode())


class _Remote:
    """A dataset on the hub. `identity` is its current commit."""

    def __init__(self, named: DatasetName) -> None:
        if os.path.exists(named.name):  # `datasets` would read it, whatever the revision
            raise DataError(f"the working folder has a folder of that name; hf:{named.name} reads that one")
        datasets = _datasets()
        self._named = named
        check_reachable(datasets.config.HF_ENDPOINT, datasets.config)
        self._builder = datasets.load_dataset_builder(
            named.name, named.config, revision=named.revision, cache_dir=str(cache_folder() / "datasets")
        )
        _check_reader(self._builder)
        if hasattr(self._builder.config, "batch_size"):
            self._builder.config.batch_size = _BATCH_ROWS  # instead of a whole row group, of any size
        self.identity = str(self._builder.hash)

    def tables(self) -> tuple[Iterator[Any], dict[str, list[str]]]:
        return _stream(self._builder, self._named.split)

    def verify(self) -> None:
        """Do nothing: a commit can't change."""


class _Local:
    """A dataset on this machine. `identity` has the paths and stamps of its files."""

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
        for file in path.rglob("*.arrow"):
            arrow.check_decompressed_size(file)
        if is_saved_dataset(path):
            found = datasets.load_from_disk(str(path))
            if isinstance(found, dict):
                if split not in found:
                    raise DataError(f"it has no split {split!r}; the splits are {', '.join(found)}")
                found = found[split]
            # Its own iterator, unlike indexing, keeps no rows in memory.
            return found.with_format("arrow").iter(_BATCH_ROWS), class_names(found.features)
        cache_dir = str(cache_folder() / "datasets")
        if path.is_file():
            reader, settings = _reader_of(path)
            options: dict[str, Any] = dict(settings)
            if reader == "parquet":
                options["batch_size"] = safe_batch_size(path)
            elif reader == "arrow" and suffix_of(path) == path.suffix.lower():  # not compressed as a whole
                arrow.check_decompressed_size(path)
            builder = datasets.load_dataset_builder(
                reader, data_files={"train": glob.escape(os.path.realpath(path))}, cache_dir=cache_dir, **options
            )
        else:
            builder = datasets.load_dataset_builder(os.path.realpath(path), self._named.config, cache_dir=cache_dir)
        _check_reader(builder)
        if path.is_dir() and hasattr(builder.config, "batch_size"):
            builder.config.batch_size = min(map(safe_batch_size, path.rglob("*.parquet")), default=None)
        return _stream(builder, split)

    def verify(self) -> None:
        """Raise `DataError` if a file changed while it was read."""
        if self._state() != self.identity:
            raise DataError("it changed while it was being read; start again when nothing writes to it")


def is_saved_dataset(folder: Path) -> bool:
    """Return whether a folder was written by `save_to_disk` of `datasets`."""
    single = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return single or (folder / "dataset_dict.json").is_file()


def _stream(builder: Any, split: str) -> tuple[Iterator[Any], dict[str, list[str]]]:
    found = builder.as_streaming_dataset(split=split)
    return found.with_format("arrow").iter(_BATCH_ROWS), class_names(getattr(found, "features", None))


def _reader_of(path: Path) -> tuple[str, dict[str, str]]:
    """The reader of a file and its options: by the first bytes where they are Parquet's or Arrow's, by the suffix, or
    else by what the bytes look like."""
    with contextlib.closing(open_input(path)) as stream:
        start = stream.read(4096).lstrip()
    suffix = suffix_of(path)
    if is_parquet(start):
        suffix = ".parquet"
    elif start.startswith(b"ARROW1\0\0"):
        suffix = ".arrow"
    elif suffix not in _READERS:
        is_json = start.startswith((b"{", b"["))
        suffix = ".jsonl" if is_json else ".tsv" if b"\t" in start.partition(b"\n")[0] else ".csv"
    return _READERS[suffix]


def _check_reader(builder: Any) -> None:
    reader = type(builder).__module__.rpartition(".")[2]
    if reader not in {name for name, _ in _READERS.values()}:
        raise DataError(f"it is not a table or text: it needs the reader {reader!r}")


# ---- The `datasets` library ----


def _datasets() -> Any:
    if fallback_warning() is not None:  # nor can their caches be written
        os.environ.setdefault("HF_HOME", str(cache_folder() / "huggingface"))
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise UserError(f"cannot import `datasets`, which reads datasets: {reason(error)}") from error


@contextlib.contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Configure `datasets`: no progress bars or warnings, no code from datasets, no further servers, short waits.

    Its settings are restored afterwards.
    """
    datasets = _datasets()
    wanted = {
        # Before these retries, huggingface_hub has already tried five times.
        "STREAMING_READ_MAX_RETRIES": 1, "STREAMING_READ_RETRY_INTERVAL": 0, "STREAMING_OPEN_MAX_RETRIES": 1,
        "STREAMING_OPEN_RETRY_INTERVAL": 0, "STREAMING_READ_SERVER_UNAVAILABLE_RETRY_INTERVAL": 0,
        "HF_DATASETS_TRUST_REMOTE_CODE": False, "USE_PARQUET_EXPORT": False,
        "TORCH_AVAILABLE": False,  # which it would import for the number of an epoch
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
            logger.set_verbosity(50)  # critical; errors become one line of our own
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


def check_reachable(endpoint: str, settings: Any = None) -> None:
    """Raise `DataError` if the hub can't be reached or the network is switched off.

    `huggingface_hub` alone would retry for half a minute.

    Args:
        settings: an object that may have the switches, besides the environment.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        if getattr(settings, name, False) is True or os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise DataError(f"the network is switched off by {name}")
    parts = urllib.parse.urlsplit(endpoint)
    if urllib.request.getproxies().get(parts.scheme):
        return  # a proxy reaches it
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), _CONNECT_TIMEOUT).close()
    except OSError as error:
        raise DataError(f"the hub ({parts.netloc}) can't be reached: {reason(error)}") from error


@contextlib.contextmanager
def _readable_errors(named: DatasetName) -> Iterator[None]:
    """Turn any error into a one-line `DataError`."""
    try:
        yield
    except DataError as error:
        raise DataError(f"cannot read {named.source!r}: {error}") from error
    except (UserError, KeyboardInterrupt):
        raise
    except MemoryError as error:  # pyarrow's, because of a header, before it allocates anything
        raise DataError(f"cannot read {named.source!r}: it needs more memory than there is") from error
    except Exception as error:  # datasets raises dozens of types, from network errors to pyarrow's
        raise DataError(f"cannot read {named.source!r}: {_explain(named, error)}") from error


def _explain(named: DatasetName, error: Exception) -> str:
    message = reason(error)
    types = {each.__name__ for each in type(error).__mro__}
    if "GatedRepoError" in types or "is a gated" in message:
        page = f"https://huggingface.co/datasets/{named.name}"
        return f"it is gated: ask for access at {page}, then set HF_TOKEN or log in with `hf auth login`"
    if named.path is None and types & {"DatasetNotFoundError", "RepositoryNotFoundError"}:
        if named.revision and "evision" in message:
            return f"the hub has no revision {named.revision!r} of {named.name!r}"
        return (
            f"the hub has no dataset {named.name!r}, or it is private or gated (then set HF_TOKEN, or `hf auth login`)"
        )
    if match := re.search(r"Bad split: .*Available splits: \[(.*)\]", message):
        return (
            f"it has no split {named.split!r}; the splits are {match[1]}; write {named.source.partition('#')[0]}#SPLIT"
        )
    if match := re.search(r"BuilderConfig .* not found.*\[(.*)\]", message):
        return f"it has no config {named.config!r}; the configs are {match[1]}"[:300]
    if match := re.search(r"Config name is missing.*?\[(.*?)\]", message):
        return f"it has several configs; name one of {match[1]}"[:300]
    if "BatchSize must be greater than 0" in message:
        return "it has no rows"
    if "RemoteProtocolError" in types or re.search("Server Disconnected|Connection broken|IncompleteRead", message):
        return "the connection to the hub broke repeatedly; try again later"
    if types & {"ConnectionError", "NetworkError", "TimeoutException"}:
        return f"the hub can't be reached: {message[:160]}"
    return message[:200]
