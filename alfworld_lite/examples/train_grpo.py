"""GRPO on a tiny policy, in minutes on one CPU: a softmax over the admissible commands, without any library.

    python train_grpo.py GAMES [--updates 60] [--seed 0]

GAMES: a folder as alfworld-download or `python -m alfworld_lite.generate` lays it out. Train games of every other floor
plan teach. Games of the rest say how often the policy wins before (all weights 0, a random player) and after.
"""

import argparse
import math
import random
import statistics
from collections import defaultdict

from alfworld_lite import BatchEnv, find_games

GROUP, GAMES, STEPS, RATE, TESTED = 8, 8, 40, 4.0, 100
ASKED = {"clean": "clean", "hot": "heat", "heat": "heat", "cool": "cool", "look": "use", "examine": "use", "two": "two"}


class Player:
    """What it knows of a game: the words of its goal, and what it did."""

    def __init__(self, intro):
        self.words = set(intro.rpartition("Your task is to: ")[2].strip(".").split())
        self.asked = next((verb for word, verb in ASKED.items() if word in self.words), "")
        self.done, self.holds, self.held, self.is_treated = set(), False, False, False

    def features(self, command):
        verb, *rest = command.split()
        things = [word for word in rest if word.isalpha() and word not in ("to", "from", "with", "in/on")]
        named, stage = tuple(thing in self.words for thing in things), (self.holds, self.is_treated)
        return (verb, command in self.done), (verb, named, self.holds), (verb, named, self.asked, stage), (
            verb, things[-1:] == [] or things[-1], self.asked, stage)  # fmt: skip

    def did(self, command):
        verb, *rest = command.split()
        self.done.add(command)
        self.is_treated |= verb == self.asked and self.holds
        if verb in ("take", "move", "put"):
            self.holds = verb == "take" and rest[0] in self.words
            self.held |= self.holds


def play(env, paths, weights, rng):
    """One episode of each game: its turns (features of every command, their chances, the choice), its reward (1 for a
    win, a tenth each for having held what the goal names and for having treated it), and whether it won.
    """
    texts, infos = env.play(paths)
    players, turns, over = [Player(text) for text in texts], [[] for _ in texts], [False] * len(texts)
    while not all(over):
        commands = []
        for player, mine, offered, is_over in zip(players, turns, infos["admissible_commands"], over, strict=True):
            features = [player.features(command) for command in offered]
            chances = [math.exp(sum(weights[f] for f in found)) for found in features]
            pick = rng.choices(range(len(offered)), chances)[0]
            commands.append(offered[pick])
            if not is_over:
                mine.append((features, chances, pick))
                player.did(offered[pick])
        _, _, over, infos = env.step(commands)
    rewards = [won or 0.1 * (p.held + p.is_treated) for p, won in zip(players, infos["won"], strict=True)]
    return turns, rewards, infos["won"]


def update(weights, turns, rewards):
    """What did better than its group becomes likelier, by so many standard deviations; what did worse, less likely."""
    for start in range(0, len(rewards), GROUP):
        group = rewards[start : start + GROUP]
        mean, spread = statistics.fmean(group), statistics.pstdev(group)
        for mine, reward in zip(turns[start : start + GROUP], group, strict=True):
            rate = RATE * (reward - mean) / (spread + 1e-6) / len(rewards)
            for features, chances, pick in mine if rate else ():
                total = sum(chances)
                for found, chance in zip(features, chances, strict=True):
                    for f in found:
                        weights[f] -= rate * chance / total
                for f in features[pick]:
                    weights[f] += rate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games")
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, weights = random.Random(args.seed), defaultdict(float)
    paths = find_games(args.games, "train")
    plans = sorted({path.parts[-3].rpartition("-")[2] for path in paths})
    split = [[path for path in paths if path.parts[-3].rpartition("-")[2] in plans[i::2]] for i in (0, 1)]
    tested = rng.sample(split[1], min(TESTED, len(split[1])))
    test_env, env = (BatchEnv(tested, size, STEPS) for size in (len(tested), GROUP * GAMES))
    before = sum(play(test_env, tested, weights, random.Random(1))[2])
    for number in range(args.updates):
        drawn = [path for path in rng.sample(split[0], min(GAMES, len(split[0]))) for _ in range(GROUP)]
        turns, rewards, won = play(env, drawn, weights, rng)
        update(weights, turns, rewards)
        if number % 10 == 9:
            print(f"update {number + 1}: {sum(won) / len(won):.0%} of {len(won)} train episodes won", flush=True)
    after = sum(play(test_env, tested, weights, random.Random(1))[2])
    print(f"{len(tested)} games of other floor plans: {before} won before, {after} after; {len(weights)} weights")


if __name__ == "__main__":
    main()
