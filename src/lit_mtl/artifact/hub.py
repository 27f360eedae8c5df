"""Puts an exported folder on the model hub."""

from pathlib import Path
from typing import Any

from lit_mtl.artifact.folder import CARD, MANIFEST, verify_folder
from lit_mtl.errors import LitMTLError


def push_to_hub(folder: Path, repository: str, *, private: bool = True, api: Any = None) -> str:
    """Upload the files of an exported folder, and no others, in one commit.

    Args:
        folder: an export; it is verified first.
        repository: `owner/name`; it is made if it does not exist.
        private: whether a new repository is private.
        api: a `huggingface_hub.HfApi`. None: one with the token that the user has logged in with.

    Returns:
        Where it is now.

    Raises:
        StorageError: if the folder is damaged.
        LitMTLError: if the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    files = [*verify_folder(folder)["files"], MANIFEST, CARD]
    hub = api or HfApi()
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository, folder_path=str(folder), allow_patterns=files
        )
    except Exception as error:  # among them the types of whichever HTTP library the client uses
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise LitMTLError(f"{repository}: could not be uploaded ({reason[0]})") from error
    return str(getattr(commit, "commit_url", commit))
