"""The options of `duomem teach` that are for a language model as teacher, as one value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from duomem.cli.options import Command, one_value
from duomem.cli.values import COUNT

if TYPE_CHECKING:
    from duomem.core.chat.budget import Budget
    from duomem.core.chat.model import ChatModel
    from duomem.train.teachers.llm.teach import LlmTeaching

TEACHERS = ("expert", "openai", "hf")


class _Amount(click.FloatRange):
    """A number from `least` on, neither infinite nor none at all."""

    name = "amount"

    def __init__(self, least: float = 0.0, most: float | None = None) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        amount = super().convert(value, param, ctx)
        if not math.isfinite(amount):
            self.fail(f"{value} is not a number.", param, ctx)
        return amount


_PRICE = _Amount()
_TRIES = click.IntRange(1, 100)


@dataclass(frozen=True)
class TeacherChoice:
    """Who teaches, and how a language model is asked."""

    source: str
    model: str | None
    endpoint: str | None
    key_env: str | None
    timeout: float
    style: str
    list_admissible: bool
    temperature: float
    max_answer_tokens: int
    concurrency: int
    tries: int
    solutions: int
    max_total_tokens: int | None
    max_cost: float | None
    price_in: float
    price_out: float

    def chat_model(self) -> tuple[ChatModel, dict[str, Any]]:
        """The model, and what tells it from others beside its name. Raises UserError for one that is not there."""
        if self.model is None:
            raise click.UsageError(f"--teacher {self.source}: which one? Give --model.")
        if self.source == "openai":
            from duomem.core.chat.address import Endpoint
            from duomem.core.chat.endpoint import EndpointModel

            at = Endpoint.of_environment(self.model, self.endpoint, self.key_env, self.timeout)
            return EndpointModel(at), {"teacher": self.source}
        from duomem.train.teachers.llm.hf_model import HfModel

        local = HfModel(Path(self.model), self.concurrency)
        return local, {"teacher": self.source, "weights": local.digest()}

    def teaching(self, max_steps: int, seed: int) -> LlmTeaching:
        """How it plays. Raises UserError for a style that is not there, or options that do not fit together."""
        from duomem.train.teachers.llm.policy import Asking
        from duomem.train.teachers.llm.style import find_style
        from duomem.train.teachers.llm.teach import LlmTeaching

        if self.tries > 1 and self.temperature == 0:
            raise click.UsageError(f"--tries {self.tries}: at --temperature 0 all are alike: give a higher one.")
        if self.solutions > self.tries:
            raise click.UsageError(f"--solutions {self.solutions}: needs at least as many --tries.")
        asking = Asking(find_style(self.style), self.list_admissible, self.temperature, self.max_answer_tokens)
        return LlmTeaching(asking, max_steps, self.tries, self.solutions, seed, self.concurrency)

    def budget(self) -> Budget:
        """What it may cost."""
        from duomem.core.chat.budget import Budget, Prices

        return Budget(Prices(self.price_in, self.price_out), self.max_total_tokens, self.max_cost)


_OF_EXPERT = ("jobs", "noise_rate", "misread_rate", "relabel", "synthetic", "student", "pack", "no_priors")

_OF_ENDPOINT = ("endpoint", "key_env", "timeout")


def check_given(teacher: TeacherChoice) -> None:
    """Raises UsageError for an option on the command line that is for another teacher."""
    ctx = click.get_current_context()
    of_model = [field.name for field in fields(TeacherChoice) if field.name != "source"]
    of_others = {"expert": of_model, "openai": _OF_EXPERT, "hf": _OF_EXPERT + _OF_ENDPOINT}
    for name in of_others[teacher.source]:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag}: means nothing to --teacher {teacher.source}: leave it out.")


def price_options() -> list[Callable[[Any], Any]]:
    """--price-in and --price-out."""
    return [
        click.option("--price-in", type=_PRICE, default=0.0, metavar="X", help="Price of a million tokens read."),
        click.option("--price-out", type=_PRICE, default=0.0, metavar="X", help="Price of a million tokens written."),
    ]


def teacher_options(command: Command) -> Command:
    """--teacher and what a language model as teacher needs: one TeacherChoice, `teacher`."""
    options = [
        click.option(
            "--teacher",
            "source",
            type=click.Choice(TEACHERS),
            default="expert",
            help="expert: a program. openai: a model behind an OpenAI-compatible endpoint. hf: a local model folder.",
        ),
        click.option(
            "--model", metavar="NAME", help="Name of the model at the endpoint, or folder of the local one (hf)."
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
            type=_Amount(0.01),
            default=120.0,
            metavar="SECONDS",
            help="Most time one answer may take.",
        ),
        click.option(
            "--style", default="react", metavar="NAME", help="Prompt style: react, action, or a TOML file of your own."
        ),
        click.option(
            "--list-admissible/--no-list-admissible",
            default=True,
            help="Whether the model is told which commands do something.",
        ),
        click.option(
            "--temperature",
            type=_Amount(0, 2),
            default=0.0,
            metavar="T",
            help="Of the model's draws; 0 for the likeliest answer.",
        ),
        click.option("--max-answer-tokens", type=COUNT, default=512, metavar="N", help="Most tokens of one answer."),
        click.option(
            "--concurrency", type=COUNT, default=8, metavar="N", help="Most episodes played at once (hf: as one batch)."
        ),
        click.option("--tries", type=_TRIES, default=1, metavar="N", help="Most episodes of a game until it is won."),
        click.option(
            "--solutions", type=_TRIES, default=1, metavar="N", help="Play on until N different wins of a game."
        ),
        click.option(
            "--max-total-tokens", type=COUNT, metavar="N", show_default="no limit", help="Stop before more tokens."
        ),
        click.option(
            "--max-cost", type=_PRICE, metavar="X", show_default="no limit", help="Stop before it costs more."
        ),
        *price_options(),
    ]
    return one_value("teacher", options, TeacherChoice)(command)
