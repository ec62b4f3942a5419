"""`/v1/act`: over HTTP the agent gives the commands that it gives where it plays itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, random_opinion
from serving import VOCAB, Serve, Served

from duomem.device.agent.agent import PROTOCOLS, Agent
from duomem.device.agent.evaluate import PlayConfig
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.agent.second_look import AFTER
from duomem.device.alfworld.alfworld_env import AlfworldEnv
from duomem.device.alfworld.game import Game, load_game
from duomem.device.alfworld.game_files import find_games
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.retriever import Retriever

OPINION = random_opinion(VOCAB)
STEPS = AFTER + 4
PLAY = PlayConfig(k=2, max_steps=STEPS)
INTRO = "Looking around, you see a bed 1, and a desk 1."


def _engine(context: int = 100_000) -> FakeEngine:
    return FakeEngine(OPINION, VOCAB, context, max_sessions=9)


def _memories(game: Game) -> list[Memory]:
    kinds = ("desk", "sofa", "shelf", "bed")
    return [Memory(game.task, "pick_and_place_simple", "mug", kind, ("look",), kind, "") for kind in kinds]


@pytest.fixture(scope="module")
def game(generated_games: Path) -> Game:
    return load_game(find_games(generated_games, "train")[0])


@pytest.fixture(scope="module")
def served(serve: Serve) -> Served:
    return serve(_engine(), episodes=2, play=PLAY, kept=0)


def _play(client: Any, game: Game, protocol: str) -> tuple[list[str], list[dict[str, str]]]:
    """The commands of a whole episode, and the memories told in its last answer."""
    env = AlfworldEnv()
    seen = env.reset(game)
    call: dict[str, Any] = {
        "goal": game.task,
        "observation": seen.text.partition("\n\nYour task")[0],
        "game": game.digest,
    }
    commands: list[str] = []
    memories: list[dict[str, str]] = []
    while True:
        if protocol == "constrained":
            call["admissible"] = list(seen.admissible)
        answer = client.post("/v1/act", json=call).raise_for_status().json()
        if answer["done"]:
            assert answer["command"] is None and answer["ended"] == "steps" and answer["step"] == len(commands)
            return commands, memories
        memories = answer["memories"]
        commands.append(answer["command"])
        seen = env.step(answer["command"])
        call = {"session": answer["session"], "observation": seen.text}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_commands_are_the_agents(serve: Serve, game: Game, chat_tokenizer: Path, protocol: str) -> None:
    retriever = Retriever(_memories(game))
    agent = Agent(_engine(), PromptTokenizer(chat_tokenizer), "", protocol, retriever, 2, STEPS)
    episode = agent.play(game)
    assert len(episode.commands) == STEPS, "the seed of the student's opinions should not win this game"
    with serve(_engine(), play=PLAY, retriever=retriever).http() as client:
        commands, memories = _play(client, game, protocol)
    assert commands == list(episode.commands)
    assert memories == [{"id": memory.id, "text": memory.text()} for memory in episode.memories] and len(memories) == 3


def test_episodes_do_not_mix(served: Served, game: Game, generated_games: Path) -> None:
    """Two episodes whose calls alternate get the commands that each gets alone."""
    games = [game, load_game(find_games(generated_games, "train")[1])]
    with served.http() as client:
        alone = [_play(client, each, "free")[0][:6] for each in games]
        envs = [AlfworldEnv() for _ in games]
        calls: list[dict[str, Any]] = [
            {"observation": env.reset(each).text} for env, each in zip(envs, games, strict=True)
        ]
        together: list[list[str]] = [[], []]
        for _ in range(6):
            for i, env in enumerate(envs):
                answer = client.post("/v1/act", json=calls[i]).raise_for_status().json()
                together[i].append(answer["command"])
                calls[i] = {"session": answer["session"], "observation": env.step(answer["command"]).text}
        assert together == alone
        for call in calls:
            assert client.delete(f"/v1/act/{call['session']}").json() == {"session": call["session"], "done": True}


def _start(client: Any) -> Any:
    return client.post("/v1/act", json={"goal": "rest", "observation": INTRO})


def test_there_are_so_many_episodes(served: Served) -> None:
    with served.http() as client:
        ids = [_start(client).json()["session"] for _ in range(2)]
        refused = _start(client)
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "episodes_full"
        assert 500 < int(refused.headers["Retry-After"]) <= 600
        assert "duomem_episodes 2\n" in client.get("/metrics").text
        assert [client.delete(f"/v1/act/{id}").status_code for id in ids] == [200, 200]
        assert [client.delete(f"/v1/act/{id}").status_code for id in ids] == [404, 404]
        assert client.post("/v1/act", json={"session": ids[0], "observation": "x"}).status_code == 404
        client.delete(f"/v1/act/{_start(client).json()['session']}")


def test_an_engine_has_as_many_sessions_as_are_ever_open(serve: Serve, game: Game) -> None:
    """Two kept prompts, two episodes that look into memory again, the two system texts, and the answer's own."""
    engine = FakeEngine(OPINION, VOCAB, 100_000, max_sessions=2 + 2 + 2 + 1)
    served = serve(engine, episodes=2, kept=2, play=PLAY, retriever=Retriever(_memories(game)))
    with served.http() as client:
        _start(client)
        for i in range(4):
            body = {"prompt": f"{i} " * 40, "max_tokens": 2}
            assert client.post("/v1/completions", json=body).status_code == 200
        assert len(_play(client, game, "free")[0]) == STEPS
        _start(client)
        assert len(engine.open) == engine.max_sessions - 1
        assert client.post("/v1/completions", json={"prompt": "9" * 80}).status_code == 200


