"""The entries of a pack as the lines of its `memories.jsonl`, each a memory, no two of which say the same.

What many lines may say together is bounded, so that a small file of a stranger's takes little memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

from duomem.core.errors import PackError
from duomem.core.reading import parse_json
from duomem.memory_packs.memory import Memory, memory_from_json

_LINE_LIMIT = 256 << 10
_STEPS_LIMIT = 200_000
_SOURCES_LIMIT = 50_000


def write_entries(memories: Iterable[Memory]) -> bytes:
    """The lines of memories, in their order; the same memories give the same bytes."""
    lines = (json.dumps(memory.to_json(), sort_keys=True, ensure_ascii=False) + "\n" for memory in memories)
    return "".join(lines).encode(errors="surrogatepass")  # what is no text is refused when it is read back


def read_entries(body: bytes, where: str) -> tuple[Memory, ...]:
    """The memories of untrusted lines. Raises UserError naming `where`, the line and what is wrong with it."""
    memories: list[Memory] = []
    seen: set[tuple[object, ...]] = set()
    steps = sources = 0
    for number, row in enumerate(io.BytesIO(body), 1):
        line = f"{where} line {number}"
        memory = memory_from_json(parse_json(row, line, _LINE_LIMIT), line)
        steps += len(memory.steps)
        sources += len(memory.sources)
        if steps > _STEPS_LIMIT or sources > _SOURCES_LIMIT:
            raise PackError(
                f"{line}: with it the memories have more than {_STEPS_LIMIT} steps or {_SOURCES_LIMIT} sources: not a "
                "pack duomem wrote"
            )
        said = (memory.kind, memory.task, memory.triple, memory.steps, memory.phrasings)  # what its id is the digest of
        if said in seen:
            raise PackError(f"{line}: says what an earlier line says: build the pack again")
        seen.add(said)
        memories.append(memory)
    return tuple(memories)
