"""A bare instruct model as a policy: it is told the rules and shown played games in its own chat format.

The command of highest mean log-likelihood a token is played. Nothing here was trained on: it is a baseline.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duomem.core.errors import ModelError, TrajectoryError
from duomem.core.trajectory import read_train_trajectories
from duomem.device.agent.action_filter import ActionFilter, allowed, withheld
from duomem.device.agent.constrained_decoding import PrefixCursor, log_softmax
from duomem.device.agent.model_policy import Meter, MeteredSession
from duomem.device.agent.policy import Policy
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.session import Session
from duomem.device.world.env import Observation

SYSTEM = (
    "You are a robot in a room of a house and have a task. You see only what lies where you stand, and can carry one "
    "object at a time. Closed things have to be opened to see what is in them. Every turn you are told what you see; "
    "reply with one command and nothing else. The commands are: go to PLACE, open PLACE, close PLACE, take OBJECT from "
    "PLACE, move OBJECT to PLACE, clean OBJECT with PLACE, heat OBJECT with PLACE, cool OBJECT with PLACE, use LAMP, "
    "examine THING, look, inventory. Names have a number, as in: go to desk 1."
)
NEW_GAME = "A new game begins.\n\n"
MOST_STEPS = 9
"""Of a game shown as an example."""

ChatExample = tuple[str, Sequence[tuple[str, str]]]
"""A played game: its intro, and its (command, observation after it)."""


@dataclass(frozen=True)
class ChatFormat:
    """How a family of models writes a chat: START ROLE newline CONTENT END newline, for each turn.

    start, end: special tokens, one id each. system, user, assistant: names of the roles.
    """

    start: str
    system: str
    user: str
    assistant: str
    end: str


CHAT_FORMATS = {"chatml": ChatFormat("<|im_start|>", "system", "user", "assistant", "<|im_end|>")}
"""chatml: SmolLM2, Qwen."""


class ChatTokenizer:
    """Turns chats into token ids with a model's own tokenizer. end: id of the token that ends a turn."""

    def __init__(self, tokenizer: PromptTokenizer, chat_format: ChatFormat = CHAT_FORMATS["chatml"]) -> None:
        """Raises ModelError if one of the format's special tokens is none of this tokenizer's."""
        self._tokenizer = tokenizer
        self._format = chat_format
        self._start, self.end = self._special(chat_format.start), self._special(chat_format.end)
        self._newline = tokenizer.encode("\n")

    def _special(self, token: str) -> int:
        id = self._tokenizer.special_tokens.get(token)
        if id is None:
            raise ModelError(
                f"this tokenizer has no special token {token}: take an instruct model that chats in one of the formats "
                f"{', '.join(CHAT_FORMATS)}"
            )
        return id

    def prefix(self, examples: Sequence[ChatExample]) -> list[int]:
        """The first turns of every episode: the rules, then the examples as games already played. An engine prefills
        them once and forks.
        """
        tokens = self._turn(self._format.system, SYSTEM)
        for intro, steps in examples:
            shown = NEW_GAME + intro
            for command, observation in steps:
                tokens += self.exchange(shown, command)
                shown = observation
        return tokens

    def exchange(self, shown: str, command: str) -> list[int]:
        """A user's turn that shows a text, and the assistant's turn that answers with a command."""
        return self._turn(self._format.user, shown) + self._turn(self._format.assistant, command)

    def question(self, shown: str) -> list[int]:
        """A user's turn that shows a text, and the beginning of the assistant's turn."""
        return self.conversation([("user", shown)])

    def conversation(self, turns: Sequence[tuple[str, str]]) -> list[int]:
        """A whole chat, and the beginning of the assistant's next turn. turns: (role, text), the role "system", "user"
        or "assistant".
        """
        names = {"system": self._format.system, "user": self._format.user, "assistant": self._format.assistant}
        tokens = [token for role, text in turns for token in self._turn(names[role], text)]
        return [*tokens, self._start, *self._tokenizer.encode(f"{self._format.assistant}\n")]

    def reply(self, command: str) -> list[int]:
        """What follows `question` if the assistant gives this command, the end of its turn included."""
        return [*self._tokenizer.encode(command), self.end]

    def _turn(self, role: str, content: str) -> list[int]:
        return [self._start, *self._tokenizer.encode(f"{role}\n{content}"), self.end, *self._newline]


