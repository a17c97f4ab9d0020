"""Weights that timm publishes, from its cache on this machine or from the network."""

import difflib
import os
import socket
from pathlib import Path
from urllib.parse import urlparse

import timm
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from torch import Tensor

from effdet_lab.errors import DataError
from effdet_lab.weights.files import TIMM, read_file

FILE = "model.safetensors"


def read_timm(name: str) -> dict[str, Tensor]:
    """The published weights of a timm model, such as tf_efficientnet_b0.ns_jft_in1k.

    Raises: DataError for an unknown name, and without network where the file was never fetched.
    """
    hub = _hub_name(name)
    try:
        path = hf_hub_download(hub, FILE, local_files_only=not _network())
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise DataError(
            f"{TIMM}{name}: {hub} is not on this machine and could not be fetched ({type(error).__name__}). "
            f"Fetch its {FILE} elsewhere and give init=FILE, or start from random weights with init=null."
        ) from None
    return read_file(Path(path))


def _hub_name(name: str) -> str:
    published = timm.list_pretrained()
    config = timm.get_pretrained_cfg(name) if name in published or name in map(_architecture, published) else None
    if config is None or not config.hf_hub_id:
        close = difflib.get_close_matches(name, published, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "timm.list_pretrained() prints the names."
        raise DataError(f"{TIMM}{name}: timm publishes no such weights. {hint}")
    return config.hf_hub_id


def _architecture(name: str) -> str:
    return name.split(".")[0]


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
