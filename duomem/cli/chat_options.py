"""The options that say which chat model is asked, how, and what that may cost: of teachers and of writers."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from duomem.cli.values import COUNT

if TYPE_CHECKING:
    from duomem.core.chat.budget import Budget
    from duomem.core.chat.model import ChatModel

OF_ENDPOINT = ("endpoint", "key_env", "timeout")
"""Options that mean something to a model behind an endpoint alone."""


class Amount(click.FloatRange):
    """A number from `least` on, neither infinite nor none at all."""

    name = "amount"

    def __init__(self, least: float = 0.0, most: float | None = None) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        amount = super().convert(value, param, ctx)
        if not math.isfinite(amount):
            self.fail(f"{value} is not a number.", param, ctx)
        return amount


_PRICE = Amount()


@dataclass(frozen=True, kw_only=True)
class ChatChoice:
    """A chat model, how it is asked, and what that may cost. source: "openai", "hf", or what a command has beside."""

    source: str
    model: str | None
    endpoint: str | None
    key_env: str | None
    timeout: float
    concurrency: int
    max_total_tokens: int | None
    max_cost: float | None
    price_in: float
    price_out: float

    def open_model(self, flag: str) -> tuple[ChatModel, str]:
        """The model, and the digest of its weights, "" where nobody knows. flag: the option that `source` is of.

        Raises UserError for one that is not there.
        """
        if self.model is None:
            raise click.UsageError(f"{flag} {self.source}: which one? Give --model.")
        if self.source == "openai":
            from duomem.core.chat.address import Endpoint
            from duomem.core.chat.endpoint import EndpointModel

            at = Endpoint.of_environment(self.model, self.endpoint, self.key_env, self.timeout)
            return EndpointModel(at), ""
        from duomem.train.teachers.llm.hf_model import HfModel

        local = HfModel(Path(self.model), self.concurrency)
        return local, local.digest()

    def budget(self) -> Budget:
        """What it may cost."""
        from duomem.core.chat.budget import Budget, Prices

        return Budget(Prices(self.price_in, self.price_out), self.max_total_tokens, self.max_cost)

    def check_given(self, flag: str, foreign: Collection[str]) -> None:
        """Raises UsageError for an option on the command line, of `foreign`, that means nothing to the source."""
        ctx = click.get_current_context()
        for name in foreign:
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(
                    f"--{name.replace('_', '-')}: means nothing to {flag} {self.source}: leave it out."
                )


def chat_model_options() -> list[Callable[[Any], Any]]:
    """--model, --endpoint, --key-env and --timeout."""
    return [
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
            type=Amount(0.01),
            default=120.0,
            metavar="SECONDS",
            help="Most time one answer may take.",
        ),
    ]


def budget_options() -> list[Callable[[Any], Any]]:
    """--max-total-tokens, --max-cost and the prices."""
    return [
        click.option(
            "--max-total-tokens", type=COUNT, metavar="N", show_default="no limit", help="Stop before more tokens."
        ),
        click.option(
            "--max-cost", type=_PRICE, metavar="X", show_default="no limit", help="Stop before it costs more."
        ),
        *price_options(),
    ]


def price_options() -> list[Callable[[Any], Any]]:
    """--price-in and --price-out."""
    return [
        click.option("--price-in", type=_PRICE, default=0.0, metavar="X", help="Price of a million tokens read."),
        click.option("--price-out", type=_PRICE, default=0.0, metavar="X", help="Price of a million tokens written."),
    ]
