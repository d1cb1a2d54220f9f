"""Prompts told back with their log-probabilities: against one pass of the model that the detoxifier is attached to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from devices import as_row

PROMPT = "the old bridge by the river"


def expected(target: Any, detoxifier: Any, strength: float) -> tuple[list[int], torch.Tensor]:
    """The prompt's tokens, and what the model says before each but the first: log-probabilities [T - 1, V]."""
    ids = target.tokenizer(PROMPT)["input_ids"]
    with torch.inference_mode(), detoxifier.attached(target.model, strength):
        return ids, target.model(as_row(target, ids)).logits[0, :-1].log_softmax(-1)


@pytest.mark.parametrize("strength", [0.0, 2.0])
@pytest.mark.parametrize("max_tokens", [0, 6])
def test_log_probabilities_of_a_prompt_are_those_of_one_pass(
    strength: float, max_tokens: int, serve_model: Any, fusion: Any
) -> None:
    ids, said = expected(*fusion, strength)
    body = {"prompt": PROMPT, "temperature": 0, "logprobs": 2, "detoxlm": {"strength": strength}}
    server = serve_model()
    found = server.ask(**body, echo=True, max_tokens=max_tokens).json()
    told = found["choices"][0]["logprobs"]
    assert told["tokens"][: len(ids)] == [fusion[0].tokenizer.decode([token]) for token in ids]
    assert told["token_logprobs"][0] is None and told["top_logprobs"][0] is None
    for place, (token, logprobs) in enumerate(zip(ids[1:], said, strict=True), 1):
        assert told["token_logprobs"][place] == pytest.approx(float(logprobs[token]), abs=1e-4)
        assert max(told["top_logprobs"][place].values()) == pytest.approx(float(logprobs.max()), abs=1e-4)
    assert found["usage"] == {
        "prompt_tokens": len(ids),
        "completion_tokens": max_tokens,
        "total_tokens": len(ids) + max_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    written = (
        server.ask(**body, max_tokens=6).json()["choices"][0] if max_tokens else {"text": "", "finish_reason": "length"}
    )
    assert found["choices"][0]["text"] == PROMPT + written["text"]
    assert found["choices"][0]["finish_reason"] == written["finish_reason"]
    assert "detoxlm_unfused_tokens_total 0\n" in server.client.get("/metrics").text


def test_an_echo_changes_nothing_that_is_drawn_and_streams_in_parts(serve_model: Any) -> None:
    server = serve_model()
    body = {"prompt": [PROMPT, "we walked"], "max_tokens": 8, "seed": 3, "n": 2, "stop": ["e"]}
    plain = server.ask(**body).json()["choices"]
    for logprobs in ({}, {"logprobs": 1}):
        found = server.ask(**body, **logprobs, echo=True).json()
        prompts = [PROMPT, PROMPT, "we walked", "we walked"]
        assert [one["text"] for one in found["choices"]] == [
            prompt + one["text"] for prompt, one in zip(prompts, plain, strict=True)
        ]
        lines = server.ask(**body, **logprobs, echo=True, stream=True, stream_options={"include_usage": True}).text
        parts = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: {")]
        assert parts[-1]["usage"] == found["usage"]
        for choice in found["choices"]:
            own = [one for part in parts for one in part["choices"] if one["index"] == choice["index"]]
            assert "".join(one["text"] for one in own) == choice["text"]
            if logprobs:
                offsets = [offset for one in own for offset in one["logprobs"]["text_offset"]]
                assert offsets == choice["logprobs"]["text_offset"]


@pytest.mark.more
def test_lm_eval_reads_log_likelihoods_through_it(serve_model: Any, fusion: Any, tmp_path: Path) -> None:
    """The real lm-eval, with a task of its own, against sums of log-probabilities from one pass."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    target, detoxifier = fusion
    target.tokenizer.save_pretrained(tmp_path / "tokenizer")
    rows = [{"begin": "the old", "ends": [" bridge", " river"]}, {"begin": "we walked", "ends": [" by the", " old"]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tiny.yaml").write_text(
        f"task: tiny\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {tmp_path / 'rows.jsonl'}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{begin}}'\ntarget_delimiter: ''\n"
        "doc_to_choice: ends\ndoc_to_target: 0\nmetric_list:\n  - metric: acc\n"
    )
    server = serve_model()
    arguments = (
        f"model=tiny:fusion,base_url={server.url}/v1/completions,tokenizer={tmp_path / 'tokenizer'},max_length=120"
    )
    command = [sys.executable, "-m", "lm_eval", "--model", "local-completions", "--model_args", arguments]
    command += ["--tasks", "tiny", "--include_path", str(tmp_path), "--log_samples", "-o", str(tmp_path / "out")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
    (samples,) = (tmp_path / "out").rglob("samples_*.jsonl")
    found = sorted((json.loads(line) for line in samples.read_text().splitlines()), key=lambda one: one["doc_id"])
    for row, one in zip(rows, found, strict=True):
        for end, (said, greedy) in zip(row["ends"], one["filtered_resps"], strict=True):
            begin, whole = (target.tokenizer(text)["input_ids"] for text in (row["begin"], str(row["begin"]) + end))
            with torch.inference_mode(), detoxifier.attached(target.model, detoxifier.default_strength):
                logits = target.model(as_row(target, whole)).logits[0, :-1].log_softmax(-1)[len(begin) - 1 :]
            wanted = [float(line[token]) for line, token in zip(logits, whole[len(begin) :], strict=True)]
            assert float(said) == pytest.approx(sum(wanted), abs=1e-3)
            likeliest = logits.argmax(-1).tolist()
            assert str(greedy) == str(likeliest == whole[len(begin) :])
