"""Training in several processes: the same losses as in one, one report of an error, and a common end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

import seqgen
from seqgen import checkpoint
from seqgen.api.train.distributed import check_sources, distributed_speed, is_elastic_restart, run_metadata
from seqgen.config import ClassifierConfig, ForecasterConfig, NetworkConfig
from seqgen.corpus.ids import IdStream
from seqgen.corpus.series.windows import ScaledSeries, Windows
from seqgen.errors import TrainingError, UserError
from seqgen.model.chunks import chunk_texts
from seqgen.model.classifier import Classifier
from seqgen.model.dropout import MaskRng, dropout_mask
from seqgen.model.forecaster import Forecaster
from seqgen.model.language import LanguageModel
from seqgen.model.weight_shapes import parameter_count
from seqgen.training.device import Compute, own_gpu
from seqgen.training.distributed import launch
from seqgen.training.distributed.launch import Launch, join_world, may_report, read_launch
from seqgen.training.distributed.world import SINGLE_PROCESS, World
from seqgen.training.objectives.classification import ClassificationObjective, LabelledIds, chunk_range
from seqgen.training.objectives.forecasting import ForecastingObjective
from seqgen.training.objectives.language import NextTokenObjective
from seqgen.training.objectives.pretraining import PretrainingObjective
from tests.helpers import ranks
from tests.helpers.running import MadeOnce

CLOSE = 1e-5  # relative difference of losses in float32 over some tens of steps; 2e-7 was measured


# ---- Lanes ----


@given(st.integers(1, 300), st.integers(1, 40))
def test_lane_range_counts_every_lane_once(lanes: int, size: int) -> None:
    counted = []
    for rank in range(size):
        part = World(rank, size).lane_range(lanes)
        assert 0 <= part.first < part.stop <= lanes == part.total
        if part.counted:
            counted += range(part.first, part.stop)
        else:
            assert part.stop - part.first == 1
    assert counted == list(range(lanes))


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2), st.integers(0, 1 << 30))
def test_dropout_mask_parts_make_one_mask(lanes: int, size: int, dimension: int, seed: int) -> None:
    shape = [2, 3, 4]
    shape[dimension] = lanes
    whole = dropout_mask(torch.zeros(shape), 0.4, torch.Generator().manual_seed(seed))
    for rank in range(size):
        part, generator = World(rank, size).lane_range(lanes), torch.Generator().manual_seed(seed)
        mine = torch.zeros(shape).narrow(dimension, part.first, part.stop - part.first)
        mask = dropout_mask(mine, 0.4, MaskRng(generator, part), lane_dim=dimension)
        assert torch.equal(mask, whole.narrow(dimension, part.first, part.stop - part.first))
        shared = dropout_mask(torch.zeros(5), 0.5, MaskRng(generator, part))
        again = torch.Generator().manual_seed(seed)
        dropout_mask(torch.zeros(shape), 0.4, again)
        assert torch.equal(shared, dropout_mask(torch.zeros(5), 0.5, again))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 9), st.integers(1, 5))
def test_chunk_range_is_the_part_of_all_chunks(lengths: list[int], stretch: int, size: int) -> None:
    texts = [np.full(length, number) for number, length in enumerate(lengths)]
    whole = chunk_texts(texts, stretch)
    for rank in range(size):
        part = World(rank, size).lane_range(len(texts))
        columns = chunk_range(part, np.array(lengths), stretch)
        mine = chunk_texts(texts[part.as_slice], stretch)
        assert columns.total == len(whole.lengths)
        np.testing.assert_array_equal(mine.lengths, whole.lengths[columns.as_slice])
        np.testing.assert_array_equal(mine.text_indices + part.first, whole.text_indices[columns.as_slice])


# ---- Gradients of parts of a batch, in one process ----


def labelled(texts: int, seed: int = 0) -> LabelledIds:
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 14, texts)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    targets = np.eye(3, dtype=np.float32)[random.integers(0, 3, texts)]
    return LabelledIds(random.integers(0, 30, starts[-1]).astype(np.uint8), starts, targets)


def series() -> Windows:
    random = np.random.default_rng(0)
    values = random.normal(size=(60, 2)).astype(np.float32)
    nothing = np.zeros((60, 0), np.float32)
    prepared = ScaledSeries("", values, random.random((60, 2)) > 0.2, nothing, nothing)
    return Windows([prepared], [(12, 60)], 12, 5)


SORTER = ClassifierConfig(
    vocab_size=30, labels=("a", "b", "c"), rnn_size=6, embedding_size=5, num_layers=2, dropout=0.4, stretch=4
)
WEIGHTS = np.array([0.5, 1.0, 2.0], dtype=np.float32)


def language(compute: Compute, length: int = 9, size: int = 20) -> NextTokenObjective:
    stream = IdStream(np.random.default_rng(1).integers(0, 20, 300).astype(np.uint8), np.arange(0, 300, 4))
    config = NetworkConfig(vocab_size=size, rnn_size=8, embedding_size=6, num_layers=2, dropout=0.4, weight_drop=0.3)
    return NextTokenObjective(
        LanguageModel(config, torch.Generator().manual_seed(1)), stream, None, compute, size, 7, length, 3
    )


def many_kinds(compute: Compute) -> NextTokenObjective:
    """Enough ids for the fused loss of `cross_entropy`."""
    return language(compute, size=1100)


def nothing_to_learn(compute: Compute) -> NextTokenObjective:
    """Sometimes every other lane has only a false end to predict."""
    return language(compute, 1)


def sorting(compute: Compute) -> ClassificationObjective:
    network = Classifier(SORTER, torch.Generator().manual_seed(1))
    torch.nn.init.normal_(network.head_weight, generator=torch.Generator().manual_seed(2))
    return ClassificationObjective(network, labelled(22), None, None, compute, 7, 3, 0.1, WEIGHTS)


def words_first(compute: Compute) -> PretrainingObjective:
    return PretrainingObjective(Classifier(SORTER, torch.Generator().manual_seed(1)), labelled(22), compute, 7, 3)


def looking_ahead(compute: Compute) -> ForecastingObjective:
    config = ForecasterConfig(
        targets=2, look_back=12, horizon=5, segment_length=3, levels=(10.0, 50.0, 90.0), rnn_size=8, embedding_size=6,
        dropout=0.4,
    )  # fmt: skip
    return ForecastingObjective(Forecaster(config, torch.Generator().manual_seed(1)), series(), None, compute, 7, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 9])
@pytest.mark.parametrize("make", [language, many_kinds, nothing_to_learn, sorting, words_first, looking_ahead])
def test_objectives_gradients_of_processes_sum_to_those_of_one(make: Any, size: int) -> None:
    """Losses and gradients with masks, for several steps.

    They include the smaller last batch of an epoch, fewer lanes than processes, and targets that are not predicted.
    """
    cpu = torch.device("cpu")
    alone = make(Compute(cpu, torch.float32))
    parts = [make(Compute(cpu, torch.float32, World(rank, size))) for rank in range(size)]
    for step in range(5):
        seen = []
        for objective in (alone, *parts):
            objective.network.train()
            objective.network.zero_grad()
            loss, tokens = objective.loss(step, torch.Generator().manual_seed(step))
            loss.backward()
            gradients = {name: w.grad for name, w in objective.network.named_parameters() if w.grad is not None}
            seen.append((float(loss.detach()), tokens, gradients))
        assert sum(loss for loss, _, _ in seen[1:]) == pytest.approx(seen[0][0], rel=1e-5)
        assert {tokens for _, tokens, _ in seen} == {seen[0][1]}
        assert all(gradients.keys() == seen[0][2].keys() for _, _, gradients in seen)
        for name, gradient in seen[0][2].items():
            summed = sum(gradients[name] for _, _, gradients in seen[1:])
            torch.testing.assert_close(summed, gradient, rtol=1e-4, atol=1e-6)


# ---- Launching ----


TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "a"}


def test_read_launch_reads_the_variables_of_torchrun() -> None:
    assert read_launch({}) is None
    assert read_launch({"RANK": "1"}) is None, "a variable with another meaning"
    assert read_launch(TORCHRUN) == Launch(rank=3, size=4, local_rank=1, local_world_size=2)
    assert read_launch({name: TORCHRUN[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")}) == Launch(3, 4, 3, 4)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RANK", "x", "RANK=x in the environment is not an integer"),
        ("RANK", "4", "RANK=4 in the environment doesn't match"),
        ("RANK", "-1", "doesn't match WORLD_SIZE=4"),
        ("LOCAL_RANK", "1.5", "LOCAL_RANK=1.5"),
        ("LOCAL_WORLD_SIZE", "many", "is not an integer; let torchrun set it"),
    ],
)
def test_read_launch_invalid_variable_raises_user_error(name: str, value: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        read_launch({**TORCHRUN, name: value})


def test_join_world_without_a_port_raises_user_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="MASTER_PORT is missing"), join_world():
        pass


def test_may_report_before_joining_is_rank_0_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "seqgen.training.distributed.world", raising=False)
    assert may_report()
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert not may_report()
    monkeypatch.setenv("RANK", "0")
    assert may_report()
    monkeypatch.setenv("RANK", "nonsense")
    assert may_report(), "the error itself"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setitem(sys.modules, "seqgen.training.distributed.world", None)  # type: ignore[arg-type]
    assert may_report(), "after joining, `join_world` decides"


def test_world_single_process_returns_its_own_values() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.full((2,), 3.0)
    assert SINGLE_PROCESS.all_reduce_gradients([weight], torch.tensor(0.5)) == 0.5
    assert weight.grad.tolist() == [3, 3]
    assert SINGLE_PROCESS.gather_lanes(weight, SINGLE_PROCESS.lane_range(2)) is weight
    assert SINGLE_PROCESS.broadcast_floats(1.0, 2.0) == (1.0, 2.0)
    assert SINGLE_PROCESS.any_rank(True)
    assert not SINGLE_PROCESS.any_rank(False)
    assert SINGLE_PROCESS.broadcast_json(lambda: "so") == "so"
    assert SINGLE_PROCESS.broadcast_bytes(b"so") == b"so"
    with SINGLE_PROCESS.main_process_first():
        SINGLE_PROCESS.barrier()
    SINGLE_PROCESS.broadcast_tensors([weight])
    SINGLE_PROCESS.measure_all_reduce(torch.device("cpu"))
    assert SINGLE_PROCESS.all_reduce_seconds(1 << 30) == 0
    assert SINGLE_PROCESS.is_main_process


def test_own_gpu_is_the_local_rank() -> None:
    assert own_gpu(World(5, 8, 1, 4), 4) == 1
    with pytest.raises(UserError, match=r"cannot give each of 4 processes a GPU: this machine has 1;.*--device cpu"):
        own_gpu(World(5, 8, 1, 4), 1)


def test_train_several_ranks_refuse_a_source_that_can_be_read_once(tmp_path: Path) -> None:
    pipe, file = str(tmp_path / "pipe"), str(tmp_path / "file")
    os.mkfifo(pipe)
    Path(file).touch()
    check_sources(["-", pipe], SINGLE_PROCESS)
    check_sources(["a", file, str(tmp_path)], World(0, 2))
    with pytest.raises(UserError, match="standard input can't be read by several processes: write it to a file"):
        check_sources(["a", "-"], World(0, 2))
    with pytest.raises(UserError, match="pipe', a pipe, can't be read by several"):
        check_sources([pipe], World(0, 2))


def test_train_restarted_run_recognises_its_own_model(model_folder: Path, tmp_path: Path) -> None:
    """A model belongs to an earlier start of the same torchrun, not to the present one."""
    folder = shutil.copytree(model_folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    mine, other = World(0, 2, run_id="mine"), World(0, 2, run_id="other")

    def recognised(run: str | None) -> list[bool]:
        config["training"] |= {} if run is None else {"run": run}
        (folder / "config.json").write_text(json.dumps(config))
        return [is_elastic_restart(folder, world) for world in (mine, other, SINGLE_PROCESS)]

    assert recognised(None) == [False, False, False]
    assert recognised("mine/another start") == [True, False, False]
    assert recognised(run_metadata(mine)["run"]) == [False, False, False]
    assert run_metadata(SINGLE_PROCESS) == {}
    (folder / "tokenizer.json").unlink()
    assert recognised("mine/another start") == [False, False, False], "a damaged model is reported when it is read"
    assert not is_elastic_restart(tmp_path / "none", mine)


def test_join_world_unreachable_store_raises_training_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**TORCHRUN, "MASTER_PORT": "99999", "GLOO_SOCKET_IFNAME": "none"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=r"rank 3 cannot reach the other processes of this run: "), join_world():
        pass


def test_distributed_speed_includes_other_ranks_and_all_reduce() -> None:
    asked: list[int] = []

    def speed(network: NetworkConfig, batch: int, length: int) -> float:
        asked.append(batch)
        return 1000.0

    network = NetworkConfig(vocab_size=10, rnn_size=8, embedding_size=4)
    assert distributed_speed(speed, SINGLE_PROCESS) is speed
    near, far = World(0, 3), World(0, 3)
    assert distributed_speed(speed, near)(network, 30, 10) == pytest.approx(3000)
    assert asked == [10]
    far._latency, far._pace = 0.05, 0.05 / parameter_count(network)
    assert distributed_speed(speed, far)(network, 30, 10) == pytest.approx(300 / (0.1 + 0.1))


# ---- Two processes ----


@pytest.fixture(scope="module")
def place(made_once: MadeOnce) -> Path:
    """Every run of `ranks.RUNS` in this process, then in two others, on two hosts if possible."""
    return made_once("ranks", train_all)


def train_all(place: Path) -> None:
    ranks.write_sources(place / "sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(place / "cache"))
        alone = {name: ranks.loss_curve(name, place / "sources", place / "alone" / name) for name in ranks.RUNS}
        alone["half"] = ranks.loss_curve("text", place / "sources", place / "models 0" / "half", ranks.HALFWAY)
        with ranks.two_hosts() as hosts:
            caches = [place / f"cache {number}" for number in range(2)]
            for status, out, err in ranks.run_both(ranks.__file__, str(place), hosts=hosts, caches=caches):
                # PyTorch may report that a name server is missing, or that it had to wait for the other host.
                assert (status, out) == (0, ""), err
                assert "seqgen: " not in err, err
                assert "Traceback" not in err, err
        alone["missing"] = hosts.missing
        alone["resumed"] = ranks.loss_curve("text", place / "sources", place / "models 0" / "stopped", resume=True)
    (place / "alone.json").write_text(json.dumps(alone))


def test_events_of_ranks_recover_together_and_end_by_the_clock_of_rank_0(place: Path) -> None:
    first, second = results(place, 0)["loop"], results(place, 1)["loop"]
    assert first == second
    assert [event for event in first["spoilt"] if event[0] == "Recovered"] == [["Recovered", 0]]
    assert first["spoilt"][-1] == ["Finished", None]
    assert first["weight"] == pytest.approx(3, abs=1), "and training goes on"
    assert first["timed"][-1] == ["Finished", None]
    assert ["Stepped", 1] in first["timed"]


def results(place: Path, who: int | str) -> dict[str, Any]:
    name = "alone.json" if who == "alone" else f"found-{who}.json"
    return dict(json.loads((place / name).read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ranks.RUNS)
def test_train_two_ranks_equal_one(name: str, place: Path) -> None:
    one, two = results(place, "alone")[name], results(place, 0)[name]
    assert two == pytest.approx(one, rel=CLOSE)
    assert results(place, 1)[name] == two, "every process gets the same"
    alone, pair = checkpoint.load(place / "alone" / name), checkpoint.load(place / "models 0" / name)
    assert pair.config["training"].keys() == alone.config["training"].keys()
    assert pair.config["metrics"] == pytest.approx(alone.config["metrics"], rel=1e-3)
    others = pair.weights()
    for weight, values in alone.weights().items():
        fitted = weight in ("mix", "shift")  # by an optimiser that stops within a tolerance
        np.testing.assert_allclose(others[weight], values, rtol=1e-2, atol=1e-2 if fitted else 1e-4)


def test_train_two_ranks_ran_on_two_hosts(place: Path) -> None:
    """Each encoded its own copy of the sources, and one wrote the models."""
    assert not (place / "models 1").exists()
    assert len(list((place / "cache 0").rglob("*.ids"))) == len(list((place / "cache 1").rglob("*.ids"))) > 3
    if missing := results(place, "alone")["missing"]:
        pytest.skip(f"there was one host: {missing}")


def test_train_resume_with_another_number_of_ranks(place: Path) -> None:
    whole = results(place, "alone")["text"]
    begun = results(place, "alone")["half"]
    assert [*begun, *results(place, 0)["resumed"]] == pytest.approx(whole, rel=CLOSE)
    stopped = results(place, 0)["stopped"]
    assert len(stopped) == len(begun), "one process asked to stop, and all did"
    assert [*stopped, *results(place, "alone")["resumed"]] == pytest.approx(whole, rel=CLOSE)


def test_world_collectives_give_every_rank_the_same(place: Path) -> None:
    first, second = results(place, 0)["facts"], results(place, 1)["facts"]
    assert first.pop("rank") == first.pop("turn") == 0
    assert second.pop("rank") == second.pop("turn") == 1
    assert first == second
    assert first["whole"] == [0, 1, 2, 3, 4]
    assert first["whole columns"] == [[0, 1, 2, 3, 4]]
    assert first["whole of one"] == [[1, 1]]
    assert first["loss"] == 1.5
    assert first["gradients"] == [[3, 3], [1, 1], None, None]
    assert first["copied"] == [0, 0, 0]
    assert first["agreed"] == [0.1, 7]
    assert first["any"] == [True, False]
    assert first["decided"] == {"rank": 0, "text": "é"}
    assert first["shared"] is True
    assert first["nothing"] == ""
    assert first["exchange"] > 0


FAILURES = {  # failure → reporting rank, error class, words
    "no such file": (0, "DataError", "there is no file or folder"),
    "standard input": (0, "UserError", "standard input can't be read by several processes"),
    "other sources": (1, "UserError", "the sources differ from those of rank 0"),
    "a model is there": (0, "UserError", "there is already a model in"),
    "damaged": (0, "ModelError", "is damaged"),
    "a fault": (1, "AssertionError", "a fault of rank 1"),
    "silence": (0, "TrainingError", "rank 1 (on "),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_join_world_one_rank_reports_an_error(failure: str, place: Path) -> None:
    reporter, error, words = FAILURES[failure]
    errors = [results(place, rank)["failures"][failure] for rank in (0, 1)]
    assert errors[reporter][0] == error
    assert words in errors[reporter][1]
    assert errors[1 - reporter][0] == "PeerProcessError"
    if error == "UserError" and reporter:
        assert re.search(r"\(rank 1, on .+\)$", errors[reporter][1])


# ---- The command ----


SETTINGS = {**ranks.SMALL, "steps": 40, "batch_size": 8, "seq_length": 20, "dropout": 0.2, "patience": 0}
FLAGS = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
TORCHRUN_COMMAND = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture(scope="module")
def reference(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that one process trains with the same options."""
    folder = tmp_path_factory.mktemp("reference") / "m"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder.parent / "cache"))
        seqgen.train(str(text_file), folder, **SETTINGS)
    return folder


