"""Detoxifiers on the Hub: what is uploaded comes back the same, and what the Hub refuses is said in a line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from devices import DEVICE, encoded
from huggingface_hub.utils import filter_repo_objects

from detoxlm.data import Pair
from detoxlm.errors import DetoxError, UsageError
from detoxlm.methods import Detoxifier, FitData
from detoxlm.methods.editing.subspace import Subspace, SubspaceDetoxifier, SubspaceSettings
from detoxlm.models import Target, load_target

PAIRS = [Pair(f"eeee {word} e{i}", f"good {word} {i}", "the old") for i, word in enumerate(["sea", "hill", "road"] * 4)]


def fitted(target: Target) -> SubspaceDetoxifier:
    return Subspace.fit(target, FitData(pairs=PAIRS), SubspaceSettings(variant="paper", rank=2))


def names_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def lie_about(folder: Path, *names: str) -> None:
    """Put files there that are nobody's business."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A Hub that is a folder; what it was asked for is noted."""
    asked: dict[str, Any] = {"folder": tmp_path / "hub"}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            asked["token"] = token

        def create_repo(self, repo: str, *, private: bool, exist_ok: bool) -> str:
            if repo.count("/") != 1:
                raise ValueError(f"401: not yours: {repo}\nand a long story")
            asked["private"] = private
            (asked["folder"] / repo).mkdir(parents=True, exist_ok=exist_ok)
            return f"https://hub/{repo}"

        def list_repo_files(self, repo: str) -> list[str]:
            return sorted(names_in(asked["folder"] / repo))

        def upload_folder(
            self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], delete_patterns: list[str]
        ) -> None:
            """Delete and take files as the client does: by its own patterns, of paths in repository and folder."""
            for name in filter_repo_objects(names_in(asked["folder"] / repo_id), allow_patterns=delete_patterns):
                (asked["folder"] / repo_id / name).unlink()
            for name in filter_repo_objects(names_in(folder_path), allow_patterns=allow_patterns):
                (asked["folder"] / repo_id / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder_path / name, asked["folder"] / repo_id / name)

    def snapshot_download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        if not (asked["folder"] / repo).is_dir():
            raise FileNotFoundError("404: no such repository\nand a long story")
        return str(asked["folder"] / repo)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_what_is_pushed_is_what_is_pulled(tiny: Callable[..., Target], hub: dict[str, Any], tmp_path: Path) -> None:
    target = tiny()
    detoxifier = fitted(target)
    detoxifier.files = {"own": '{"a": 1}'}
    detoxifier.save_pretrained(tmp_path / "saved")
    lie_about(tmp_path / "saved", "notes.pkl", "results.json", "checkpoint-500/trainer_state.json")
    assert detoxifier.push_to_hub("me/edit", token="secret") == "https://hub/me/edit"
    assert hub["private"] is True
    assert hub["token"] == "secret"
    assert names_in(hub["folder"] / "me/edit") == {"detoxifier.json", "model.safetensors", "README.md", "own.json"}
    pulled = Detoxifier.from_pretrained("me/edit")
    assert pulled.files == detoxifier.files
    ids = encoded(target, "the weather")["input_ids"]
    found = []
    for one in (detoxifier, pulled):
        with one.attached(target.model), torch.inference_mode():
            found.append(target.model(ids).logits)
    assert torch.equal(*found)


