"""The options of `duomem teach` that are for a language model as teacher, as one value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import click

from duomem.cli.chat_options import OF_ENDPOINT, Amount, ChatChoice, budget_options, chat_model_options
from duomem.cli.options import Command, one_value
from duomem.cli.values import COUNT

if TYPE_CHECKING:
    from duomem.core.chat.model import ChatModel
    from duomem.train.teachers.llm.teach import LlmTeaching

TEACHERS = ("expert", "openai", "hf")
_FLAG = "--teacher"
_TRIES = click.IntRange(1, 100)


@dataclass(frozen=True, kw_only=True)
class TeacherChoice(ChatChoice):
    """Who teaches, and how a language model is asked."""

    style: str
    no_list_admissible: bool
    temperature: float
    max_answer_tokens: int
    tries: int
    solutions: int

    def chat_model(self) -> tuple[ChatModel, dict[str, Any]]:
        """The model, and what tells it from others beside its name. Raises UserError for one that is not there."""
        model, weights = self.open_model(_FLAG)
        return model, {"teacher": self.source, **({"weights": weights} if weights else {})}

    def teaching(self, max_steps: int, seed: int) -> LlmTeaching:
        """How it plays. Raises UserError for a style that is not there, or options that do not fit together."""
        from duomem.train.teachers.llm.policy import Asking
        from duomem.train.teachers.llm.style import find_style
        from duomem.train.teachers.llm.teach import LlmTeaching

        if self.tries > 1 and self.temperature == 0:
            raise click.UsageError(f"--tries {self.tries}: at --temperature 0 all are alike: give a higher one.")
        if self.solutions > self.tries:
            raise click.UsageError(f"--solutions {self.solutions}: needs at least as many --tries.")
        style = find_style(self.style)
        if self.no_list_admissible:
            style = replace(style, admissible="")
        asking = Asking(style, self.temperature, self.max_answer_tokens)
        return LlmTeaching(asking, max_steps, self.tries, self.solutions, seed, self.concurrency)


_OF_EXPERT = ("jobs", "ray", "noise_rate", "misread_rate", "relabel", "synthetic", "student", "pack", "no_priors")


def check_given(teacher: TeacherChoice) -> None:
    """Raises UsageError for an option on the command line that is for another teacher."""
    of_model = [field.name for field in fields(TeacherChoice) if field.name != "source"]
    of_others = {"expert": of_model, "openai": _OF_EXPERT, "hf": _OF_EXPERT + OF_ENDPOINT}
    teacher.check_given(_FLAG, of_others[teacher.source])


def teacher_options(command: Command) -> Command:
    """--teacher and what a language model as teacher needs: one TeacherChoice, `teacher`."""
    options = [
        click.option(
            _FLAG,
            "source",
            type=click.Choice(TEACHERS),
            default="expert",
            help="expert: a program. openai: a model behind an OpenAI-compatible endpoint. hf: a local model folder.",
        ),
        *chat_model_options(),
        click.option(
            "--style",
            default="react",
            metavar="NAME",
            help="Prompt style: react, action, student (one of this kit, served), or a TOML file of your own.",
        ),
        click.option(
            "--no-list-admissible",
            is_flag=True,
            help="Do not tell the model which commands do something.",
        ),
        click.option(
            "--temperature",
            type=Amount(0, 2),
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
        *budget_options(),
    ]
    return one_value("teacher", options, TeacherChoice)(command)
