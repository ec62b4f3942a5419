"""The shipped student behind `duomem serve`: its answers and commands are those of the engine and the agent."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duomem.cli.main import main
from duomem.core.trajectory import read_trajectories
from duomem.device.agent.agent import Agent
from duomem.device.agent.chat_policy import ChatTokenizer
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import load_game
from duomem.device.alfworld.game_files import find_games
from duomem.device.engine.tvm_engine import TvmEngine
from duomem.device.serve.prefix_cache import PIECE

openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx")
for _name in ("torch", "peft", "uvicorn", "starlette"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install duomem[dev]")
pytestmark = pytest.mark.slow

SHIPPED = Path(__file__).parents[3] / "shipped"
PACK = SHIPPED / "packs" / "alfworld-expert.dmpack"
RULES = "You are a robot in a kitchen. " * 12
QUESTIONS = ("Where is the mug?", "What is hot?", "Where is the mug?", "Name three objects, please.")


@pytest.fixture(scope="module")
def url(shipped_bundle: Path) -> Iterator[str]:
    command = [
        sys.executable,
        "-m",
        "duomem.cli.main",
        "serve",
        str(shipped_bundle),
        "--pack",
        str(PACK),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[4]
        process.terminate()
        assert process.wait(60) == 0


def test_answers_are_the_engines(shipped_bundle: Path, url: str) -> None:
    engine = TvmEngine.load(shipped_bundle, max_sessions=1)
    chat = ChatTokenizer(PromptTokenizer(engine.bundle.tokenizer_file, engine.vocab_size))
    client = openai.OpenAI(base_url=url, api_key="none")
    cached = []
    for question in QUESTIONS:
        messages: list[Any] = [{"role": "system", "content": RULES}, {"role": "user", "content": question}]
        answer = client.chat.completions.create(
            model="bundle", messages=messages, max_tokens=24, temperature=0, extra_body={"return_token_ids": True}
        )
        cached.append(answer.usage.prompt_tokens_details.cached_tokens)
        prompt = chat.conversation([("system", RULES), ("user", question)])
        with contextlib.closing(engine.session()) as session:
            for at in range(0, len(prompt), PIECE):
                logits = session.prefill(prompt[at : at + PIECE])
            for token in answer.choices[0].token_ids:
                assert token == int(logits.argmax())
                logits = session.decode(token)
    assert cached[0] == 0 and min(cached[1:]) >= 64


def test_commands_are_the_agents(shipped_bundle: Path, url: str, generated_games: Path) -> None:
    agent = Agent.load(shipped_bundle, pack=PACK)
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        for path in find_games(generated_games, "train")[:3]:
            game, env = load_game(path), AlfworldEnv()
            episode = agent.play(game)
            seen = env.reset(game)
            call: dict[str, Any] = {"observation": seen.text, "game": game.digest}
            for command in episode.commands:
                told = client.post("act", json={**call, "admissible": list(seen.admissible)}).json()
                assert told["command"] == command
                seen = env.step(command)
                call = {"session": told["session"], "observation": seen.text}
            assert [memory["id"] for memory in told["memories"]] == [memory.id for memory in episode.memories]
            client.delete(f"act/{told['session']}")


def test_it_is_a_teacher(url: str, generated_games: Path, tmp_path: Path) -> None:
    """`duomem teach` plays with it over HTTP, as with any other endpoint, and it wins some."""
    out = tmp_path / "taught.jsonl"
    words = ["teach", "--teacher", "openai", "--endpoint", url, "--model", "bundle", "--style", "student"]
    words += ["--max-answer-tokens", "24", "--max-steps", "20", "--limit", "6"]
    assert main([*words, "--games", str(generated_games), "--out", str(out)]) == 0
    played = list(read_trajectories(out))
    assert len(played) == 6 and any(t.won for t in played)
    assert all(t.usage and t.usage.answers == len(t.steps) and t.player == "llm:bundle" for t in played)
