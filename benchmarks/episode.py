"""Seconds an episode: the same agent over duomem's engine and over llama.cpp, on the same weights and train games.

    python benchmarks/episode.py BUNDLE PACK GAMES [--library FILE] [--count 20] [--threads 2]

llama.cpp keeps the system prompt and every episode's text in its cache too, by the same calls of the agent. The two
play in turns. The last line is one JSON document. Needs llama-cpp-python and gguf.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from duomem.compile.export.gguf import export_gguf
from duomem.compile.export.llama_cpp import BATCH, fill, load_model
from duomem.core.cpu import cpu_name
from duomem.device.agent.agent import PROTOCOLS, Agent
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.alfworld.annotations import Goals
from duomem.device.alfworld.game_files import find_games
from duomem.device.engine.bundle import read_bundle
from duomem.device.engine.session import ContextFull, Engine
from duomem.device.engine.tvm_engine import TvmEngine
from duomem.memory_packs.pack import read_pack

_CONTEXT = 2048
_SESSIONS = 4


class LlamaEngine:
    """A GGUF file on llama.cpp's CPU backend, one sequence of its cache a session (keeps `Engine`)."""

    def __init__(self, gguf: Path, threads: int) -> None:
        self.api, self._model = load_model(str(gguf))
        api = self.api
        self._vocab_size = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = _SESSIONS * _CONTEXT, BATCH, BATCH
        params.n_seq_max, params.kv_unified = _SESSIONS, True
        params.n_threads = params.n_threads_batch = threads
        self.context = api.llama_init_from_model(self._model, params)
        self.memory = api.llama_get_memory(self.context)
        self.batch = api.llama_batch_init(BATCH, 0, 1)
        self._free = list(range(_SESSIONS))

    @property
    def vocab_size(self) -> int:
        return self._vocab_size

    @property
    def context_length(self) -> int:
        return _CONTEXT

    def session(self) -> LlamaSession:
        return LlamaSession(self, self._free.pop(), 0)

    def give_back(self, sequence: int) -> None:
        """Empty a sequence and let another session have it."""
        self.api.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        self._free.append(sequence)


class LlamaSession:
    """A sequence in llama.cpp's cache (keeps `Session`)."""

    def __init__(self, engine: LlamaEngine, sequence: int, length: int) -> None:
        self._engine, self._sequence, self._length = engine, sequence, length
        self._open = True

    @property
    def length(self) -> int:
        return self._length

    def prefill(self, tokens: Sequence[int]) -> np.ndarray:
        engine, api = self._engine, self._engine.api
        if self._length + len(tokens) > _CONTEXT:
            raise ContextFull(f"{self._length} tokens and {len(tokens)} more exceed {_CONTEXT}")
        for begin in range(0, len(tokens), BATCH):
            piece = tokens[begin : begin + BATCH]
            fill(engine.batch, piece, self._length, self._sequence, every_output=False)
            if api.llama_decode(engine.context, engine.batch):
                raise RuntimeError("llama_decode failed")
            self._length += len(piece)
        return np.ctypeslib.as_array(api.llama_get_logits_ith(engine.context, -1), shape=(engine.vocab_size,)).copy()

    def decode(self, token: int) -> np.ndarray:
        return self.prefill([token])

    def rollback(self, n: int) -> None:
        self._length -= n
        self._engine.api.llama_memory_seq_rm(self._engine.memory, self._sequence, self._length, -1)

    def fork(self) -> LlamaSession:
        child = self._engine.session()
        self._engine.api.llama_memory_seq_cp(self._engine.memory, self._sequence, child._sequence, -1, -1)
        child._length = self._length
        return child

    def close(self) -> None:
        if self._open:
            self._open = False
            self._engine.give_back(self._sequence)


def main() -> None:
    """Print the machine, a line a protocol and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pack", type=Path)
    parser.add_argument("games", type=Path)
    parser.add_argument("--library", help="file of one of the bundle's libraries (the best for this CPU)")
    parser.add_argument("--count", type=int, default=20, help="episodes, each of another train game (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of both engines (%(default)s)")
    args = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = str(args.threads)
    bundle, pack = read_bundle(args.bundle), read_pack(args.pack)
    tasks = [*Goals("human").tasks(find_games(args.games, "train"))]
    tasks = random.Random(5).sample(tasks, args.count)
    ours = TvmEngine.open(bundle, "cpu", _CONTEXT, library=args.library)
    tokenizer = PromptTokenizer(bundle.tokenizer_file, bundle.vocab_size)
    result: dict[str, Any] = {"cpu": cpu_name(), "threads": args.threads, "library": ours.library.file, "protocols": {}}
    print(f"{result['cpu']}, {args.threads} threads, {args.count} episodes, people's goals, {ours.library.file}")
    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "student.gguf"
        export_gguf(bundle, "Q4_0", gguf)
        engines: dict[str, Engine] = {"duomem": ours, "llama.cpp Q4_0": LlamaEngine(gguf, args.threads)}
        for protocol in PROTOCOLS:
            agents = {name: Agent(e, tokenizer, name, protocol, pack.retriever) for name, e in engines.items()}
            seconds: dict[str, list[float]] = {name: [] for name in agents}
            won = dict.fromkeys(agents, 0)
            same = 0
            for task in tasks:
                game = task.load()
                played = {name: agent.play(game) for name, agent in agents.items()}
                for name, episode in played.items():
                    seconds[name].append(episode.seconds)
                    won[name] += episode.won
                same += len({episode.commands for episode in played.values()}) == 1
            ratio = statistics.median(theirs / mine for mine, theirs in zip(*seconds.values(), strict=True))
            row = {
                name: {"median_s": statistics.median(values), "total_s": sum(values), "won": won[name]}
                for name, values in seconds.items()
            }
            result["protocols"][protocol] = {"engines": row, "same_commands": same, "ratio": ratio}
            shown = "; ".join(f"{n} median {r['median_s']:.2f} s, {r['won']} won" for n, r in row.items())
            print(f"{protocol}: {shown}; ratio {ratio:.2f}, the same commands in {same}")
            for agent in agents.values():
                agent.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
