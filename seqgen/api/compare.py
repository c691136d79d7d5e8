"""Compare networks: ordinary models, trained side by side under the same conditions.

One plan, that of the cell with the most gates, gives all runs their sizes, batches and length. What is compared differs
between them, and nothing else; the learning rate is that of each network's own plan unless it is given.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_type_hints

from seqgen import checkpoint
from seqgen.api.model import load
from seqgen.api.sources import Sources, as_list, check_folder_hides_no_source, open_sources, output_folder
from seqgen.api.train.plan import plan
from seqgen.api.train.run import train
from seqgen.api.train.watch import Watcher
from seqgen.config import TrainOptions, flag_name, from_json, make_options
from seqgen.config.networks import AnyNetworkConfig, network_config_class
from seqgen.corpus.sources import Spool, fingerprint
from seqgen.errors import ModelError, UserError, did_you_mean
from seqgen.model.weight_shapes import parameter_count
from seqgen.specs.cells import CELLS
from seqgen.specs.tasks import TASKS, network_of
from seqgen.streams import PARTIAL_SUFFIX, reason, write_bytes
from seqgen.training.distributed.launch import read_launch
from seqgen.untrusted import is_number, parse_json

FILE = "compare.json"
MATCHES = ("units", "parameters", "time")
MAX_SEEDS = 100
MAX_RUNS = 1000

_FIXED = ("rnn_size", "num_layers", "embedding_size", "tie_weights", "dropout", "blank", "batch_size", "seq_length")
_LENGTHS = ("budget", "epochs", "steps")
_NOT_SWEPT = ("seed", "device", "threads", "precision", "keep_corpus")

RunWatcher = Callable[[str, int, int], AbstractContextManager[Watcher]]
"""From the name of a run, its number and the count of all to what watches it."""


@dataclass(frozen=True)
class ComparedRun:
    """One model of a comparison.

    Attributes:
        folder: its model folder.
        settings: what distinguishes it: option → value.
        val_loss: the best validation loss; None if nothing was held out.
        metrics: of that validation, as `info` has them.
        curve: the records of metrics.jsonl.
    """

    name: str
    folder: Path
    settings: dict[str, Any]
    seed: int
    parameters: int
    steps: int
    seconds: float
    tokens_per_second: float
    val_loss: float | None
    metrics: dict[str, Any]
    curve: list[dict[str, Any]] = dataclasses.field(repr=False)


@dataclass(frozen=True)
class ComparedSetting:
    """Means over the seeds of one setting; `spread` is their standard deviation, None with one seed."""

    name: str
    settings: dict[str, Any]
    parameters: int
    steps: float
    seconds: float
    tokens_per_second: float
    val_loss: float | None
    spread: float | None
    headline: float | None


@dataclass(frozen=True)
class Comparison:
    """A comparison: its task, what all runs have in common, the runs, and their means by setting."""

    task: str
    match: str
    common: dict[str, Any]
    runs: list[ComparedRun]
    summary: list[ComparedSetting]

    def of_own_units(self, metric: str) -> list[str]:
        """The compared options that choose the unit of `val_loss` or the `headline`, so that these don't compare."""
        spec = TASKS.find(self.task)
        options = spec.loss_units if metric == "val_loss" else spec.headline_units
        return [name for name in sorted(options) if len({each.settings.get(name) for each in self.summary}) > 1]

    def to_json(self) -> dict[str, Any]:
        """The object of `compare --json`."""
        runs = [
            {**{field.name: getattr(run, field.name) for field in dataclasses.fields(run) if field.name != "curve"},
             "folder": str(run.folder)}
            for run in self.runs
        ]  # fmt: skip
        summary = [dataclasses.asdict(each) for each in self.summary]
        incomparable = [metric for metric in ("val_loss", "headline") if self.of_own_units(metric)]
        return {
            "task": self.task, "match": self.match, "common": self.common, "summary": summary,
            "incomparable": incomparable, "runs": runs,
        }  # fmt: skip