class ChatPolicy(Policy):
    """One episode as a chat. The admissible commands are shown for the current turn only, then rolled back, so that
    the chat grows by what was seen and done alone.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: ChatTokenizer,
        intro: str,
        memories: Sequence[str] = (),
        action_filter: ActionFilter | None = None,
    ) -> None:
        """session: holds the tokenizer's prefix; `close` closes it. intro: the first observation's text. memories:
        texts shown before it. action_filter: what it withholds is neither shown nor played, unless nothing else is
        left; None for none.
        """
        self._meter = Meter()
        self._session = MeteredSession(session, self._meter)
        self._tokenizer = tokenizer
        self._action_filter = action_filter
        told = "".join(f"How a task like it was solved before: {memory}\n\n" for memory in memories)
        self._shown = NEW_GAME + told + intro
        self._pending: list[int] = []

    def act(self, observation: Observation, /) -> str:
        """The model's next command. Raises ContextFull."""
        self._meter.start()
        commands = allowed(observation.admissible, self._action_filter)
        question = self._tokenizer.question(f"{self._shown}\n\nAdmissible commands: {', '.join(commands)}")
        logits = self._session.prefill([*self._pending, *question])
        best = choose_by_mean(self._session, logits, [self._tokenizer.reply(c) for c in commands])
        self._session.rollback(len(question))
        self.choice = self._meter.choice((), withheld(observation.admissible, self._action_filter))
        return commands[best]

    def observe(self, command: str, observation: Observation, /) -> None:
        """Note what `command`, the model's last one, brought."""
        if self._action_filter is not None:
            self._action_filter.observe(command, observation.text)
        self._pending = self._tokenizer.exchange(self._shown, command)
        self._shown = observation.text

    def close(self) -> None:
        """Give the session back to the engine."""
        self._session.close()


def read_examples(file: Path) -> Sequence[ChatExample]:
    """Two games of a trajectory file to show: the shortest ones that were won without a mistake, of different task
    types and of at most MOST_STEPS steps; of equals, the ones whose digests come first.

    Raises TrajectoryError if there are no two, and for games of another split than train.
    """
    won = [t for t in read_train_trajectories(file) if t.won and not any(s.is_noise for s in t.steps)]
    shortest = sorted((t for t in won if len(t.steps) <= MOST_STEPS), key=lambda t: (len(t.steps), t.task_id))
    by_type = {t.task_type: t for t in reversed(shortest)}
    if len(by_type) < 2:
        raise TrajectoryError(
            f"{file}: has no two won games of different task types and at most {MOST_STEPS} steps: give the expert's "
            "trajectories of more train games"
        )
    return [(t.intro, t.turns()) for t in shortest if by_type[t.task_type] is t][:2]


def choose_by_mean(session: Session, logits: np.ndarray, continuations: Sequence[Sequence[int]]) -> int:
    """Index of the continuation of highest log-likelihood divided by its number of tokens; of equals, the first.

    A prefix's log-likelihood divided by the tokens of the longest continuation of it is a bound that none of them
    exceeds, so expanding the prefix of the highest bound first is exact. The session ends as it began.
    logits: float [vocab], after the session's last token. Raises ValueError without continuations or for an empty one.
    """
    paths = [tuple(c) for c in continuations]
    if not paths or not all(paths):
        raise ValueError("choosing needs at least one continuation, and none of them empty")
    cursor = PrefixCursor(session, logits)
    heap: list[tuple[float, int, tuple[int, ...], float]] = [(0.0, -1, (), 0.0)]
    while True:
        _, index, path, cost = heapq.heappop(heap)
        if index >= 0:
            cursor.rewind(0)
            return index
        log_p = log_softmax(cursor.logits(path))
        depth = len(path) + 1
        longest: dict[int, int] = defaultdict(int)
        for i, candidate in enumerate(paths):
            if len(candidate) >= depth and candidate[: depth - 1] == path:
                token = candidate[depth - 1]
                if len(candidate) == depth:
                    total = cost - float(log_p[token])
                    heapq.heappush(heap, (total / depth, i, candidate, total))
                else:
                    longest[token] = max(longest[token], len(candidate))
        for token, length in longest.items():
            total = cost - float(log_p[token])
            heapq.heappush(heap, (total / length, -1, (*path, token), total))
