"""Recipes: a training run as a file of flags, with which `seqgen train --config FILE` repeats it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from seqgen.checkpoint import Checkpoint
from seqgen.config import TrainOptions
from seqgen.errors import ModelError
from seqgen.specs.tasks import TASKS
from seqgen.untrusted import CONTROLS_BEYOND_C0, one_line

_ESCAPES = {code: f"\\u{code:04x}" for code in CONTROLS_BEYOND_C0}  # JSON escapes the others
# Only if given: they follow from the others, or are the machine's.
_NOT_CHOSEN = {
    "budget", "epochs", "steps", "vocab_size", "threads", "stop_words", "layer_decay", "unfreeze", "weight_drop",
}  # fmt: skip


def make_recipe(model: Checkpoint, output: str) -> str:
    """Return the run that made a model as TOML: sources, task, the settings given, and those that a plan chose.

    Raises `ModelError` if config.json is too damaged for that.
    """
    try:
        return _make_recipe(model, output)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{str(model.folder)!r}: config.json is damaged: the settings of the run are missing"
        ) from error


def _folder_name(name: str) -> str:
    """The folder for a model of this name: for one of the hub, `hf:OWNER/NAME@REVISION`, NAME."""
    return name.partition("@")[0].rpartition("/")[2] if name.startswith("hf:") else name


def _make_recipe(model: Checkpoint, output: str) -> str:
    training = model.config["training"]
    sources = training.get("sources") or [source["name"] for source in model.sources]
    valid = training.get("valid") or [source["name"] for source in model.valid_sources]
    lines = [
        f"# seqgen train --config FILE repeats the run of {training.get('step', 0):,} steps that made this model "
        f"(seqgen {one_line(model.config['seqgen'])}).",
        _line("sources", sources),
        _line("output", _folder_name(output)),
        _line("task", model.task),
    ]
    lines += [_line("valid", valid)] if valid else []
    lines += [_line("init_from", training["init_from"])] if training["init_from"] else []
    plan = {**training, **training["schedule"], **model.config["network"]}
    if training.get("members"):
        plan["members"] = training["members"]["planned"]
    if "lags" in plan:  # a list in the network, text in the option
        plan["lags"] = ",".join(map(str, plan["lags"])) or "none"
    if training.get("pretraining") is None and not training["options"].get("generative"):
        plan["pretrain"] = 0.0
    checked = dataclasses.asdict(model.options)
    options = {name: checked[name] for name in training["options"] if name in checked}
    given, chosen = _settings(training, options, plan, model.task)
    lines += [_line(name, value) for name, value in given.items()]
    if chosen:
        lines += ["", "# Chosen for this run.", *(_line(name, value) for name, value in chosen.items())]
    if not {"steps", "epochs"} & given.keys():
        lines += ["", "# Its length is a time. To repeat it by steps, on any machine, take this instead of a budget:",
                  f"# steps = {training.get('step', 0)}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _settings(
    training: Mapping[str, Any], options: Mapping[str, Any], plan: Mapping[str, Any], task: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that were given or differ from their defaults, and those that the plan chose."""
    explicit = training.get("given", ())
    spec = TASKS.find(task)
    given: dict[str, Any] = {"seed": options["seed"]}
    chosen: dict[str, Any] = {}
    for item in dataclasses.fields(TrainOptions):
        if item.name in spec.unused_settings:
            continue
        value, group = options.get(item.name), item.metadata["group"]
        if value is not None and (item.name in explicit or value != item.default):
            given[item.name] = value
        elif group not in (None, *spec.option_groups) or item.name in _NOT_CHOSEN:
            continue
        elif item.name == "precision" or value is None:
            choice = plan.get(item.name)
            if choice is not None:
                chosen[item.name] = choice
    return given, chosen


def _line(name: str, value: Any) -> str:
    return f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    """A value as TOML, whose strings in quotes are nearly those of JSON."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
    if not isinstance(value, (int, float)):
        raise TypeError(f"{type(value).__name__} is no value of a setting")
    return json.dumps(value)
