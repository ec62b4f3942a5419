"""The options of `duomem pack build` that say who words the memories, as one value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from duomem.cli.options import Command, one_value
from duomem.cli.teacher_options import price_options
from duomem.cli.values import COUNT

if TYPE_CHECKING:
    from duomem.core.chat.model import ChatModel
    from duomem.memory_packs.writers.writer import ModelWriter

PROGRAM = "program"


@dataclass(frozen=True)
class WriterChoice:
    """Who words the memories, and how a language model is asked."""

    source: str
    writer_model: str | None
    endpoint: str | None
    key_env: str | None
    timeout: float
    concurrency: int
    max_total_tokens: int | None
    max_cost: float | None
    price_in: float
    price_out: float

    def model_writer(self) -> ModelWriter | None:
        """The model as a writer, None for the program. Raises UserError for one that is not there."""
        if self.source == PROGRAM:
            self._check_program()
            return None
        from duomem.core.chat.budget import Budget, BudgetedModel, Prices
        from duomem.memory_packs.writers.writer import ModelWriter

        budget = Budget(Prices(self.price_in, self.price_out), self.max_total_tokens, self.max_cost)
        model, revision = self._model()
        return ModelWriter(BudgetedModel(model, budget), revision, self.concurrency)

    def _model(self) -> tuple[ChatModel, str]:
        if self.writer_model is None:
            raise click.UsageError(f"--writer {self.source}: which one? Give --model.")
        if self.source == "openai":
            from duomem.core.chat.endpoint import Endpoint, EndpointModel

            at = Endpoint.of_environment(self.writer_model, self.endpoint, self.key_env, self.timeout)
            return EndpointModel(at), ""
        from duomem.train.teachers.llm.hf_model import HfModel

        if self.endpoint or self.key_env:
            raise click.UsageError("--writer hf: runs on this machine: leave out --endpoint and --key-env.")
        local = HfModel(Path(self.writer_model), self.concurrency)
        return local, local.digest()[:12]

    def _check_program(self) -> None:
        ctx = click.get_current_context()
        for field in fields(self):
            if field.name != "source" and ctx.get_parameter_source(field.name) is ParameterSource.COMMANDLINE:
                flag = "--model" if field.name == "writer_model" else f"--{field.name.replace('_', '-')}"
                raise click.UsageError(f"{flag}: means nothing to --writer program: leave it out.")


def writer_options(command: Command) -> Command:
    """--writer and what a language model as writer needs: one WriterChoice, `writer`."""
    options = [
        click.option(
            "--writer",
            "source",
            type=click.Choice((PROGRAM, "openai", "hf")),
            default=PROGRAM,
            help="Who words the memories. openai: a model behind an OpenAI-compatible endpoint. hf: a local model "
            "folder. Either is shown each episode.",
        ),
        click.option(
            "--model",
            "writer_model",
            metavar="NAME",
            help="Name of the model at the endpoint, or folder of the local one (hf).",
        ),
        click.option(
            "--endpoint",
            metavar="URL",
            show_default="$OPENAI_BASE_URL, else the client's own",
            help="Address of the endpoint, with its /v1.",
        ),
        click.option(
            "--key-env",
            metavar="NAME",
            show_default="OPENAI_API_KEY",
            help="Environment variable that holds the endpoint's key.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0.01),
            default=120.0,
            metavar="SECONDS",
            help="Most time one answer may take.",
        ),
        click.option("--concurrency", type=COUNT, default=8, metavar="N", help="Most questions at once."),
        click.option(
            "--max-total-tokens", type=COUNT, metavar="N", show_default="no limit", help="Stop before more tokens."
        ),
        click.option(
            "--max-cost",
            type=click.FloatRange(min=0),
            metavar="X",
            show_default="no limit",
            help="Stop before it costs more.",
        ),
        *price_options(),
    ]
    return one_value("writer", options, WriterChoice)(command)
