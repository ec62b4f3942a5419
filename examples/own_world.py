"""A world of one's own, a kitchen: its engine, expert, games and pack; then a student plays in it.

python examples/own_world.py runs/bundle runs/kitchen
"""

import argparse
import json
from pathlib import Path

from duomem import Agent, JsonGame, Observation, Policy, World, build_pack, play_own_expert

RECIPES = {"tea": ["boil water", "add leaves", "pour"], "cocoa": ["warm milk", "add cocoa", "pour"]}
COMMANDS = tuple(sorted({command for recipe in RECIPES.values() for command in recipe}))


class KitchenEnv:
    def reset(self, game: JsonGame) -> Observation:
        self.game, self.played = game, []
        return self.seen(f"You are in a kitchen.\n\nYour task is to: {game.task}")

    def step(self, command: str) -> Observation:
        if command not in COMMANDS:
            return self.seen("Nothing happens.")
        self.played = [*self.played, command][-3:]
        return self.seen(f"You {command}.")

    def seen(self, text: str) -> Observation:
        won = self.played == RECIPES[self.game.data["drink"]]
        return Observation(text, COMMANDS, done=won, won=won)


class KitchenExpert(Policy):
    def __init__(self, recipe: list[str]) -> None:
        self.left = list(recipe)

    def act(self, observation: Observation, /) -> str:
        return self.left.pop(0)

    def observe(self, command: str, observation: Observation, /) -> None: ...


class Kitchen(World):
    name, task_types = "kitchen", ("make",)
    system = "You make drinks. Reply to each > with one command.\n"

    def make_env(self) -> KitchenEnv:
        return KitchenEnv()

    def expert(self, game: JsonGame, intro: str) -> KitchenExpert:
        return KitchenExpert(RECIPES[game.data["drink"]])


KITCHEN = Kitchen()


def main(bundle: Path, folder: Path) -> None:
    for number, (split, drink) in enumerate([("train", "tea"), ("train", "cocoa"), ("test", "tea")]):
        file = folder / split / f"make-{drink}-kitchen" / str(number) / "game.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        goal = f"make {drink} for guest {number}."
        file.write_text(json.dumps({"world": "kitchen", "task_type": "make", "goal": goal, "drink": drink}))
    train, test = ([KITCHEN.load_game(f) for f in KITCHEN.find_games(folder, s)] for s in ("train", "test"))
    played = [play_own_expert(KITCHEN, game, "train", max_steps=9) for game in train]
    (folder / "train.jsonl").write_text("".join(json.dumps(t.to_json()) + "\n" for t in played))
    build_pack(folder / "train.jsonl", folder / "kitchen.dmpack", name="kitchen")
    agent = Agent.load(bundle, pack=folder / "kitchen.dmpack", world=KITCHEN, max_steps=9)
    for game in test:
        episode = agent.play(game)
        print(f"{game.task} {episode.memories[0].text()} {' > '.join(episode.commands)} {episode.won}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a world, and let a student play in it.")
    parser.add_argument("bundle", type=Path, help="folder written by compile_bundle")
    parser.add_argument("folder", type=Path, help="folder to write games, trajectories and a pack into")
    main(**vars(parser.parse_args()))
