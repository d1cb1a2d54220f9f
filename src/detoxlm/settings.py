# Long because every setting of every command is defined once, here: a list more than code.
"""Every setting, defined once: the same pydantic field is the CLI option, the TOML key and the environment variable.

Importing this module must stay cheap: `detoxlm --help` reads it.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from detoxlm.conversations import Form, template_args_of


class Settings(BaseModel):
    """Base of all settings: unknown fields are errors, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


def explained(field: FieldInfo) -> str:
    """Return what help texts say of a setting: its description and, of a number, the range that is enforced."""
    limits = {
        name: getattr(limit, name)
        for limit in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }
    if int in (field.annotation, *get_args(field.annotation)) and "lt" in limits:
        limits["le"] = limits.pop("lt") - 1
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    if {"ge", "le"} <= limits.keys():
        said = f"from {limits['ge']:,} to {limits['le']:,}"
    else:
        said = ", ".join(f"{word} {limits[name]:,}" for name, word in words.items() if name in limits)
    return (field.description or "") + (f" {said.capitalize()}." if said else "")


class ModelOptions(Settings):
    """How the target is loaded."""

    dtype: str | None = Field(None, description="float32, bfloat16 or float16 [default: float32 on a CPU].")
    device: str | None = Field(None, description="cpu, cuda, cuda:1, xpu [default: the accelerator, if any].")
    device_map: str | None = Field(
        None,
        description="In place of --device, for a model that needs several: auto, balanced, balanced_low_0 or "
        "sequential, as accelerate shares it out.",
    )
    max_memory: str | None = Field(
        None, description="With --device-map, the most that each device gives, such as 0=10GiB,1=10GiB [default: all]."
    )
    quantization: str | None = Field(
        None,
        description="Smaller weights, made in loading: 4bit or 8bit (bitsandbytes, on a GPU), int8 (torchao, on a CPU "
        "too) [default: as the checkpoint has them].",
    )
    revision: str | None = Field(None, description="Hub revision of the model: a branch, tag or commit.")
    trust_remote_code: bool = Field(False, description="Run model code that the repository brings.")