def test_the_command_pushes_a_folder_for_all_to_see_only_if_told_to(
    tiny: Callable[..., Target],
    hub: dict[str, Any],
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitted(tiny()).save_pretrained(tmp_path / "saved")
    for flags, private in (([], True), (["--public"], False)):
        run_cli(["push", str(tmp_path / "saved"), "me/edit", *flags])
        assert "Pushed: https://hub/me/edit" in capsys.readouterr().out
        assert hub["private"] is private


def test_a_model_that_is_not_ours_is_not_replaced(
    tiny: Callable[..., Target], hub: dict[str, Any], tmp_path: Path
) -> None:
    theirs = hub["folder"] / "me/my-llama"
    theirs.mkdir(parents=True)
    lie_about(theirs, "config.json", "model.safetensors", "tokenizer.json")
    detoxifier = fitted(tiny())
    detoxifier.save_pretrained(tmp_path / "saved")
    with pytest.raises(UsageError, match=r"push: 'me/my-llama' holds a model that DetoxLM has not written; choose"):
        detoxifier.push_to_hub("me/my-llama")
    assert names_in(theirs) == {"config.json", "model.safetensors", "tokenizer.json"}


def test_refusals_are_one_line_with_the_fix(tiny: Callable[..., Target], hub: dict[str, Any], tmp_path: Path) -> None:
    detoxifier = fitted(tiny())
    with pytest.raises(UsageError, match=r"save_pretrained\(folder\) first"):
        detoxifier.push_to_hub("me/edit")
    detoxifier.save_pretrained(tmp_path / "saved")
    with pytest.raises(UsageError, match=r"did not take 'mine': 401: not yours: mine\. .* set HF_TOKEN") as caught:
        detoxifier.push_to_hub("mine")
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=r"revision: .*saved is a folder, and revisions are of the Hub; leave it out"):
        Detoxifier.from_pretrained(tmp_path / "saved", "v2")
    with pytest.raises(DetoxError, match=r"the Hub says: 404: no such repository$"):
        Detoxifier.from_pretrained("me/nothing")


def test_a_checkpoint_and_an_adapter_are_pushed_with_their_cards_and_load_from_there(
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    hub: dict[str, Any],
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, saved = str(tiny_folder("llama")), str(tmp_path / "saved")
    fitted(tiny()).save_pretrained(saved)
    for form in ("checkpoint", "adapter"):
        folder = tmp_path / form
        run_cli(["export", model, saved, "--form", form, "-o", str(folder)])
        lie_about(folder, "additional_chat_templates/rag.jinja")  # transformers writes named templates there
        made = names_in(folder)
        lie_about(folder, "training_args.bin", "results.json", "checkpoint-500/trainer_state.json", "runs/config.json")
        run_cli(["push", str(folder), f"me/{form}"])
        there = hub["folder"] / "me" / form
        assert names_in(there) == made
        assert "# " in (there / "README.md").read_text() and hub["private"] is True
    assert f"names its base as a folder of this machine, {model}: write the Hub id" in caplog.text
    loaded = load_target(str(hub["folder"] / "me" / "checkpoint"), device=DEVICE, dtype="float32")
    ids = encoded(loaded, "the weather")["input_ids"]
    target = tiny()
    with fitted(target).attached(target.model), torch.inference_mode():
        torch.testing.assert_close(target.model(ids).logits, loaded.model(ids).logits)


def test_what_is_pushed_over_another_kind_takes_its_place(
    tiny: Callable[..., Target],
    tiny_folder: Callable[..., Path],
    hub: dict[str, Any],
    run_cli: Callable[[list[str]], None],
    tmp_path: Path,
) -> None:
    model, there = str(tiny_folder("llama")), hub["folder"] / "me" / "one"
    fitted(tiny()).save_pretrained(tmp_path / "detoxifier")
    for form in ("adapter", "checkpoint"):
        run_cli(["export", model, str(tmp_path / "detoxifier"), "--form", form, "-o", str(tmp_path / form)])
    there.mkdir(parents=True)
    old = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    lie_about(there, "evaluation.json", "figures/config.json", ".gitattributes", "model.safetensors.index.json", *old)
    for kind in ("adapter", "detoxifier", "checkpoint", "adapter"):
        run_cli(["push", str(tmp_path / kind), "me/one"])
        others = {"evaluation.json", "figures/config.json", ".gitattributes"}
        assert names_in(there) == names_in(tmp_path / kind) | others, kind


def test_what_is_nothing_of_ours_is_not_pushed(hub: dict[str, Any], call: Callable[..., Any], tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "detoxlm.json").write_text("{}")
    for folder, said in (
        (tmp_path / "none", "is no folder; `detoxlm fit"),
        (tmp_path, "has none of detoxifier.json, detoxlm.json and adapter_config.json; `detoxlm export` writes one"),
        (run, f"adapter_config.json; name {run / 'model'}."),
        (run / "model", "lacks its weights (*.safetensors) or its card (README.md)"),
    ):
        code, _, error = call("push", folder, "me/it")
        assert code == 2 and said in error
    assert not hub["folder"].exists()
