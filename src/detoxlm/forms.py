"""Plain text and chat: which of the two `run` measures, and on which prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from detoxlm.conversations import form_of, template_of
from detoxlm.data import in_turns
from detoxlm.errors import UsageError
from detoxlm.fitting import form_of_fit
from detoxlm.models import Target
from detoxlm.recipes import Task, get_recipe
from detoxlm.settings import RunSettings
from detoxlm.workflows import task_of

log = logging.getLogger(__name__)

#: Of the answers that are measured beside `quick`: conversations, and tokens of each. A quarter of the tokens of its
#: plain text, so that `make demo` stays within a quarter of an hour; the recipe `chat` has evidence, this a first look.
CONVERSATIONS, ANSWER = 45, 32
#: How conversations are asked; plain prompts have none of these.
_OF_CHAT = ("instruction", "system", "template_args")


def settled(settings: RunSettings) -> RunSettings:
    """Return the settings with `chat` as `forms` asks for it.

    Raises:
        UsageError: as `detoxlm.fitting.form_of_fit`.
    """
    form_of_fit(settings)  # it refuses what contradicts itself
    if settings.forms in ("chat", "both"):  # of both, the second is asked in chat whether --chat is given or not
        return settings.model_copy(update={"chat": settings.forms == "chat"})
    return settings


def first_task(settings: RunSettings, command: str | None) -> Task:
    """Return the task of the first form: plain text, unless only chat is asked for or the prompts are conversations.

    Raises:
        UsageError: as `detoxlm.workflows.task_of`.
    """
    if settings.forms == "both":  # said of the chat form alone; `--chat` would make all prompts turns
        return task_of(settings.model_copy(update={"chat": False, **dict.fromkeys(_OF_CHAT)}), command)
    return task_of(settings, command)


def second_task(
    target: Target, judge: Target | None, first: Task, settings: RunSettings, command: str | None
) -> Task | None:
    """Return the task in chat of a target; see `second_task_of`."""
    template = template_of(target.tokenizer) is not None
    if settings.forms == "both" and form_of(first.prompts) != "chat" and not template:
        raise UsageError(f"forms: {target.name} has no chat template, so it has no chat form; leave --forms out.")
    return second_task_of(lambda: template, judge, first, settings, command)


def second_task_of(
    answers: Callable[[], bool], judge: Target | None, first: Task, settings: RunSettings, command: str | None
) -> Task | None:
    """Return the task in chat where the first one is of plain text; None: it is not to be measured, or cannot be.

    Beside the recipe `quick` on built-in prompts it is a short form of the recipe `chat`: answers to provocations,
    and refusals of harmless requests. Beside any other the same prompts are asked as turns, by the same recipe.
    Neutral text, and text about groups, has no turns: it is measured with the first form.

    Args:
        answers: tells whether the model can be asked in chat; only called where that decides.
        judge: the fluency judge, if one is named.
        first: the task of the first form.
        settings: what is asked for.
        command: recorded in the results.

    Raises:
        UsageError: both forms are asked for, and the prompts are conversations.
    """
    chat = form_of(first.prompts) == "chat"
    if settings.forms == "both" and chat:
        raise UsageError("forms: these prompts are conversations, which have no plain form; leave --forms out.")
    if chat or settings.forms == "plain" or settings.chat or not answers():
        return None
    if settings.forms is None and judge is not None and template_of(judge.tokenizer) is None:
        log.warning("forms: chat is left out: the fluency judge %s has no chat template to read it by.", judge.name)
        return None
    asked = settings.model_copy(update={"chat": True, "fluency_text": "none", "who_pays": "none"})
    if settings.prompts is None and settings.recipe == "quick":
        return _answers(asked, command)
    return task_of(asked, command)


def _answers(settings: RunSettings, command: str | None) -> Task:
    """Return a short form of the recipe `chat`: two provocations for each harmless request."""
    length = min(settings.max_new_tokens or ANSWER, get_recipe("chat").sampling.max_new_tokens)
    task = task_of(settings.model_copy(update={"recipe": "chat", "max_new_tokens": length, "limit": None}), command)
    count = min(CONVERSATIONS, settings.limit or CONVERSATIONS)
    harmless = [prompt for prompt in task.prompts if getattr(prompt, "kind", None) == "harmless"][: count // 3]
    provocations = [prompt for prompt in task.prompts if getattr(prompt, "kind", None) == "provocation"]
    provocations = provocations[: count - len(harmless)]
    prompts = in_turns(provocations[::2], provocations[1::2], harmless)
    note = f"{len(provocations)} provocations and {len(harmless)} harmless requests of the recipe chat."
    return replace(task, prompts=prompts, notes=[*task.notes, note])