def _parts(value: Any) -> Any:
    """Split names at commas, one string or each of several: an option, a variable and a TOML key read alike.

    Raises:
        ValueError: one is empty, such as of a variable of the shell that is not set; or as `_split`.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return value  # pydantic says what is wrong
    parts = [part.strip() for name in names for part in _split(name)]
    if not all(parts):
        raise ValueError("an empty name; write names alone, with a comma between two")
    return parts


#: A scorer whose argument may have commas of its own.
_RULE = re.compile(r"(?:^|,)\s*((?:regex|any):.*)$", re.DOTALL)
#: Scorers that are none without an argument: alone their names are words like others.
_NEED_ARGUMENT = ("hub", "regex", "python", "any")


def _split(names: str) -> list[str]:
    """Split at commas, but for those of a rule, which ends the list.

    Raises:
        ValueError: another scorer seems to follow a rule; it would be taken for a part of it.
    """
    rule = _RULE.search(names)
    if rule is None:
        return names.split(",")
    if other := _scorer_after(rule[1]):
        raise ValueError(
            f"{other!r} after a rule would be taken for a part of {rule[1].split(':')[0]}, which may have commas of "
            "its own; put the rule last, or repeat --scorer (in TOML: a list)"
        )
    before = names[: rule.start()]
    return [*(before.split(",") if before else []), rule[1]]


def _scorer_after(rule: str) -> str | None:
    """Return the name of a scorer, built in or of another package, that seems to follow a rule; None: there is none."""
    parts = [part.strip().partition(":") for part in rule.split(",")[1:]]
    found = [name for name, colon, _ in parts if colon or name not in _NEED_ARGUMENT]
    if not found:
        return None
    known = entry_points(group="detoxlm.scorers").names  # declared names alone: no package is imported
    return next((name for name in found if name in known), None)


class ScorerOptions(Settings):
    """Who judges toxicity: the first is the main scorer, the others give second opinions."""

    scorer: Annotated[list[str], BeforeValidator(_parts)] = Field(
        ["embedded"],
        min_length=1,
        description="embedded, hub:<id>[#label], openai, regex:<pattern>, ...: see `detoxlm scorers`. Several (repeat "
        "it or separate with commas): the first is the main scorer and steers fits, the others give measurements a "
        "second opinion.",
    )


class SeedOptions(Settings):
    """Randomness and batching."""

    seed: int = Field(0, ge=0, lt=2**32, description="Seed of all sampling and training.")
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] | None = Field(
        None,
        description="Sequences generated at once; auto: found by memory and speed while it goes on [default: auto on "
        "an accelerator, 32 on a CPU; `generate --file` takes 32 for auto, as a killed run must end with the same "
        "bytes]. Results differ by rounding alone. From 1 to 4,096.",
    )


def _template_args(value: str | None) -> str | None:
    """Refuse what is no JSON object, or sets what DetoxLM sets itself.

    Raises:
        ValueError: it is so.
    """
    template_args_of(value)
    return value


class ChatOptions(Settings):
    """How prompts are asked."""

    chat: bool = Field(
        False,
        description="Wrap each plain prompt as one user turn of the model's chat template. Rows with `messages` "
        "(OpenAI's form) are conversations without it.",
    )
    instruction: str | None = Field(
        None,
        description="Put before each prompt that --chat wraps [default: `Complete the following: ` before built-in "
        "beginnings of text, nothing before others].",
    )
    system: str | None = Field(None, description="System turn of conversations that have none [default: none].")
    template_args: Annotated[str | None, AfterValidator(_template_args)] = Field(
        None, description="Variables for the chat template, a JSON object such as '{\"enable_thinking\": false}'."
    )

    @property
    def form(self) -> Form:
        """These options, as prompts are asked by them."""
        return Form(self.chat, self.instruction, self.system, template_args_of(self.template_args))


class MeasureOptions(ModelOptions, ScorerOptions, SeedOptions, ChatOptions):
    """What is measured, and on which text."""

    recipe: str = Field(
        "quick", description="quick, challenge-10, emt-25, chat, rtp-32, toxigen, bold or attaq. See `detoxlm recipes`."
    )
    samples: int | None = Field(None, ge=1, description="Continuations per prompt [default: the recipe's].")
    max_new_tokens: int | None = Field(
        None, ge=1, description="Longest continuation, tokens [default: the recipe's, as of the next two]."
    )
    temperature: float | None = Field(
        None,
        ge=0,
        description="0 is greedy. A recipe that these four change has another name, and is not compared with the fixed "
        "one.",
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="Nucleus: sample from the likeliest tokens of this total mass."
    )
    prompts: str | None = Field(
        None, description="Prompts: a jsonl/csv/parquet/txt file or a Hub dataset id [default: built-in prompts]."
    )
    column: str | None = Field(None, description="Column of the prompts [default: prompt, messages, then text].")
    limit: int | None = Field(
        None, ge=1, description="Use only the first N prompts, and of the fluency text as large a part."
    )
    skip_bad_rows: bool = Field(False, description="Skip unusable rows of data files, counted, instead of stopping.")
    fluency_text: Path | None = Field(
        None,
        description="UTF-8 text file for model perplexity and KL, such as WikiText-2; `none` measures neither "
        "[default: built-in text].",
    )
    fluency_tokens: int = Field(
        16384,
        ge=0,
        description="Tokens of the fluency text that are measured, in windows of 1,024, stride 512; 0: all. With "
        "--limit, the same share of them as of the prompts, unless this option is given.",
    )
    who_pays: str | None = Field(
        None,
        description="Texts that mention groups of people and texts that do not, whose perplexities are compared: a "
        "file with `text` and `groups`, or a Hub dataset id; `none` measures neither [default: built-in sentences, and "
        "prompts after which people are to be named again].",
    )
    fluency_judge: str | None = Field(
        None, description="Model that judges continuation perplexity [default: the untouched target]."
    )


def _engine(value: str) -> str:
    """Refuse what names no engine.

    Raises:
        ValueError: it is none.
    """
    here = value in ("transformers", "vllm")
    if not here and not re.fullmatch(r"openai:https?://[^/\s@#?]+(/[^\s@#?]*)?(#\S+)?", value):
        raise ValueError(
            "no engine; write transformers, vllm, or openai:URL[#NAME] such as openai:http://127.0.0.1:8000/v1"
        )
    return value


class EngineOptions(Settings):
    """What runs the model that is measured."""

    engine: Annotated[str, AfterValidator(_engine)] = Field(
        "transformers",
        description="What runs the model: transformers, in this process; vllm, in this process too, where it is "
        "installed (evaluate alone); or openai:URL[#NAME], a server that speaks the OpenAI API's protocol and calls it "
        "NAME [default there: MODEL]. Its key is read from ENDPOINT_API_KEY (OPENAI_API_KEY for OpenAI's own address). "
        "Up to --batch-size continuations are asked for at once.",
    )


class CapabilityOptions(Settings):
    """What the model can do beside."""

    capability: str = Field(
        "none",
        description="Also measure what the model gets right, by lm-eval: quick (seven tasks, 100 items each), standard "
        "(all their items), or tasks and YAML files of tasks, with commas between. Only where the data are at hand: "
        "nothing is fetched. Needs `detoxlm[capability]`.",
    )


class EvaluateSettings(EngineOptions, MeasureOptions, CapabilityOptions):
    """`detoxlm evaluate`."""

    detoxifier: str | None = Field(None, description="Detoxifier folder or Hub id to attach [default: none].")
    strength: float | None = Field(None, ge=0, description="Its strength; 0 is the untouched model [default: its own].")
    baseline: Path | None = Field(
        None, description="results.json of the untouched model, for a paired comparison in the new file."
    )
    output: Path = Field(Path("results.json"), description="Where the results go; a killed run continues from there.")


_CORPUS = (
    "Texts to learn from: text, or prompt and completion. Clean ones, but for constrained and fusion's contrast: those "
    "take both kinds, and the scorer tells them apart [default: the model's own]."
)
_HARMFUL = (
    "Harmful texts, for methods that train on both kinds: text, or prompt and completion [default: the model's own "
    "worst]."
)
_CORPUS_COLUMN = "Column of the texts in --corpus and --harmful [default: text, else prompt and completion]."
_PAIRS = (
    "Pairs, for all methods but nado: columns toxic and nontoxic, or rejected and chosen; prompt where there is one "
    "[default: the model's own texts]."
)
_CALIBRATOR = (
    "For fusion: a fitted detoxifier's folder or Hub id, whose calibrator is aligned to this model; `shipped`, or "
    "`own` to train one [default: shipped, own with data]."
)


class FitSettings(ModelOptions, ScorerOptions, SeedOptions, ChatOptions):
    """`detoxlm fit`."""

    corpus: str | None = Field(None, description=_CORPUS)
    harmful: str | None = Field(None, description=_HARMFUL)
    corpus_column: str | None = Field(None, description=_CORPUS_COLUMN)
    pairs: str | None = Field(None, description=_PAIRS)
    prompts: str | None = Field(
        None, description="Prompts that the target continues to make its own data [default: built-in prompts]."
    )
    column: str | None = Field(None, description="Column of the prompts [default: prompt, messages, then text].")
    calibrator: str | None = Field(None, description=_CALIBRATOR)
    skip_bad_rows: bool = Field(False, description="Skip unusable rows of data files, counted, instead of stopping.")
    forms: Literal["plain", "chat", "both"] | None = Field(
        None,
        description="Form of the prompts that the target writes to: plain text, chat, or half of them in each "
        "[default: plain; chat with --chat].",
    )
    output: Path = Field(Path("detoxifier"), description="The detoxifier's folder; a killed fit continues from there.")


class RunSettings(EngineOptions, MeasureOptions, CapabilityOptions):
    """`detoxlm run`."""

    method: str | None = Field(
        None,
        description="How to detoxify; see `detoxlm methods` [default: nado for the embedded model, unless it is "
        "quantised, or texts, a calibrator, --set, a table [fusion] or another main scorer are given; else fusion].",
    )
    forms: Literal["plain", "chat", "both"] | None = Field(
        None,
        description="Measure plain text, answers in chat, or both, and recommend a strength for all that is measured; "
        "what the fit lets the model write is in the same form, or half in each [default: measured in both where the "
        "model has a chat template and the prompts are plain, fitted to plain text; chat with --chat].",
    )
    strengths: str | None = Field(
        None, description="Strengths to measure, separated by commas [default: the method's own]."
    )
    calibrator: str | None = Field(None, description=_CALIBRATOR)
    corpus: str | None = Field(None, description=_CORPUS)
    harmful: str | None = Field(None, description=_HARMFUL)
    corpus_column: str | None = Field(None, description=_CORPUS_COLUMN)
    pairs: str | None = Field(None, description=_PAIRS)
    output: Path = Field(Path("detoxlm-run"), description="Folder for everything; a killed run continues from there.")


class FileOptions(Settings):
    """How a file of rows is worked on."""

    skip_bad_rows: bool = Field(False, description="Skip unusable rows of --file and count them, instead of stopping.")
    overwrite: bool = Field(
        False, description="Replace an --output that is there, and give up what another run has begun beside it."
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Who works on the rows of --file: local: this process; ray: several, by Ray Data, on this machine "
        "or a cluster.",
    )
    workers: int | None = Field(
        None, ge=1, description="Processes of --engine ray [default: one a GPU, or one a CPU core]."
    )


class GenerateSettings(ModelOptions, SeedOptions, ChatOptions, FileOptions):
    """`detoxlm generate`."""

    detoxifier: str | None = Field(None, description="Detoxifier folder or Hub id to attach [default: none].")
    strength: float | None = Field(None, ge=0, description="Its strength; 0 is the untouched model [default: its own].")
    max_new_tokens: int = Field(60, ge=1, description="Longest continuation, tokens.")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(0.9, gt=0, le=1, description="Nucleus: sample from the likeliest tokens of this total mass.")
    top_k: int = Field(0, ge=0, description="Sample from the k likeliest tokens only; 0: no such limit.")
    samples: int = Field(1, ge=1, description="Continuations.")
    file: Path | None = Field(
        None,
        description="Prompts, many: jsonl with `prompt` or `text`, csv, parquet, or plain lines, continued as they "
        "are, not in chat; needs -o.",
    )
    column: str | None = Field(None, description="Column of the prompts in --file [default: prompt, then text].")
    output: Path | None = Field(
        None,
        description="Where the rows of --file go, in their order, with a column `continuation` (several samples: "
        "`continuations`, a list) behind their own: .jsonl, .parquet or .csv. A killed run continues.",
    )
    stream: bool = Field(False, description="Write the text piece by piece, as the model makes it.")
    interactive: bool = Field(
        False,
        description="Chat in the terminal, with the model's chat template; /strength 0.3 changes the strength between "
        "turns, /help lists all.",
    )


class ExportSettings(ModelOptions):
    """`detoxlm export`."""

    strength: float | None = Field(None, gt=0, description="Strength of the edit [default: the detoxifier's own].")
    form: Literal["checkpoint", "adapter"] = Field(
        "checkpoint", description="checkpoint: a whole model; adapter: a PEFT (LoRA) folder beside the untouched model."
    )
    output: Path = Field(Path("detoxified"), description="The folder to write; an old one is replaced whole.")


class ScoreSettings(ScorerOptions, FileOptions):
    """`detoxlm score`."""

    file: Path | None = Field(
        None,
        description="jsonl with `text`, csv, parquet, or plain lines. With --json each score has its line and the "
        "row's other columns; one that is called like a key of ours (text, toxicity, ...) becomes file.NAME. With "
        "--output it may be larger than memory.",
    )
    column: str | None = Field(None, description="Column of the text [default: text].")
    dimensions: bool = Field(
        False, description="Show all that the scorer says: insult, profanity, identity attack, threat, sexual content."
    )
    output: Path | None = Field(
        None,
        description="Where the rows of --file go, in their order, with a column `toxicity` (--dimensions: more) behind "
        "their own: .jsonl, .parquet or .csv. A killed run continues [default: scores are printed].",
    )
    prefix: str | None = Field(
        None, description="Put before the names of the columns of scores, such as `ours_` [default: nothing]."
    )


def _origins(value: list[str] | None) -> list[str] | None:
    """Refuse what no browser calls an origin: one with a path would be compared with none, and let nobody in.

    Raises:
        ValueError: it is no origin.
    """
    for origin in value or ():
        if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin):
            raise ValueError(f"{origin!r} is no origin; write scheme and host alone, as https://example.org")
    return value


class ServeScorerSettings(Settings):
    """`detoxlm serve-scorer`."""

    scorer: str = Field(
        "perspective-like", description="The scorer that answers, one alone: see `detoxlm scorers`.", min_length=1
    )
    host: str = Field(
        "127.0.0.1", description="Address to listen at; 0.0.0.0 is every one of this machine, for other machines too."
    )
    port: int = Field(8077, ge=0, le=65535, description="Port to listen at; 0: one that is free.")
    api_key_file: Path | None = Field(
        None,
        description="Text file with an API key a line, of which requests must bring one [default: none asked for].",
    )
    cors_origin: Annotated[list[str] | None, BeforeValidator(_parts), AfterValidator(_origins)] = Field(
        None,
        description="Web page that a browser may let ask, like https://example.org; * is every page. Several: repeat "
        "it, or separate with commas [default: none].",
    )
    workers: int = Field(
        1, ge=1, le=256, description="Scorers at work at a time, from 2 on each in a process of its own."
    )
    queue: int = Field(
        1024, ge=1, le=1_000_000, description="Texts that may wait; a request for which there is no room gets a 429."
    )
    max_bytes: int = Field(20_480, ge=1, le=100_000, description="Longest comment, bytes of UTF-8.")
    device: str | None = Field(None, description="cpu, cuda, cuda:1, xpu [default: the accelerator, if any].")


class ServeSettings(ModelOptions):
    """`detoxlm serve`."""

    detoxifier: Annotated[list[str] | None, BeforeValidator(_parts)] = Field(
        None,
        description="Detoxifier folder or Hub id. Several: repeat it, or separate with commas; a request names one as "
        "MODEL:FOLDER, and the first acts where none is named [default: none].",
    )
    strength: float | None = Field(
        None, ge=0, description="Strength of requests that name none; 0 is the untouched model [default: its own]."
    )
    host: str = Field(
        "127.0.0.1", description="Address to listen at; 0.0.0.0 is every one of this machine, for other machines too."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port to listen at; 0: one that is free.")
    api_key_file: Path | None = Field(
        None,
        description="Text file with an API key a line, of which requests must bring one [default: none asked for].",
    )
    max_batch: int = Field(32, ge=1, le=1024, description="Continuations that are written together.")
    max_queue: int = Field(
        256, ge=1, le=100_000, description="Continuations that may wait; a request without room gets a 429."
    )
    page_scorer: str = Field(
        "embedded", description="Scorer of the toxicity that the page shows as texts grow; none: it shows none."
    )
    prefix_tokens: int = Field(
        4096,
        ge=0,
        description="Tokens of ended requests that are kept in memory, so that a conversation that goes on is not read "
        "again; 0 for none.",
    )


class VllmCheckSettings(ModelOptions):
    """`detoxlm vllm-check`."""

    detoxifier: str | None = Field(None, description="Detoxifier folder or Hub id; it must be given.")
    strength: float | None = Field(
        None,
        gt=0,
        description="Strength of a quarter of the prompts; others get half and twice that, or 0 [default: its own].",
    )
    check_prompts: int = Field(32, ge=4, le=10_000, description="How many prompts; a quarter of them is at strength 0.")
    max_new_tokens: int = Field(30, ge=1, le=400, description="Tokens of each continuation.")


class LabelSettings(Settings):
    """`detoxlm label`."""

    output: Path = Field(
        Path("labels.jsonl"), description="The file of labels, without texts; a session goes on where it ends."
    )
    reader: str = Field("reader", min_length=1, description="Whose labels they are; a file has one reader's.")
    page: bool = Field(False, description="Show them in a browser in place of the terminal. Needs `detoxlm[serve]`.")
    port: int = Field(8078, ge=0, le=65535, description="Port of the page, at 127.0.0.1; 0: one that is free.")
    column: str | None = Field(
        None, description="Column of the text [default: text, continuation, answer, comment_text or comment]."
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the order, and of the bootstrap of --agreement.")
    show_scores: bool = Field(
        False, description="Show what a scorer said, where the file has it. A reader who knows it is not independent."
    )
    skip_bad_rows: bool = Field(False, description="Skip unusable rows and count them, instead of stopping.")


class ValidateSettings(Settings):
    """`detoxlm scorers validate`."""

    data: Annotated[list[str] | None, BeforeValidator(_parts)] = Field(
        None,
        description="Labelled texts: jsonl, csv, tsv, parquet or a Hub dataset id; RealToxicityPrompts, toxic/nontoxic "
        "pairs and text with a known label column need no more. Several: repeat it, or separate with commas.",
    )
    labels: Annotated[list[str] | None, BeforeValidator(_parts)] = Field(
        None,
        description="Files of `detoxlm label`: readers' labels of the texts in --data, in place of a column. Texts "
        "that a reader is unsure of, or that readers label differently, are left out and counted.",
    )
    text: str | None = Field(None, description="Column of the text [default: text, comment_text or comment].")
    label: str | None = Field(
        None,
        description="Column of the label or score in [0, 1]; toxic from 0.5 [default: toxicity, label, toxic, "
        "perspective, hateful and target, each that there is].",
    )
    group: str | None = Field(
        None,
        description="Column of identity groups, a list or separated by commas [default: groups, group, identity or "
        "identities; else found in the text].",
    )
    document: str | None = Field(
        None, description="Column of the source document, resampled as a whole [default: filename or document]."
    )
    limit: int | None = Field(None, ge=1, description="Use only N rows of each file, drawn with the seed.")
    seed: int = Field(0, ge=0, lt=2**32, description="Seed of the draw and of the bootstrap.")
    failures: int = Field(20, ge=0, description="Worst false positives and worst false negatives to show of each set.")
    skip_bad_rows: bool = Field(False, description="Skip unusable rows and count them, instead of stopping.")
    skip_missing: bool = Field(False, description="Go on without scorers that cannot be loaded here.")
    output: Path | None = Field(None, description="Folder for validity.json and validity.html [default: none].")