def compare(
    sources: Sources,
    output: str | Path,
    *,
    task: str | None = None,
    valid: Sources = (),
    cells: Sequence[str] | str = (),
    match: str = "units",
    seeds: int = 1,
    sweep: str | None = None,
    overwrite: bool = False,
    watch: RunWatcher | None = None,
    **options: Any,
) -> Comparison:
    """Train models side by side in folders inside `output`, or continue a comparison that was stopped.

    Args:
        cells: recurrent cells; by default all, unless there is a `sweep`.
        match: `units`: all have the same hidden size and do the same steps; `parameters`: hidden sizes give them about
            the same number of parameters; `time`: the same hidden size, and the same time instead of the same steps.
        seeds: runs of each setting, with seeds from `seed` on.
        sweep: options to compare, and their values: `rnn-size=64,128;dropout=0,0.3`.
        overwrite: replace a comparison in `output`.
        options: fields of `config.TrainOptions`. By default the held-out part is not learnt (`finish`): it measures.

    Raises:
        UserError: the arguments are unusable, another comparison is in `output`, or its runs learnt other sources.
        StoppedError: a run was stopped before it began.
    """
    if read_launch() is not None:
        raise UserError("a comparison trains one model after another; start it without torchrun")
    if match not in MATCHES:
        raise UserError(f"--match must be one of {', '.join(MATCHES)}; not {match!r}{did_you_mean(match, MATCHES)}")
    if not 1 <= seeds <= MAX_SEEDS:
        raise UserError(f"--seeds must be from 1 to {MAX_SEEDS}, not {seeds}")
    names, valid_names = as_list(sources), as_list(valid)
    if "-" in [*names, *valid_names]:
        raise UserError("a comparison reads its sources once a run: save standard input to a file, and name that")
    variants = _variants(as_list(cells, "cells"), sweep, options)
    _check(match, variants, options)
    folder = output_folder(output)
    check_folder_hides_no_source(folder, [*names, *valid_names])
    request = {
        "sources": names, "valid": valid_names, "task": task, "match": match, "seeds": seeds, "variants": variants,
        "options": _jsonable({"finish": False, **options}),
    }  # fmt: skip
    watch = watch or (lambda name, number, count: nullcontext(Watcher()))
    runs = [(variant, seed) for seed in range(seeds) for variant in range(len(variants))]
    names_of_runs = [f"{_name(variants[variant])}-{seed + 1}" for variant, seed in runs]
    saved = None if overwrite else _saved(folder, request)
    if saved is None:
        _check_folder(folder, overwrite)
        with watch("plan", 0, len(variants) * seeds) as watcher:
            saved = {**request, **_common(names, valid_names, task, match, variants, options, watcher), "finished": []}
        _make_folder(folder)
        saved["former"] = [name for name in names_of_runs if (folder / name / checkpoint.CONFIG).exists()]
        _write(folder, saved)
    _remove_former(folder, saved, names_of_runs)
    finished = {name: variant for (variant, _), name in zip(runs, names_of_runs, strict=True)
                if name in saved["finished"]}  # fmt: skip
    if finished and len(finished) < len(runs):
        _check_sources(folder, saved, names, valid_names, *next(iter(finished.items())))
    for number, ((variant, seed), name) in enumerate(zip(runs, names_of_runs, strict=True), start=1):
        if name in saved["finished"]:
            continue
        with watch(name, number, len(runs)) as watcher:
            stopped = False

            def stop(asked: Callable[[], bool] = watcher.stop) -> bool:
                nonlocal stopped
                stopped = stopped or asked()
                return stopped

            given = {**_options_of(saved, variant), "seed": int(options.get("seed", 0)) + seed}
            train(
                names, folder / name, task=saved["task_found"], valid=valid_names, watch=dataclasses.replace(
                    watcher, stop=stop), resume=(folder / name / checkpoint.CONFIG).exists(), **given,
            )  # fmt: skip
        if stopped:
            break
        saved["finished"].append(name)
        _write(folder, saved)
    return _result(folder, saved, variants, int(options.get("seed", 0)))


# ---- What is compared ----


