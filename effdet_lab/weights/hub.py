"""Weights to the Hugging Face hub, where others load them by name."""

import os
from pathlib import Path

from effdet_lab.errors import MachineError
from effdet_lab.weights.published import HUB


def without_login() -> bool:
    """Whether nobody is logged in to the hub on this machine."""
    from huggingface_hub import get_token

    return get_token() is None


def push(folder: Path, repository: str, files: list[str]) -> str:
    """Makes OWNER/NAME where it is new, uploads the named files of a folder in one commit; its address.

    Raises: MachineError where nobody is logged in, the hub is out of reach, or it refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files, commit_message="Upload weights")
    except (HfHubHTTPError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MachineError(
            f"export.hub={repository}: the hub did not take it ({reason}). The files are in {folder}; "
            "hf auth login, then try again."
        ) from None
    return f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{repository}, loaded as {HUB}{repository}"
