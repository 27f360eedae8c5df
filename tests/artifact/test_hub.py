"""Against a stand-in for the hub: what is sent, not whether the real one takes it."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.utils._paths import filter_repo_objects

from lit_mtl.artifact.hub import push_to_hub
from lit_mtl.errors import LitMTLError, StorageError


class Hub:
    """Keeps what it is given, with the filter of `huggingface_hub`."""

    def __init__(self) -> None:
        self.repositories: dict[str, Any] = {}

    def create_repo(self, name: str, *, private: bool, exist_ok: bool) -> None:
        self.repositories[name] = private

    def upload_folder(self, *, repo_id: str, folder_path: str, allow_patterns: list[str]) -> object:
        found = (
            path.relative_to(folder_path).as_posix() for path in Path(folder_path).rglob("*.*")
        )
        self.sent = sorted(filter_repo_objects(found, allow_patterns=allow_patterns))
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}")


def test_the_files_of_the_export_are_sent_and_no_others(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "it")
    (folder / "token.txt").write_text("secret")
    hub = Hub()
    assert push_to_hub(folder, "me/it", api=hub) == "https://hub/me/it"
    assert hub.repositories == {"me/it": True}, "private unless asked otherwise"
    files = [path.relative_to(exported).as_posix() for path in exported.rglob("*.*")]
    assert hub.sent == sorted(files)


def test_a_damaged_folder_is_not_sent(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "it")
    (folder / "tasks.json").write_text("{}")
    hub = Hub()
    with pytest.raises(StorageError):
        push_to_hub(folder, "me/it", api=hub)
    assert not hub.repositories


def test_without_a_network_the_message_is_one_line(exported: Path) -> None:
    with pytest.raises(LitMTLError, match="me/it: could not be uploaded") as caught:
        push_to_hub(exported, "me/it", api=HfApi(endpoint="http://127.0.0.1:9"))
    assert "\n" not in str(caught.value)
