"""Weights on the Hugging Face hub, timm's by name and anybody's by repository: from the cache, or the network."""

import difflib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlparse

from effdet_lab.errors import DataError

TIMM, HUB = "timm:", "hub:"  # before a name
WEIGHTS, CONFIG = "model.safetensors", "config.json"
Config = Mapping[str, Any]


class Published(NamedTuple):
    """A weight file on this machine, what it is called, and timm's description of it where there is one."""

    path: Path
    name: str
    config: Config


def is_published(source: str) -> bool:
    """Whether a source names weights of the hub rather than a file."""
    return source.startswith((TIMM, HUB))


def fetch(source: str) -> Published:
    """The file behind timm:NAME, such as timm:tf_efficientnet_b0.ns_jft_in1k, or behind hub:OWNER/NAME[@REVISION].

    Raises: DataError for an unknown name, and without network where the file was never fetched.
    """
    if source.startswith(TIMM):
        name = source.removeprefix(TIMM)
        config = _timm_config(name)
        return Published(_download(source, config["hf_hub_id"], None, WEIGHTS), name, {"pretrained_cfg": config})
    repository, _, revision = source.removeprefix(HUB).partition("@")
    path = _download(source, repository, revision or None, WEIGHTS)
    try:
        config = read_config(_download(source, repository, revision or None, CONFIG))
    except DataError:
        config = {}  # ours say it all in the header of their weights
    return Published(path, config.get("architecture", repository), config)


def read_config(path: Path) -> dict[str, Any]:
    """timm's config.json; empty where there is none, or another kind of file of that name."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _download(source: str, repository: str, revision: str | None, file: str) -> Path:
    from huggingface_hub import hf_hub_download  # a fifth of a second, which most commands need not spend
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file, revision=revision, local_files_only=not _network()))
    except HFValidationError:
        raise DataError(f"{source}: a hub's name is OWNER/NAME. Write {HUB}OWNER/NAME.") from None
    except (LocalEntryNotFoundError, EntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise DataError(
            f"{source}: {file} of {repository} is not on this machine and could not be fetched "
            f"({type(error).__name__}). Fetch it elsewhere and give init=FILE, or start from random weights "
            "with init=null."
        ) from None


def _timm_config(name: str) -> dict[str, Any]:
    import timm  # takes seconds

    published = timm.list_pretrained()
    known = name in published or name in {architecture.split(".")[0] for architecture in published}
    config = timm.get_pretrained_cfg(name) if known else None
    if config is None or not config.hf_hub_id:
        close = difflib.get_close_matches(name, published, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "timm.list_pretrained() prints the names."
        raise DataError(f"{TIMM}{name}: timm publishes no such weights. {hint}")
    return config.to_dict()


def _network() -> bool:
    """Asked first, because a download without network is tried for the better part of a minute."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return False
    host = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
