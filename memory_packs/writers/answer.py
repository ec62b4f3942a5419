"""Reading a writer's answer: the numbered list in it as the steps of a memory, or what is wrong with it.

An answer is a stranger's text. What is taken of it is lower-case words of its episodes, a few signs, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from duomem.core.chat.model import Answer
from duomem.memory_packs.memory import Memory
from duomem.memory_packs.writers.vocabulary import AVOID, Vocabulary, names

_MOST_LETTERS = 20_000
_LONGEST_STEP = 100
_MARK = re.compile(r"\s*(?:(?:step\s*)?\d{1,3}\s*[.):]|[-*•])\s*(.*)", re.IGNORECASE)
_NUMBER = re.compile(r" \d+\b")
_PLAIN = re.compile(r"[a-z][a-z ,'/()-]*")


def read_steps(text: str) -> list[str]:
    """The steps of a list: its marked lines, or all lines if none is. Marks, emphasis, instance numbers and full stops
    are left out, and so is what a model thought before it answered.
    """
    answered = re.sub(r"\*\*|__|[`\"]", "", text[:_MOST_LETTERS].rpartition("</think>")[2])
    lines = [line.strip() for line in re.split(r"[\n;]", answered) if line.strip()]
    marked = [found[1] for line in lines if (found := _MARK.fullmatch(line))]
    plain = (" ".join(_NUMBER.sub("", f" {line.lower()}").split()).strip(" .,:") for line in marked or lines)
    return [step for step in plain if step]


def fault_of(steps: Sequence[str], answer: Answer, draft: Memory, vocabulary: Vocabulary, most: int) -> str:
    """Why these steps cannot be the entry for `draft`, in words for their writer; "" if they can.

    most: steps.
    """
    if answer.finished == "length":
        return "it is too long and was cut off"
    if not 0 < len(steps) <= most:
        return f"it has {len(steps)} steps, not 1 to {most}"
    for number, step in enumerate(steps, 1):
        if len(step) > _LONGEST_STEP:
            return f"step {number} has more than {_LONGEST_STEP} letters"
        if not _PLAIN.fullmatch(step):
            return f"step {number} has other signs than letters and commas"
        if fault := vocabulary.fault(step):
            return f"step {number}: {fault}"
    script = [step for step in steps if not step.startswith(AVOID)]
    if steps[: len(script)] != script or not script:
        return f'steps that begin with "{AVOID}" must come last'
    if vocabulary.lessons and len(script) == len(steps):
        return f'no step begins with "{AVOID}"'
    for name in (draft.object_type, draft.target_type):
        if name and names(draft.steps, name) and not names(script, name):
            return f'no step names the "{name}"'
    return ""
