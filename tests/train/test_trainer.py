"""Training lowers the loss, says what it did, and never sees a validation episode."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from episodes import write_episodes
from training_runs import read_log, run_training

from duomem.core.errors import UserError
from duomem.core.scene import floor_plan
from duomem.core.trajectory import Trajectory
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.pack import write_pack
from duomem.train import trainer
from duomem.train.config import load_config
from duomem.train.memory_sampler import MemorySampler
from duomem.train.trainer import train
from duomem.train.training_run import TrainInputs

torch = pytest.importorskip("torch", reason="pip install duomem[train]")
pytest.importorskip("peft", reason="pip install duomem[train]")


def test_the_loss_falls_and_the_record_tells(inputs: TrainInputs, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    record = run_training(inputs, out, max_steps=25)
    losses = [row["loss"] for row in read_log(out)]
    assert losses[0] > 5 and np.mean(losses[-5:]) < 0.5 * losses[0]
    assert record["steps"] == 25 and 0 < record["trainable"] < 10_000_000 and 0 <= record["padding"] < 1
    assert record == json.loads((out / "duomem.json").read_text())
    assert sorted(os.listdir(tmp_path)) == ["adapter", "p.dmpack", "t.jsonl"]
    rates = [row["lr"] for row in read_log(out)]
    assert rates[0] < rates[1] == max(rates) and rates[-1] < 0.1 * max(rates)


def test_a_finished_run_is_left_alone(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run_training(inputs, tmp_path / "adapter")
    monkeypatch.setattr(trainer, "TrainingRun", lambda *a: pytest.fail("trains again"))
    assert run_training(inputs, tmp_path / "adapter") == record


def test_the_log_and_its_picture(inputs: TrainInputs, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    record = run_training(inputs, out, hold_out_games=0.25, validate_every=3, max_steps=7)
    rows = read_log(out)
    assert [row["step"] for row in rows if "validation" in row] == [3, 6, 7]
    assert rows[-1]["validation"] == record["validation"] and list(record["validation"]) == ["games"]
    assert len(record["held_out"]["games"]) == 3 and record["held_out"]["scenes"] == []
    assert rows[-1]["epoch"] == pytest.approx(7 * 4 / 9, abs=1e-3)
    assert rows[-1]["tokens"] == record["tokens"] and all(row["tokens_s"] > 0 for row in rows)
    assert all(0 <= row["padding"] < 1 and row["micro_batches"] >= 1 and row["peak_rss"] > 1e7 for row in rows)
    picture = (out / "training.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and struct.unpack(">II", picture[16:24]) == (1200, 1000)


def test_training_goes_on_from_an_adapter(inputs: TrainInputs, tmp_path: Path) -> None:
    first = tmp_path / "first"
    run_training(inputs, first, max_steps=40)
    again = replace(inputs, start=first)
    record = run_training(again, tmp_path / "second", max_steps=5, learning_rate=1e-6)
    losses = [row["loss"] for row in read_log(first)]
    assert record["loss"] < (losses[0] + losses[-1]) / 2
    assert set(record["start"]) == {"adapter", "config"}
    with pytest.raises(UserError, match=r"adapter_config\.json: field r is \d+ .*the student config has rank 2"):
        run_training(again, tmp_path / "third", rank=2)
    with pytest.raises(UserError, match="no such LoRA adapter"):
        run_training(replace(inputs, start=tmp_path / "none"), tmp_path / "third")
    (first / "adapter_model.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(UserError, match="this adapter is damaged"):
        run_training(again, tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_what_an_adapter_held_out_stays_held_out(inputs: TrainInputs, tmp_path: Path) -> None:
    first = run_training(inputs, tmp_path / "first", max_steps=1, hold_out_games=0.25)
    again = run_training(
        replace(inputs, start=tmp_path / "first"), tmp_path / "second", max_steps=1, hold_out_games=0.5
    )
    assert again["held_out"] == first["held_out"] != {"games": [], "scenes": []}


def test_held_out_games_are_not_learnt(inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by weights nor as memories; the rest of the games are."""
    taught: list[Trajectory] = []
    remembered: set[str] = set()
    real = MemorySampler.draw

    def draw(self: MemorySampler, trajectory: Trajectory, rng: random.Random) -> list[Memory] | None:
        memories = real(self, trajectory, rng)
        taught.append(trajectory)
        remembered.update(m.game for m in memories or ())
        return memories

    monkeypatch.setattr(MemorySampler, "draw", draw)
    record = run_training(
        inputs, tmp_path / "adapter", hold_out_scenes=0.25, hold_out_games=0.2, max_steps=6, memory_prob=1.0
    )
    scenes, games = set(record["held_out"]["scenes"]), set(record["held_out"]["games"])
    validated, learnt = taught[:5], taught[5:]
    assert {floor_plan(t.group) in scenes or t.game in games for t in validated} == {True}
    assert {floor_plan(t.group) in scenes or t.game in games for t in learnt} == {False}
    assert len({t.game for t in learnt}) == 7 and remembered
    assert not any(f"{int(game, 16)}" in scenes or game in games for game in remembered)
    assert set(record["validation"]) == {"games", "scenes"}


