"""The student behind the server: engine, tokenizer, kept prompts and episodes, all on the engine's thread."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from duomem.core.errors import ModelError
from duomem.device.agent.agent import PROTOCOLS, Agent, check_prompt_version
from duomem.device.agent.chat_policy import CHAT_FORMATS, ChatTokenizer
from duomem.device.agent.evaluate import PlayConfig
from duomem.device.agent.prompt import PromptTokenizer
from duomem.device.engine.session import Engine
from duomem.device.serve.act_request import ActCall
from duomem.device.serve.completion_request import CompletionRequest, Reader
from duomem.device.serve.episodes import Episodes
from duomem.device.serve.generation import Piece, generate
from duomem.device.serve.metrics import Metrics
from duomem.device.serve.prefix_cache import PIECE, PrefixCache
from duomem.memory_packs.pack import read_pack
from duomem.memory_packs.retriever import Retriever

_BESIDE = 1 + len(PROTOCOLS)
"""Sessions beside the kept ones and the episodes': the answer's, and one for each agent's system text."""


class Student:
    """Answers requests with one engine. reader: reads them, on any thread; the rest runs on the engine's."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        tokenizer: PromptTokenizer,
        metrics: Metrics,
        *,
        stop_ids: tuple[int, ...],
        kept: int,
        episodes: int,
        idle_seconds: float,
        play: PlayConfig,
        retriever: Retriever | None = None,
        piece: int = PIECE,
    ) -> None:
        """name: of the model, for clients. stop_ids: tokens that end a text. kept: most sessions kept for their
        prefixes. episodes, idle_seconds: see Episodes. play: how an episode goes. retriever: of the pack played with.
        piece: see PrefixCache.
        """
        chat, why = _chat(tokenizer)
        self.reader = Reader(name, tokenizer, chat, why, engine.vocab_size, engine.context_length, frozenset(stop_ids))
        self._tokenizer, self._metrics = tokenizer, metrics
        self._cache = PrefixCache(engine, kept, piece)
        agents = {
            protocol: Agent(
                engine,
                tokenizer,
                f"student:{name}",
                protocol,
                retriever,
                play.k,
                play.max_steps,
                play.action_filter,
                play.reminder,
                play.second_look,
            )
            for protocol in PROTOCOLS
        }
        self._episodes = Episodes(agents, episodes, idle_seconds, play.max_steps, metrics)

    @classmethod
    def load(
        cls,
        bundle: Path,
        pack: Path | None,
        play: PlayConfig,
        metrics: Metrics,
        *,
        kept: int,
        episodes: int,
        idle_seconds: float,
    ) -> Student:
        """Load the bundle, and the pack's memories. Raises BundleError, PackError, ModelError or DeviceError."""
        from duomem.device.engine.tvm_engine import TvmEngine

        found = None if pack is None else read_pack(pack)
        sessions = kept + episodes + _BESIDE
        engine = TvmEngine.load(bundle, play.device, play.context_length, sessions)
        check_prompt_version(engine.bundle)
        return cls(
            bundle.resolve().name,
            engine,
            PromptTokenizer(engine.bundle.tokenizer_file, engine.vocab_size),
            metrics,
            stop_ids=engine.bundle.eos_token_ids,
            kept=kept,
            episodes=episodes,
            idle_seconds=idle_seconds,
            play=play,
            retriever=found.retriever if found and found.memories else None,
            piece=min(PIECE, engine.bundle.prefill_chunk),
        )

    def generate(self, request: CompletionRequest) -> Generator[Piece | None, None, None]:
        """See generation.generate."""
        return generate(request, self._cache, self._tokenizer, self._metrics)

    def act(self, call: ActCall) -> Generator[dict[str, Any], None, None]:
        """See Episodes.act."""
        return self._episodes.act(call)

    def end(self, id: str) -> Generator[dict[str, Any], None, None]:
        """See Episodes.end."""
        return self._episodes.end(id)


def _chat(tokenizer: PromptTokenizer) -> tuple[ChatTokenizer | None, str]:
    """The tokenizer in the first chat format whose special tokens it has; else why there is none."""
    why = ""
    for chat_format in CHAT_FORMATS.values():
        try:
            return ChatTokenizer(tokenizer, chat_format), ""
        except ModelError as e:
            why = str(e)
    return None, why
