"""A drop-in for `agent_system.environments.env_package.alfworld` of verl-agent and its kin, without Ray.

One process holds every game; one of theirs holds a Ray actor of some 200 MB for each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alfworld_lite._engine.errors import GameError
from alfworld_lite.batch import BatchEnv, Infos, get_environment

_REWARD = 10.0  # of a game that is won, as theirs


class AlfworldEnvs:
    """env_num groups of group_n envs; those of a group play the same games. Arguments as in verl-agent.

    alf_config_path: a YAML or JSON file, or the config itself. seed: of the first group; the next has the next.
    resources_per_worker: not used. is_train: train games or, if not, those of env_kwargs["eval_dataset"].
    """

    def __init__(
        self,
        alf_config_path: str | Path | Mapping[str, Any],
        seed: int = 0,
        env_num: int = 1,
        group_n: int = 1,
        resources_per_worker: Mapping[str, Any] | None = None,
        is_train: bool = True,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        config = alf_config_path if isinstance(alf_config_path, Mapping) else load_config(alf_config_path)
        dataset = (env_kwargs or {}).get("eval_dataset", "eval_in_distribution")
        base = get_environment(config.get("env", {}).get("type", "AlfredTWEnv"))(
            config, train_eval="train" if is_train else dataset
        )
        self.multi_modal = False
        self.num_processes = env_num * group_n
        self.group_n = group_n
        self.workers: list[BatchEnv] = []
        for i in range(self.num_processes):
            worker = base.init_env(batch_size=1)
            worker.seed(seed + i // group_n)
            self.workers.append(worker)
        self.prev_admissible_commands: list[list[str] | None] = [None] * self.num_processes

    def reset(self) -> tuple[list[str], None, list[dict[str, Any]]]:
        """Start the next game of every env: (texts, None for images, infos)."""
        texts, infos = [], []
        for i, worker in enumerate(self.workers):
            seen, info = worker.reset()
            texts.append(seen[0])
            infos.append(self._told(i, seen[0], info))
        return texts, None, infos

    def step(self, actions: Sequence[str]) -> tuple[list[str], None, list[float], list[bool], list[dict[str, Any]]]:
        """One command for every env: (texts, None for images, rewards, dones, infos). A win is worth 10."""
        if len(actions) != self.num_processes:
            raise GameError(f"{len(actions)} actions for {self.num_processes} envs: give one each")
        texts, rewards, dones, infos = [], [], [], []
        for i, (worker, action) in enumerate(zip(self.workers, actions, strict=True)):
            seen, scores, done, info = worker.step([action])
            texts.append(seen[0])
            rewards.append(_REWARD * scores[0])
            dones.append(done[0])
            infos.append(self._told(i, seen[0], info))
        return texts, None, rewards, dones, infos

    def getobs(self) -> None:
        """Images: there are none."""

    @property
    def get_admissible_commands(self) -> list[list[str] | None]:
        """Of every env, the commands that do something now."""
        return self.prev_admissible_commands

    @property
    def state_ids(self) -> list[str]:
        """Of every env, a digest of its game and state: what GiGPO and HGPO group steps by."""
        return [worker.state_ids[0] for worker in self.workers]

    def close(self) -> None:
        """Nothing is held that must be given back."""

    def _told(self, i: int, text: str, infos: Infos) -> dict[str, Any]:
        info = {key: values[0] for key, values in infos.items()}
        self.prev_admissible_commands[i] = info["admissible_commands"]
        return {**info, "observation_text": text}


def build_alfworld_envs(
    alf_config_path: str | Path | Mapping[str, Any],
    seed: int,
    env_num: int,
    group_n: int,
    resources_per_worker: Mapping[str, Any] | None = None,
    is_train: bool = True,
    env_kwargs: Mapping[str, Any] | None = None,
) -> AlfworldEnvs:
    """See AlfworldEnvs."""
    return AlfworldEnvs(alf_config_path, seed, env_num, group_n, resources_per_worker, is_train, env_kwargs)


def load_config(path: str | Path) -> dict[str, Any]:
    """A config file of alfworld, YAML or JSON. Raises GameError if it cannot be read."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise GameError(f"{path}: cannot read this config ({e})") from None
    if path.suffix == ".json":
        try:
            config = json.loads(text)
        except ValueError as e:
            raise GameError(f"{path}: this config is not JSON ({e})") from None
    else:
        try:
            import yaml
        except ImportError:
            raise GameError(f"{path}: reading YAML needs pyyaml: pip install 'alfworld-lite[yaml]'") from None
        try:
            config = yaml.safe_load(text)
        except yaml.YAMLError as e:
            raise GameError(f"{path}: this config is not YAML ({e})") from None
    if not isinstance(config, dict):
        raise GameError(f"{path}: this config is not a table of sections")
    return config
