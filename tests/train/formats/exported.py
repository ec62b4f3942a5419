"""Episodes with everything that a format may have no place for."""

from __future__ import annotations

from dataclasses import replace

from mug_episodes import LOST, told

from duomem.core.trajectory import Step, Trajectory, Usage

PLAIN = told(1)
NOISY = replace(told(2), steps=tuple(replace(s, is_noise=i == 1) for i, s in enumerate(told(2).steps)), seed=5)
THINKING = replace(
    told(3),
    steps=tuple(replace(s, thought=f"Step {i}.\nThen?" if i else "") for i, s in enumerate(told(3).steps)),
    usage=Usage(2, 9, 1234, 56, 7.125),
    player="llm:org/model",
)
LOST_ONE = told(4, LOST, won=False)
PERSON = replace(told(5), goal="stow the “beaker”\u2028now", goal_source="human:2")
EMPTY = replace(told(6), steps=(), won=False)
OTHER_INTRO = replace(told(7), intro="another text")
AWKWARD = replace(
    told(8),
    steps=(
        Step("Observation: Observation: x", (), "Thought: a\nAction: b", thought="Action: c\nAction: "),
        Step("", ("look",), "Action: go", thought=""),
        Step("Your task is to: nothing", (), "", thought="x"),
        Step("\n", (), "Thought: y\nAction: z"),
    ),
    last="Observation: end",
)
EPISODES: list[Trajectory] = [PLAIN, NOISY, THINKING, LOST_ONE, PERSON, EMPTY, OTHER_INTRO, AWKWARD]