def test_early_stop_keeps_the_best_weights(
    inputs: TrainInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from duomem.train.lora_trainer import LoraTrainer

    losses = iter([3.0, 2.0, 2.5, 2.4, 1.0])
    seen: list[dict[str, Any]] = []

    def measure(self: LoraTrainer, examples: object) -> dict[str, float]:
        seen.append(self.weights())
        return {"loss": next(losses), "accuracy": 0.5}

    monkeypatch.setattr(LoraTrainer, "measure", measure)
    record = run_training(inputs, tmp_path / "adapter", hold_out_games=0.25, validate_every=1, patience=2)
    assert (record["steps"], record["kept_step"], len(seen)) == (4, 2, 4)
    assert record["validation"]["games"]["loss"] == 2.0
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    for name, weights in seen[1].items():
        assert torch.equal(saved[name.replace(".default", "")], weights.to(torch.float16))
    assert any(not torch.equal(seen[1][name], seen[3][name]) for name in seen[1])


def test_whose_words_are_learnt(inputs: TrainInputs, tmp_path: Path) -> None:
    """Of a file told in both kinds of words, and none of whose episodes is told as asked."""
    rows = [json.loads(line) for line in inputs.trajectories[0].read_text().splitlines()]
    told = [row | {"goal_source": "human:0"} for row in rows[:4]]
    both = tmp_path / "both.jsonl"
    both.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *told]))

    def epochs(goals: str) -> float:
        config = replace(inputs.config, goals=goals, hold_out_games=0, hold_out_scenes=0, max_steps=1)
        train(replace(inputs, trajectories=[both], config=config), tmp_path / goals, 1)
        return read_log(tmp_path / goals)[0]["epoch"]

    batch = inputs.config.batch_size
    assert epochs("human") == round(batch / 4, 4)
    assert epochs("template") == round(batch / len(rows), 4)
    assert epochs("all") == round(batch / (len(rows) + 4), 4)
    with pytest.raises(UserError, match="no won episode"):
        run_training(inputs, tmp_path / "none", goals="human")