def test_an_idle_episode_ends(serve: Serve) -> None:
    engine = _engine()
    with serve(engine, episodes=1, idle=0, kept=0).http() as client:
        first = _start(client).json()
        assert client.post("/v1/act", json={"session": first["session"], "observation": "x"}).status_code == 404
        for _ in range(3):
            assert _start(client).status_code == 200
        assert len(engine.open) == len(PROTOCOLS) + 1


def test_a_full_context_ends_an_episode(serve: Serve, game: Game) -> None:
    engine = _engine(700)
    with serve(engine, play=PLAY, kept=0).http() as client:
        answer = _start(client).json()
        while not answer["done"]:
            call = {"session": answer["session"], "observation": "You see nothing of note. " * 8}
            answer = client.post("/v1/act", json=call).raise_for_status().json()
        assert answer["ended"] == "context" and answer["command"] is None
    assert len(engine.open) == len(PROTOCOLS)


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({}, "observation"),
        ({"observation": INTRO}, "goal"),
        ({"observation": INTRO, "goal": " "}, "goal"),
        ({"observation": INTRO, "goal": "a\nb"}, "goal"),
        ({"observation": INTRO, "goal": "x" * 501}, "goal"),
        ({"observation": "y" * 20_001, "goal": "x"}, "observation"),
        ({"observation": INTRO, "goal": "x", "game": "y"}, "game"),
        ({"observation": INTRO, "goal": "x", "admissible": []}, "admissible"),
        ({"observation": INTRO, "goal": "x", "admissible": ["look", ""]}, "admissible"),
        ({"observation": INTRO, "goal": "x", "admissible": ["look\x1b"]}, "admissible"),
        ({"observation": INTRO, "goal": "x", "admissible": ["look"] * 2001}, "admissible"),
        ({"observation": INTRO, "goal": "x", "admissible": "look"}, "admissible"),
        ({"observation": INTRO, "goal": "x", "seed": 1}, "seed"),
        ({"observation": "Now you see a bed, and a desk 1.", "goal": "x"}, "observation"),
        ({"observation": "x", "session": "absent"}, "session"),
        ({"observation": "x", "session": "absent", "goal": "x"}, "goal"),
        ({"observation": "x", "session": 7}, "session"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_call_is_one_error(served: Served, call: dict[str, Any], param: str) -> None:
    with served.http() as client:
        refused = client.post("/v1/act", json=call)
        assert refused.status_code in (400, 404) and refused.json()["error"]["param"] == param
        assert "duomem_episodes 0\n" in client.get("/metrics").text


def test_an_episode_keeps_its_protocol(served: Served) -> None:
    with served.http() as client:
        session = _start(client).json()["session"]
        call = {"session": session, "observation": "You rest.", "admissible": ["look"]}
        refused = client.post("/v1/act", json=call)
        assert refused.status_code == 400 and "began without" in refused.json()["error"]["message"]
        del call["admissible"]
        assert client.post("/v1/act", json=call).json()["step"] == 2
        client.delete(f"/v1/act/{session}")


def test_a_goal_replaces_the_one_in_the_text(serve: Serve) -> None:
    engine = _engine()

    def shown(client: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
        for text in texts:
            answer = client.post("/v1/act", json={"observation": text, "goal": "rest"}).json()
            client.delete(f"/v1/act/{answer['session']}")
        return engine.closed

    with serve(engine, kept=0).http() as client:
        closed = shown(client, [INTRO, f"{INTRO}\n\nYour task is to: run."])
    assert closed[0] == closed[1] and len(closed) == 2
