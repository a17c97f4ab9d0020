"""What only this machine can tell: whether files and devices are there. Looked at before torch is imported."""

import glob
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from effdet_lab.data.places import PICTURE_SUFFIXES, locate, splits_of
from effdet_lab.errors import MachineError, Refusal
from effdet_lab.run.folder import read_spec, run_folder_of
from effdet_lab.run.ranks import started_outside
from effdet_lab.settings.judge import did_you_mean
from effdet_lab.spec import ExperimentSpec
from effdet_lab.weights.header import SUFFIX, read_shapes
from effdet_lab.weights.hub import without_login
from effdet_lab.weights.identity import difference, identify, identity_of
from effdet_lab.weights.published import is_published

GPU_DEVICES = ("/dev/nvidia[0-9]*", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, and either under WSL


def check_machine(spec: ExperimentSpec, elsewhere: bool = False) -> None:
    """Files first, then devices, which are another machine's business where the job runs `elsewhere`.

    Raises: MachineError with everything that is not there.
    """
    problems = [*_file_problems(spec), *_data_problems(spec), *([] if elsewhere else _device_problems(spec))]
    if problems:
        raise MachineError(problems)


def pictures_of(named: str) -> list[str]:
    """The picture files of a folder, a glob, or one file."""
    path = Path(named)
    if path.is_dir():
        return sorted(str(child) for child in path.iterdir() if child.suffix.lower() in PICTURE_SUFFIXES)
    return sorted(name for name in glob.glob(named, recursive=True) if Path(name).is_file())


def missing(setting: str, value: str, what: str = "no such file or folder") -> str:
    """The sentence for a path that is not there, with its nearest neighbour."""
    path = Path(value).expanduser()
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        parent = parent.parent
    neighbours = [str(parent / name) for name in sorted(os.listdir(parent))] if parent.is_dir() else []
    return f"{setting}={value}: {what}.{did_you_mean(str(parent / path.name), neighbours)}"


def _file_problems(spec: ExperimentSpec) -> list[str]:
    named = {
        "checkpoint": "" if is_published(spec.checkpoint) else spec.checkpoint,
        "init": "" if is_published(spec.init) else spec.init,
        "predictions": spec.predictions,
        "data.annotations": spec.annotations if spec.predictions else "",
    }
    problems = [missing(setting, value) for setting, value in named.items() if value and not _is_there(value)]
    if not problems:
        problems += [f"{name}={getattr(spec, name)}: {problem}" for name, problem in _other_networks(spec)]
    if spec.task == "export" and spec.export.hub and without_login():
        problems.append(f"export.hub={spec.export.hub}: nobody is logged in to the hub here. Type hf auth login first.")
    if (spec.task == "predict" or (spec.task == "verify" and spec.input)) and not pictures_of(spec.input):
        problems.append(missing("input", spec.input, "no picture there"))
    return problems


def _is_there(value: str) -> bool:
    """A file, a folder, or the common beginning of a TensorFlow checkpoint's files."""
    path = Path(value).expanduser()
    return path.exists() or path.with_name(f"{path.name}.index").exists()


def _other_networks(spec: ExperimentSpec) -> Iterator[tuple[str, str]]:
    """Weights that can be seen to belong to another network without reading them."""
    wanted = identity_of(spec.model)
    for name in ("checkpoint", "init"):
        path = Path(getattr(spec, name) or ".")
        found = None
        if path.suffix == SUFFIX and path.is_file():
            found = identify(read_shapes(path))
        elif getattr(spec, name) and (run := run_folder_of(path)) is not None:
            found = identity_of(read_spec(run).model)
        problem = difference(found, wanted) if found and wanted else ""
        if problem:
            yield name, problem[0].lower() + problem[1:]


def _data_problems(spec: ExperimentSpec) -> list[str]:
    reads_data = spec.task in ("train", "evaluate") or (spec.task == "plan" and spec.data.root)
    if not reads_data or spec.predictions:
        return []
    try:
        locate(spec.data, splits_of(spec))
    except Refusal as refusal:
        return list(refusal.problems)
    return []


def _device_problems(spec: ExperimentSpec) -> list[str]:
    if spec.task not in ("train", "evaluate", "predict"):
        return []
    nodes = spec.trainer.num_nodes
    if nodes > 1 and not started_outside():
        return [
            f"trainer.num_nodes={nodes}: the other machines must be started too, by torchrun or Slurm. Use them, "
            "or trainer.num_nodes=1."
        ]
    wanted = spec.trainer.gpus
    present = _count_gpus() if wanted else 0
    if wanted <= present:
        return []
    right = f"trainer.gpus={present} or 0" if present else "trainer.gpus=0"
    return [f"trainer.gpus={wanted}: this machine has {present} CUDA devices. Use {right}."]


def _count_gpus() -> int:
    if sys.platform == "linux" and not any(glob.glob(pattern) for pattern in GPU_DEVICES):
        return 0  # no driver, no device: torch need not be asked
    import torch

    return torch.cuda.device_count()