def test_seeds_differ_and_repeat(inputs: TrainInputs, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run_training(inputs, tmp_path / name, max_steps=2, seed=seed)
        weights.append((tmp_path / name / "adapter_model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_flags_replace_fields_of_the_config(inputs: TrainInputs, tmp_path: Path) -> None:
    from duomem.cli.main import main

    config = tmp_path / "s.toml"
    values = {**inputs.config.to_json(), "model": str(inputs.base)}
    config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    changed = {
        "max_steps": 2,
        "learning_rate": 5e-4,
        "final_lr_ratio": 0.5,
        "seed": 3,
        "cpu_minutes": 50.0,
        "hold_out_scenes": 0.1,
    }
    flags = [text for k, v in changed.items() for text in (f"--{k.replace('_', '-')}", str(v))]
    assert (
        main(
            [
                "train",
                "--config",
                str(config),
                *(word for path in inputs.trajectories for word in ("--trajectories", str(path))),
                *(word for path in inputs.packs for word in ("--pack", str(path))),
                "--threads",
                "1",
                "--out",
                str(tmp_path / "a"),
                *flags,
            ]
        )
        == 0
    )
    record = json.loads((tmp_path / "a" / "duomem.json").read_text())
    assert record["config"] == values | changed and record["steps"] == 2


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(inputs: TrainInputs, tmp_path: Path) -> None:
    """Under `accelerate launch`, the batch shared: the same weights but for rounding, written once."""
    from safetensors.torch import load_file

    config = tmp_path / "two.toml"
    values = {**inputs.config.to_json(), "model": str(inputs.base), "max_steps": 3, "hold_out_games": 0.25}
    config.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items() if v is not None))
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        2,
        "--num_machines",
        1,
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        0,
        "-m",
        "duomem.cli.main",
        "train",
        "--config",
        config,
        *(word for path in inputs.trajectories for word in ("--trajectories", path)),
        *(word for path in inputs.packs for word in ("--pack", path)),
        "--threads",
        1,
        "--out",
        tmp_path / "two",
    ]
    subprocess.run([*map(str, command)], check=True, timeout=300, env={**os.environ, "ACCELERATE_USE_CPU": "true"})
    record = json.loads((tmp_path / "two" / "duomem.json").read_text())
    alone = train(replace(inputs, config=load_config(config)), tmp_path / "one", threads=1)
    assert (record["processes"], alone["processes"], len(read_log(tmp_path / "two"))) == (2, 1, 3)
    assert record["validation"]["games"] == pytest.approx(alone["validation"]["games"], abs=2e-4)
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-3


def test_time_ends_it_too(inputs: TrainInputs, tmp_path: Path) -> None:
    record = run_training(inputs, tmp_path / "adapter", cpu_minutes=1e-9)
    assert record["steps"] == 1


def test_more_than_ten_million_parameters(inputs: TrainInputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainable parameters, DuoMem allows under 10000000"):
        run_training(inputs, tmp_path / "adapter", rank=4000)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "valid_seen"}, r"t2\.jsonl: line \d+: field split is 'valid_seen'"),
        ({"won": False}, r"t2\.jsonl: no won episode"),
        ({"count": 0}, r"t2\.jsonl: no won episode"),
    ],
)
def test_episodes_it_refuses(inputs: TrainInputs, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    other = replace(inputs, trajectories=[write_episodes(tmp_path / "t2.jsonl", **change)])
    with pytest.raises(UserError, match=said):
        run_training(other, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists() and not (tmp_path / "adapter.training").exists()


def test_missing_and_damaged_inputs(inputs: TrainInputs, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\x00\n")
    for change, said in (
        ({"trajectories": [tmp_path / "x"]}, "x: no such trajectory file"),
        ({"trajectories": [tmp_path / "bad"]}, "bad: line 1"),
        ({"packs": [tmp_path / "x"]}, "x: no such memory pack"),
        ({"packs": [tmp_path / "bad"]}, "bad: memory pack is damaged"),
    ):
        with pytest.raises(UserError, match=said):
            run_training(replace(inputs, **change), tmp_path / "adapter")
    for change, said in (({"max_tokens": 5}, "max_tokens"), ({"target_modules": "q_projector,k"}, "target_modules")):
        with pytest.raises(UserError, match=said):
            run_training(inputs, tmp_path / "adapter", **change)
    assert sorted(os.listdir(tmp_path)) == ["bad", "p.dmpack", "t.jsonl"]


def test_a_folder_of_something_else_is_not_replaced(inputs: TrainInputs, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for out in (tmp_path / "mine", inputs.trajectories[0]):
        with pytest.raises(UserError, match="exists and is no adapter"):
            run_training(inputs, out)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_an_empty_pack_trains_without_memories(inputs: TrainInputs, tmp_path: Path) -> None:
    write_pack(tmp_path / "none.dmpack", "none", "expert/1", "", [])
    assert (
        run_training(replace(inputs, packs=[tmp_path / "none.dmpack"]), tmp_path / "adapter", max_steps=1)["steps"] == 1
    )
