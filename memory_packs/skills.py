"""A pack as Agent Skills, a folder a task type, and Agent Skills as a pack.

What others wrote can so be measured with our student; what is imported is text, see skill_file.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from duomem.core.errors import PackError
from duomem.core.files import atomic_folder
from duomem.core.reading import digest_of, sha256_bytes
from duomem.memory_packs.manifest import UNSTATED
from duomem.memory_packs.memory import Memory, memory_from_json
from duomem.memory_packs.memory_format import MAX_STEPS
from duomem.memory_packs.pack import Pack, write_pack
from duomem.memory_packs.skill_file import DESCRIPTION_LIMIT, FILE, NAME_LIMIT, Section, Skill, escaped, read_skill

MAX_SCRIPTS = 20
"""Most scripts of a skill: with their steps below the specification's 500 lines."""

_MARK = "duomem-skill"
_FAMILY = "skill"
_TITLE_LIMIT = 300
_EXAMPLES = 3
_WHEN = {
    "pick_and_place_simple": ("Put an object somewhere", "find an object and put it into or onto a place"),
    "look_at_obj_in_light": ("Look at an object in the light", "find an object and look at it under a lamp"),
    "pick_clean_then_place_in_recep": ("Clean an object and put it somewhere", "clean an object before placing it"),
    "pick_heat_then_place_in_recep": ("Heat an object and put it somewhere", "heat an object before placing it"),
    "pick_cool_then_place_in_recep": ("Cool an object and put it somewhere", "cool an object before placing it"),
    "pick_two_obj_and_place": ("Put two objects somewhere", "find two objects of a kind and put both in one place"),
}
_ABOUT = re.compile(r"Object: (.{0,500}?)\. Target: (.{0,500}?)\. Games: \d+\.")


def export_skills(pack: Pack, folder: Path) -> list[Path]:
    """Write a skill for each task type of `pack`: when to use it, and its commonest scripts, at most MAX_SCRIPTS.

    folder: gets a folder for each skill; one of the same name there is replaced, others stay. Returns the SKILL.md
    files, sorted by task type. Raises PackError for a pack without scripts.
    """
    scripts = [memory for memory in pack.memories if memory.kind == "script"]
    if not scripts:
        raise PackError(f"{pack.name}: this pack holds no scripts, so no skills: give another")
    families = sorted({memory.task_type for memory in scripts})
    names = {family: _name(pack.name, family) for family in families}
    if len(set(names.values())) < len(names):
        raise PackError(f"{pack.name}: two task types of this pack are one name in small letters: rename one")
    for family, name in names.items():
        with atomic_folder(folder / name) as work:
            text = _document(pack, name, [m for m in scripts if m.task_type == family])
            (work / FILE).write_text(text, encoding="utf-8")
    return [folder / name / FILE for name in names.values()]


def import_skills(files: Sequence[Path], out: Path, name: str) -> Pack:
    """Write a pack of what SKILL.md files say.

    A file that export_skills wrote gives back its scripts. Any other gives one memory: its description is the title,
    its numbered list items the steps (else its bulleted ones), at most MAX_STEPS, and its metadata may name task-type,
    object-type and target-type. files: read in order. out: .dmpack file to write. name: goes into the pack.

    Returns the pack. Raises PackError for a skill that is refused (see read_skill) or holds no steps.
    """
    memories: dict[str, Memory] = {}
    for path in files:
        for memory in _memories(read_skill(path), path):
            memories.setdefault(memory.id, memory)
    source = digest_of([sha256_bytes(path.read_bytes()) for path in files])
    return write_pack(out, name, "skills", source, list(memories.values()))


def _name(pack: str, task_type: str) -> str:
    """A name that the specification allows: pick_two_obj of the pack "My pack" is my-pack-pick-two-obj."""
    family = re.sub(r"[^a-z0-9]+", "-", task_type.lower())[: NAME_LIMIT - 2].strip("-") or _FAMILY
    start = re.sub(r"[^a-z0-9]+", "-", pack.lower()).strip("-")[: NAME_LIMIT - 1 - len(family)].strip("-")
    return f"{start}-{family}".strip("-")


def _document(pack: Pack, name: str, memories: Sequence[Memory]) -> str:
    task_type = memories[0].task_type
    title, aim = _WHEN.get(task_type, (task_type, f"reach a goal of the kind {task_type}"))
    counts: Counter[tuple[tuple[str, str, str], tuple[str, ...]]] = Counter()
    for m in memories:
        counts[m.triple, m.steps] += len(m.sources)
    first = {(m.triple, m.steps): m for m in reversed(memories)}
    shown = [(first[key], n) for key, n in counts.most_common(MAX_SCRIPTS)]
    goals = list(dict.fromkeys(memory.task.rstrip(".") for memory, _ in shown))[:_EXAMPLES]
    skill = Skill(
        name,
        f"How to {aim} in a household of ALFWorld. Use when the goal is like: {'; '.join(goals)}."[:DESCRIPTION_LIMIT],
        "" if pack.licence == UNSTATED else pack.licence,
        metadata={
            _MARK: "1",
            "author": pack.author,
            "task-type": task_type,
            "pack": pack.name,
            "pack-sha256": pack.digest,
        },
    )
    scripts = "".join(_script(memory, n) for memory, n in shown)
    about = f"The {len(shown)} commonest of {len(counts)} scripts. Replace a place that has not the object by another."
    return f"{skill.front_matter()}\n# {title}\n\n{about}\n{scripts}"


def _script(memory: Memory, n: int) -> str:
    about = f"Object: {memory.object_type}. Target: {memory.target_type}. Games: {n}."
    steps = "".join(f"{i}. {escaped(step)}\n" for i, step in enumerate(memory.steps, 1))
    return f"\n## {escaped(memory.task)}\n\n{escaped(about)}\n\n{steps}"


def _memories(skill: Skill, path: Path) -> Iterable[Memory]:
    data = skill.metadata
    if _MARK in data:
        return [_back(section, skill, path) for section in skill.sections if section.numbered]
    steps = [step for section in skill.sections for step in section.numbered]
    steps = steps or [step for section in skill.sections for step in section.bulleted]
    if not steps:
        raise PackError(f"{path}: holds no list of steps: write what to do as a numbered list")
    title = skill.description
    if len(title) > _TITLE_LIMIT:
        title = title[:_TITLE_LIMIT].rpartition(" ")[0] or title[:_TITLE_LIMIT]
    about = (data.get("object-type", ""), data.get("target-type", ""))
    return [_memory(title, about, steps[:MAX_STEPS], skill, path)]


def _back(section: Section, skill: Skill, path: Path) -> Memory:
    """The memory that _script wrote."""
    about = _ABOUT.fullmatch(section.text)
    if about is None:
        raise PackError(
            f"{path}: section {section.title[:80]!r} does not say its task type, object and target: mend it"
        )
    return _memory(section.title, about.groups(), section.numbered, skill, path)


def _memory(task: str, about: Sequence[str], steps: Sequence[str], skill: Skill, path: Path) -> Memory:
    """about: object type and target type. Raises PackError if a pack could not hold it."""
    task_type = skill.metadata.get("task-type", _FAMILY)
    memory = Memory(task, task_type, about[0], about[1], tuple(steps), game="", group=f"skill:{skill.name}")
    return memory_from_json(memory.to_json(), str(path))
