"""The options of `duomem pack build` that say who words the memories, as one value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import click

from duomem.cli.chat_options import OF_ENDPOINT, ChatChoice, budget_options, chat_model_options
from duomem.cli.options import Command, one_value
from duomem.cli.values import COUNT

if TYPE_CHECKING:
    from duomem.memory_packs.writers.writer import ModelWriter

PROGRAM = "program"
_FLAG = "--writer"
_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class WriterChoice(ChatChoice):
    """Who words the memories."""

    def model_writer(self) -> ModelWriter | None:
        """The model as a writer, None for the program. Raises UserError for one that is not there."""
        if self.source == PROGRAM:
            self.check_given(_FLAG, [field.name for field in fields(self) if field.name != "source"])
            return None
        from duomem.core.chat.budget import BudgetedModel
        from duomem.memory_packs.writers.writer import ModelWriter

        if self.source == "hf":
            self.check_given(_FLAG, OF_ENDPOINT)
        budget, (model, weights) = self.budget(), self.open_model(_FLAG)
        return ModelWriter(BudgetedModel(model, budget), weights[:_DIGITS], self.concurrency)


def writer_options(command: Command) -> Command:
    """--writer and what a language model as writer needs: one WriterChoice, `writer`."""
    options = [
        click.option(
            _FLAG,
            "source",
            type=click.Choice((PROGRAM, "openai", "hf")),
            default=PROGRAM,
            help="Who words the memories. openai: a model behind an OpenAI-compatible endpoint. hf: a local model "
            "folder. Either is shown each episode.",
        ),
        *chat_model_options(),
        click.option(
            "--concurrency",
            type=COUNT,
            default=8,
            metavar="N",
            help="Most memories asked for at once (hf: as a batch).",
        ),
        *budget_options(),
    ]
    return one_value("writer", options, WriterChoice)(command)
