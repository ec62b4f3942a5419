"""Two packs: what one has and the other has not, and both as one.

Entries are told apart by their ids, which are digests of what they say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from duomem.core.reading import digest_of
from duomem.memory_packs.lexicon import Lexicon
from duomem.memory_packs.manifest import Release, Teacher, Writer
from duomem.memory_packs.memory import MAX_SOURCES, Memory
from duomem.memory_packs.pack import Pack, read_pack, write_pack


@dataclass(frozen=True)
class PackDiff:
    """What a second pack has beside a first one.

    added, removed: entries of one of them only, in its order. same: entries of both. provenance: how many of these come
    from other games. lexicon: whether the lexicons differ. said: fields of the manifest that differ.
    """

    added: tuple[Memory, ...]
    removed: tuple[Memory, ...]
    same: tuple[Memory, ...]
    provenance: int
    lexicon: bool
    said: tuple[str, ...]


def diff_packs(first: Path | str, second: Path | str) -> PackDiff:
    """Compare two .dmpack files. Raises PackError."""
    a, b = read_pack(first), read_pack(second)
    before, after = {m.id: m for m in a.memories}, {m.id: m for m in b.memories}
    same = tuple(m for i, m in after.items() if i in before)
    said_a, said_b = ({"name": p.name, "teacher": p.teacher, "source": p.source, **vars(p.release())} for p in (a, b))
    return PackDiff(
        tuple(m for i, m in after.items() if i not in before),
        tuple(m for i, m in before.items() if i not in after),
        same,
        sum(set(m.sources) != set(before[m.id].sources) for m in same),
        _weights(a.lexicon) != _weights(b.lexicon),
        tuple(field for field in said_a if said_a[field] != said_b[field]),
    )


def merge_packs(
    first: Path | str, second: Path | str, out: Path | str, name: str, version: str = Release.version
) -> Pack:
    """Write the entries of both packs as one pack: those of the first, then what the second adds.

    An entry of both is one that the games of both support. The lexicon is the first pack's, the second's if it has
    none: sentences that a lexicon could be learned from again are in no pack, and weights of two lexicons do not add
    up to one. A licence is that of both (AND), the upstream licences of both are listed. The card stays behind: nobody
    played with the merged pack yet.

    first, second: .dmpack files. out: .dmpack file to write. name, version: go into the pack.

    Returns the pack. Raises PackError, also if it would be larger than a pack may be.
    """
    a, b = read_pack(first), read_pack(second)
    entries = {memory.id: memory for memory in a.memories}
    for memory in b.memories:
        known = entries.get(memory.id)
        entries[memory.id] = _supported(known, memory) if known else memory
    upstream = dict.fromkeys((*a.upstream_licences, *b.upstream_licences))
    release = Release(
        version=version,
        licence=_both(a.licence, b.licence),
        upstream_licences=tuple(upstream),
        environment=a.environment if a.environment == b.environment else f"{a.environment}, {b.environment}",
        prompt_version=a.prompt_version if a.prompt_version == b.prompt_version else None,
        k=max(a.k, b.k),
        token_budget=max(a.token_budget, b.token_budget),
        writer=_writers(a.writer, b.writer),
    )
    teacher = a.teacher if a.teacher == b.teacher else Teacher("several", f"{a.teacher}, {b.teacher}")
    source = a.source if a.source == b.source else digest_of([a.source, b.source])
    return write_pack(Path(out), name, teacher, source, list(entries.values()), a.lexicon or b.lexicon, release)


def _weights(lexicon: Lexicon | None) -> object:
    return lexicon and lexicon.to_json()


def _both(first: str, second: str) -> str:
    return " AND ".join(dict.fromkeys((*first.split(" AND "), *second.split(" AND "))))


def _writers(first: Writer, second: Writer) -> Writer:
    """Who wrote the entries of both; the program's entries are counted as if no entry were in both."""
    by_program = first.by_program + second.by_program
    if replace(first, by_program=0) == replace(second, by_program=0):
        return replace(first, by_program=by_program)
    return Writer("several", f"{first}, {second}", by_program=by_program)


def _supported(memory: Memory, again: Memory) -> Memory:
    """The memory with the games that support it here or there."""
    others = dict.fromkeys((*memory.others, *again.sources))
    others.pop((memory.game, memory.group), None)
    return replace(memory, others=tuple(others)[: MAX_SOURCES - 1])