def held_out(folder: Path) -> list[float]:
    return [record["val_loss"] for record in checkpoint.read_metrics(folder)]


@pytest.mark.long
def test_train_torchrun_restart_continues_after_a_lost_rank(reference: Path, text_file: Path, tmp_path: Path) -> None:
    """Rank 1 is killed at step 15 of its first start. The restart continues the new model, not the overwritten one."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, signal, sys\n"
        "from seqgen.training.loop import Run\n"
        "from seqgen.cli.main import main\n"
        "step = Run._step\n"
        "def dying(run, *given):\n"
        "    if run.position.step == 15 and os.environ['RANK'] + os.environ['TORCHELASTIC_RESTART_COUNT'] == '10':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(run, *given)\n"
        "Run._step = dying\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    folder = tmp_path / "m"
    shutil.copytree(reference, folder)
    done = subprocess.run(
        [*TORCHRUN_COMMAND, "--nproc-per-node", "2", "--max-restarts", "1", "--monitor-interval", "0.1",
         "--master-port", str(ranks.free_port()), str(program), "train", str(text_file), "-o", str(folder),
         "--overwrite", *FLAGS],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("seqgen: error:")]
    assert len(errors) == 1
    assert re.search(r"lost rank 1 \(on .+\), so the run ends; continue from the last save with", errors[0])
    assert done.stderr.count("step 3: loss") == 1, "the restart continues after step 3"
    assert held_out(folder) == pytest.approx(held_out(reference), rel=CLOSE)


def test_may_report_wrong_option_is_reported_once(text_file: Path, tmp_path: Path) -> None:
    ended = ranks.run_both("-m", "seqgen", "train", str(text_file), "-o", str(tmp_path / "m"), "--dropout", "2")
    assert [status for status, _, _ in ended] == [2, 2]
    assert ended[0][2].startswith("seqgen: error: --dropout")
    assert ended[1][1:] == ("", "")


def test_common_store_is_opened_once_for_all_runs_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def rendezvous(url: str, timeout: object) -> Iterator[tuple[str, int, int]]:
        asked.append(url)
        if len(asked) == 1:
            raise dist.DistNetworkError("Connection reset by peer")
        yield f"store {len(asked)}", 0, 2

    monkeypatch.setattr(sys.modules["torch.distributed.rendezvous"], "rendezvous", rendezvous)
    with pytest.raises(dist.DistNetworkError, match="reset"):  # which is tried again by whoever calls again
        launch._common_store("here.example", "1", 0, 2)
    assert [launch._common_store("here.example", "1", 0, 2) for _ in range(3)] == ["store 2"] * 3
    assert launch._common_store("here.example", "2", 0, 2) == "store 3"
    launch._common_store.cache_clear()