def _variants(cells: Sequence[str], sweep: str | None, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings to compare, each as options."""
    axes: list[tuple[str, list[Any]]] = []
    if cells or sweep is None:
        if "cell" in options:
            raise UserError(
                "--cell can't be used with --cells, which compares them" if cells
                else "--cell needs --sweep: without one, the cells are compared (--cells gru trains one)"
            )  # fmt: skip
        chosen = list(dict.fromkeys(cells)) or sorted(CELLS, key=lambda name: CELLS[name].gates)
        axes.append(("cell", [CELLS.find(name).name for name in chosen]))
    axes += [] if sweep is None else _parse_sweep(sweep, options)
    names = [name for name, _ in axes]
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice == "cell" and cells:
        raise UserError("--sweep cell=… can't be used with --cells; it compares the same")
    if twice is not None:
        raise UserError(f"--sweep has {flag_name(twice)} twice: name it once, with all values, separated by commas")
    found = [dict(zip(names, values, strict=True)) for values in itertools.product(*(values for _, values in axes))]
    if len(found) > MAX_RUNS:
        raise UserError(f"--sweep asks for {len(found):,} settings; at most {MAX_RUNS:,} are compared")
    folders: dict[str, dict[str, Any]] = {}
    for variant in found:
        other = folders.setdefault(_name(variant), variant)
        if other is not variant:
            first, second = next((other[name], variant[name]) for name in names if other[name] != variant[name])
            raise UserError(f"--sweep: {first!r} and {second!r} would have the same folder; compare one of them")
    return found


def _parse_sweep(text: str, options: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """`rnn-size=64,128;dropout=0,0.3` → [("rnn_size", [64, 128]), ("dropout", [0.0, 0.3])]."""
    fields = {item.name: item for item in dataclasses.fields(TrainOptions)}
    aliases = {flag.lstrip("-").replace("-", "_"): name for name, item in fields.items()
               for flag in item.metadata["flags"]}  # fmt: skip
    axes = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        flag, equals, values = part.partition("=")
        key = flag.strip().lstrip("-").replace("-", "_")
        name = aliases.get(key, key)
        if name not in fields:
            raise UserError(f"--sweep: there is no flag --{flag.strip()}{did_you_mean(key, fields)}")
        if name in _NOT_SWEPT:
            raise UserError(f"--sweep can't compare {flag_name(name)}" + "; --seeds does" * (name == "seed"))
        if options.get(name) is not None:
            raise UserError(f"{flag_name(name)} is given, and compared by --sweep too")
        parsed = [_parse_value(name, value.strip()) for value in values.split(",") if value.strip()]
        if not equals or not parsed:
            raise UserError(f"--sweep must be like 'rnn-size=64,128;dropout=0,0.3'; {part!r} has no values")
        axes.append((name, list(dict.fromkeys(parsed))))
    if not axes:
        raise UserError("--sweep must be like 'rnn-size=64,128;dropout=0,0.3'; it is empty")
    return axes


def _parse_value(name: str, text: str) -> Any:
    """The value of an option. Raises `UserError` if it isn't one."""
    hint = get_type_hints(TrainOptions)[name]
    (kind,) = [part for part in (get_args(hint) or (hint,)) if part is not type(None)][:1]
    if kind is bool:
        flags = {"yes": True, "true": True, "no": False, "false": False}
        if text.lower() not in flags:
            raise UserError(f"--sweep: {flag_name(name)} must be yes or no, not {text!r}")
        return flags[text.lower()]
    if kind not in (int, float, str):
        raise UserError(f"--sweep can't compare {flag_name(name)}")
    try:
        value = kind(text)
    except ValueError:
        raise UserError(f"--sweep: {flag_name(name)} must be {kind.__name__}, not {text!r}") from None
    if name not in _LENGTHS:
        make_options(TrainOptions, {name: value})
    return value


def _check(match: str, variants: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> None:
    """Raise `UserError` for settings that exclude each other."""
    for variant in variants:
        make_options(TrainOptions, {**options, **variant})
    if match == "parameters" and "rnn_size" in (*options, *variants[0]):
        raise UserError("--match parameters chooses the hidden sizes: leave --rnn-size out")
    if match == "time" and any(name in (*options, *variants[0]) for name in ("steps", "epochs")):
        raise UserError("--match time gives every run the same --budget: leave --steps and --epochs out")


def _common(
    names: list[str], valid: list[str], task: str | None, match: str, variants: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any], watcher: Watcher,
) -> dict[str, Any]:  # fmt: skip
    """The options that all runs have in common, and those of each variant, by one plan."""
    slowest = max(variants, key=lambda variant: CELLS[variant.get("cell", TrainOptions.cell)].gates)
    given = {**options, **slowest}
    by_clock = not any(given.get(name) for name in ("steps", "epochs"))
    planned = plan(names, task=task, valid=valid, watch=watcher, measures=by_clock, **given)
    found_task = planned.settings["task"]
    network: AnyNetworkConfig = from_json(network_config_class(found_task, planned.network), planned.network)
    swept = set(variants[0])
    fixed = {
        name: planned.settings[name]
        for name in _FIXED
        if name not in options and name not in swept and planned.settings.get(name) is not None
    }
    if not network_of(network).predicts_ids:
        fixed.pop("seq_length", None)  # it follows from the data
    if not swept.intersection(_LENGTHS) and by_clock:
        if match == "time":
            fixed["budget"] = options.get("budget") or f"{planned.settings['budget']:g}s"
        else:
            fixed |= {"steps": planned.steps, "budget": None}
    by_variant = [dict(variant) for variant in variants]
    if match == "parameters":
        wanted = parameter_count(network)
        for variant in by_variant:
            own = dataclasses.replace(network, **{k: v for k, v in variant.items() if hasattr(network, k)})
            variant["rnn_size"] = _matching_size(own, wanted)
        fixed.pop("rnn_size", None)
    return {"task_found": found_task, "common": fixed, "by_variant": by_variant}


def _matching_size(network: AnyNetworkConfig, parameters: int) -> int:
    """The hidden size that gives a network about this many parameters."""

    def count(size: int) -> int:
        return parameter_count(dataclasses.replace(network, rnn_size=size))

    low, high = 1, 1 << 16
    while low < high:  # the smallest that has as many
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= parameters else (middle + 1, high)
    return min((low, max(low - 1, 1)), key=lambda size: abs(count(size) - parameters))


# ---- The folder ----


def _name(variant: Mapping[str, Any]) -> str:
    """The name of a setting, fit for a folder: `lstm`, `rnn-size=64,dropout=0.3`."""
    parts = [str(value) if name == "cell" else f"{name.replace('_', '-')}={_plain(value)}"
             for name, value in variant.items()]  # fmt: skip
    return "".join(letter if letter.isalnum() or letter in "-_=,.%" else "_" for letter in ",".join(parts))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def _saved(folder: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The comparison in a folder; None if there is none. Raises `UserError` if it is another one, or damaged."""
    path = folder / FILE
    if not path.exists():
        return None
    damaged = UserError(f"{str(path)!r} is damaged; name another folder, or replace it with --overwrite")
    try:
        saved: dict[str, Any] = parse_json(path.read_bytes())
        # As JSON, in which 1, 1.0 and true are three values.
        other = next((name for name, value in request.items() if _sorted(saved[name]) != _sorted(value)), None)
        if other is None:
            TASKS.find(saved["task_found"])
            for variant in range(len(request["variants"])):
                make_options(TrainOptions, _options_of(saved, variant))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, UserError) as error:
        raise damaged from error
    if other is not None:
        raise UserError(
            f"{str(folder)!r} has another comparison: its {other} differ; name another folder, or replace it with "
            "--overwrite"
        )
    if not isinstance(saved.get("finished"), list) or len(saved["by_variant"]) != len(request["variants"]):
        raise damaged
    return saved


def _check_sources(
    folder: Path, saved: Mapping[str, Any], names: list[str], valid: list[str], run: str, variant: int
) -> None:
    """Raise `UserError` if the sources are not those that a finished run learnt: others would not compare with it."""
    options = make_options(TrainOptions, _options_of(saved, variant))
    with Spool() as spool:
        read = partial(
            open_sources, saved["task_found"], spool=spool, text_column=options.text_column, encoding=options.encoding,
            tokenizer=options.tokenizer,
        )  # fmt: skip
        parts = filter(None, (names, valid, options.unlabelled))
        found = fingerprint([document for part in parts for document in read(part)])
    if found != load(folder / run).checkpoint.config["data"].get("fingerprint"):
        raise UserError(
            f"the sources are not those that {run} was trained on; name another folder, or replace the comparison with "
            "--overwrite"
        )


def _sorted(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _options_of(saved: Mapping[str, Any], variant: int) -> dict[str, Any]:
    """The options of a run but for its seed, as JSON gave them back."""
    given = {**saved["options"], **saved["common"], **saved["by_variant"][variant]}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _check_folder(folder: Path, overwrite: bool) -> None:
    others = folder.is_dir() and any(not path.name.endswith(PARTIAL_SUFFIX) for path in folder.iterdir())
    if others and not (overwrite and (folder / FILE).exists()):
        raise UserError(f"-o {str(folder)!r} has files that are no comparison; name a new folder")
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not there.is_dir():
        raise UserError(f"-o {str(there)!r} is a file; name a folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"cannot write {str(folder)!r}: {os.strerror(errno.EACCES)}")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {str(folder)!r}: {reason(error)}") from error


def _remove_former(folder: Path, saved: dict[str, Any], runs: Sequence[str]) -> None:
    """Remove the models of the comparison that was replaced, which would be taken for runs of this one."""
    listed = saved.get("former")  # missing in older comparisons
    former = [name for name in runs if isinstance(listed, list) and name in listed]
    for name in former:
        try:
            shutil.rmtree(folder / name)
        except FileNotFoundError:  # removed before a kill
            continue
        except OSError as error:
            raise UserError(f"cannot write {str(folder / name)!r}: {reason(error)}") from error
    if former:
        saved["former"] = []
        _write(folder, saved)


def _write(folder: Path, saved: Mapping[str, Any]) -> None:
    write_bytes(folder / FILE, (json.dumps(saved, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def _jsonable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they come back from JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}


# ---- The result ----


def _result(folder: Path, saved: Mapping[str, Any], variants: Sequence[dict[str, Any]], seed: int) -> Comparison:
    """What the finished runs came to."""
    runs = []
    for number in range(saved["seeds"]):
        for index, variant in enumerate(variants):
            name = f"{_name(variant)}-{number + 1}"
            if name in saved["finished"]:
                settings = saved["by_variant"][index]
                runs.append(_run_of(folder / name, name, settings, seed + number))
    headline = TASKS.find(saved["task_found"]).headline.key
    summary = []
    for index, variant in enumerate(variants):
        own = [run for run in runs if run.name.rpartition("-")[0] == _name(variant)]
        if own:
            summary.append(_mean(_name(variant), saved["by_variant"][index], own, headline))
    return Comparison(saved["task_found"], saved["match"], saved["common"], runs, summary)


def _run_of(folder: Path, name: str, settings: dict[str, Any], seed: int) -> ComparedRun:
    model = load(folder)
    training, curve = model.checkpoint.config["training"], checkpoint.read_metrics(folder)
    length = [training.get(key, 0) for key in ("step", "seconds")]
    if not all(map(is_number, length)):
        raise ModelError(f"{str(folder / checkpoint.CONFIG)!r} is damaged: step or seconds is not a number")
    losses = [record["val_loss"] for record in curve if is_number(record.get("val_loss"))]
    speeds = [record["tokens_per_second"] for record in curve if is_number(record.get("tokens_per_second"))]
    return ComparedRun(
        name, folder, settings, seed, parameter_count(model.checkpoint.network), int(length[0]), float(length[1]),
        statistics.median(filter(None, speeds)) if any(speeds) else 0.0,
        min(losses, default=None), dict(model.checkpoint.config["metrics"]), curve,
    )  # fmt: skip


def _mean(name: str, settings: dict[str, Any], runs: Sequence[ComparedRun], headline: str) -> ComparedSetting:
    losses = [run.val_loss for run in runs if run.val_loss is not None]
    heads = [float(run.metrics[headline]) for run in runs if is_number(run.metrics.get(headline))]
    return ComparedSetting(
        name, settings, runs[0].parameters,
        statistics.fmean(run.steps for run in runs),
        statistics.fmean(run.seconds for run in runs),
        statistics.fmean(run.tokens_per_second for run in runs),
        statistics.fmean(losses) if losses else None,
        statistics.stdev(losses) if len(losses) > 1 else None,
        statistics.fmean(heads) if heads else None,
    )  # fmt: skip
