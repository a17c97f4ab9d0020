"""Which GPUs nobody uses."""

import os
import shutil
import subprocess

QUERY = ("--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits")
BUSY = 0.1  # of the memory: a GPU that holds more belongs to somebody


def free_gpus() -> list[str]:
    """By the driver's own numbers: those of CUDA_VISIBLE_DEVICES, or all, that hold next to nothing."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    allowed = [device.strip() for device in visible.split(",") if device.strip()] if visible is not None else None
    used = memory_shares()
    if allowed is None:
        return [device for device, share in used.items() if share <= BUSY]
    return [device for device in allowed if used.get(device, 0.0) <= BUSY]


def memory_shares() -> dict[str, float]:
    """How full each GPU is; empty where the driver's tool is absent."""
    if shutil.which("nvidia-smi") is None:
        return {}
    answer = subprocess.run(["nvidia-smi", *QUERY], capture_output=True, text=True, check=False)
    shares = {}
    for line in answer.stdout.splitlines():
        index, used, total = (part.strip() for part in line.split(","))
        shares[index] = float(used) / float(total)
    return shares
