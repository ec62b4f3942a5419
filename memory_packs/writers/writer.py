"""A model that writes memories: it is asked for each entry, and what it may not say is asked for again.

After the last try the program's own entry is taken. Answers are kept in a file: an interrupted run repeats none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duomem.core.chat.faults import NoAnswer, PromptTooLong
from duomem.core.chat.model import ChatModel
from duomem.core.chat.workers import run_workers
from duomem.core.progress import progress
from duomem.core.trajectory import Trajectory
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.writers.answer import fault_of, read_steps
from duomem.memory_packs.writers.answers import Answers, digest_of_question
from duomem.memory_packs.writers.prompt import Prompt
from duomem.memory_packs.writers.vocabulary import Vocabulary

MOST_STEPS = 20
"""Most steps that a writer may give an entry."""


@dataclass(frozen=True)
class Draft:
    """What an entry is written from. memory: the program's entry; won: the episode it tells; lost: a lost episode of
    the same task.
    """

    memory: Memory
    won: Trajectory
    lost: Trajectory | None = None


@dataclass(frozen=True)
class Entry:
    """memory: what goes into the pack; by_model: whether the model wrote it, else the program did."""

    memory: Memory
    by_model: bool


@dataclass(frozen=True)
class ModelWriter:
    """A model, and how it is asked. revision: of its weights or program, "" if nobody said. concurrency: most questions
    at once. tries: most answers to an entry. The temperature is 0.
    """

    model: ChatModel
    revision: str = ""
    concurrency: int = 8
    tries: int = 3

    def write(self, drafts: Sequence[Draft], prompt: Prompt, max_steps: int, answers: Path) -> list[Entry]:
        """An entry for each draft, in their order; the model is closed then.

        max_steps: most steps of an entry. answers: file of answers, see Answers: those in it are not asked for.

        An entry that the model cannot answer, or cannot read, is the program's. Raises UserError if the model is not
        there, or may not be asked any more; what it had answered is kept.
        """
        return asyncio.run(self._write(drafts, prompt, min(max_steps, MOST_STEPS), answers))

    async def _write(self, drafts: Sequence[Draft], prompt: Prompt, most: int, file: Path) -> list[Entry]:
        entries: dict[int, Entry] = {}
        waiting = iter(enumerate(drafts))
        with Answers(file) as answers, progress(None, "writing", len(drafts), "memories") as bar:

            async def work() -> None:
                for number, draft in waiting:
                    entries[number] = await self._entry(draft, prompt, most, answers)
                    bar.update()

            await run_workers(work, min(self.concurrency, len(drafts)), self.model)
        return [entries[number] for number in range(len(drafts))]

    async def _entry(self, draft: Draft, prompt: Prompt, most: int, answers: Answers) -> Entry:
        vocabulary = Vocabulary.of(draft.won, draft.lost)
        messages = prompt.first(draft.won, draft.lost, vocabulary.verbs, vocabulary.lessons, most)
        for _ in range(self.tries):
            options = {"revision": self.revision, "max_tokens": prompt.max_tokens}
            asked = digest_of_question(self.model.name, messages, **options)
            answer = answers.find(asked)
            if answer is None:
                try:
                    answer = answers.add(asked, await self.model.answer(messages, max_tokens=prompt.max_tokens))
                except (NoAnswer, PromptTooLong):
                    break
            steps = read_steps(answer.text)
            reason = fault_of(steps, answer, draft.memory, vocabulary, most)
            if not reason:
                return Entry(replace(draft.memory, steps=tuple(steps)), by_model=True)
            messages = prompt.once_more(messages, answer.text, reason)
        return Entry(draft.memory, by_model=False)
