"""Servers on loopback with students that have no model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Serve, Served, serving
from tokenizers import Tokenizer

from duomem.device.engine.session import Engine


@pytest.fixture(scope="session")
def chat_tokenizer(byte_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the byte tokenizer with the special tokens of ChatML, 256 and 257."""
    tokenizer = Tokenizer.from_file(str(byte_tokenizer / "tokenizer.json"))
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    folder = tmp_path_factory.mktemp("chat")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def serve(chat_tokenizer: Path) -> Iterator[Serve]:
    """serve(engine, **options) is a running server, see `serving`; it is stopped after the module's tests."""
    for name in ("starlette", "uvicorn", "openai"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install duomem[dev]")
    with contextlib.ExitStack() as stack:

        def start(engine: Engine, tokenizer: Path = chat_tokenizer, **options: Any) -> Served:
            return stack.enter_context(serving(engine, tokenizer, **options))

        yield start
