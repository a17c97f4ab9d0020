"""A search in W&B's own words: its server chooses, and `wandb agent` runs each trial as a single run of ours.

A trial is `python run.py SHARED CHOSEN`. It lives in a folder named after its W&B run, beside the definition, and
is neither retried nor given less work when memory is short, as the jobs of our own searches are. The server draws
by itself: `search.seed` does not reach it.

A run that falls behind is ended by W&B in the middle of an epoch: its agent sends SIGTERM, and SIGKILL half a minute
later where that did not help, or the library interrupts the run from inside, as Ctrl+C does; whichever comes first.
The folder keeps metrics.csv and the checkpoints of the epochs that had ended. It has no metrics.json, pictures or
report, and outcome.json tells of an error or an interruption, or is absent. Our own searches let the epoch end.

Source: docs.wandb.ai/models/sweeps/sweep-config-keys and the package `sweeps`, which is W&B's search itself.
"""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from effdet_lab.errors import ConfigError, MachineError
from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweep_spec import Dimension, SearchSpec
from effdet_lab.tracking.describe import main_metric
from effdet_lab.tracking.weights_and_biases import default_entity, wandb_mode

log = logging.getLogger(__name__)

FILE = "wandb_sweep.yaml"
METHODS = {"random": "random", "grid": "grid", "tpe": "bayes"}
# Successive halving, a third going on each time: what our asha does. W&B's knows no brackets, so that our hyperband
# is the same there. `strict` weighs the epoch of the rung, and not the best one before it.
HALVING = {"eta": 3, "strict": True}


def hand_over(spec: ExperimentSpec, search: SearchSpec, folder: Path, program: str = "run.py") -> list[str]:
    """Writes the definition, creates the sweep where a key allows it, and tells which commands go on.

    `spec` is the experiment that all trials share, `folder` the sweep's.

    Raises: ConfigError for what W&B cannot do; nothing is written then.
    """
    if spec.logger.name != "wandb":
        raise ConfigError(
            f"logger={spec.logger.name}: W&B's search learns from what is logged there. Use logger=wandb."
        )
    online = wandb_mode(spec) == "online"
    definition = sweep_definition(search, spec.overrides, main_metric(spec), spec.logger.project, folder, program)
    file = write_definition(folder, definition)
    if online:
        try:
            number = create_sweep(definition)
        except MachineError as error:
            log.warning("%s", *error.problems)
        else:
            path = "/".join(filter(None, (default_entity(), spec.logger.project, number)))
            return [f"Start as many agents as you like, here: wandb agent {shlex.quote(path)}"]
    return [
        f"Create the sweep: wandb sweep {shlex.quote(str(file))}",
        f"Start as many agents as you like, here: wandb agent ENTITY/{spec.logger.project}/ID (it prints this)",
    ]


def sweep_definition(
    search: SearchSpec, base: Sequence[str], metric: str, project: str, folder: Path, program: str = "run.py"
) -> dict[str, Any]:
    """What `wandb sweep` reads: `base` is what all trials share, `metric` counts where the search names none.

    A metric has the name of its curve, of which W&B takes the best value; that of its summary, as in `val/map.max`,
    stands in no row of the history, and nothing would ever fall behind.

    Raises: ConfigError for what W&B cannot do.
    """
    problems = _problems(search)
    if problems:
        raise ConfigError(problems)
    definition = {
        "name": folder.name,
        "project": project,
        "program": program,
        "method": METHODS[search.name],
        "metric": {"name": search.metric or metric, "goal": "maximize"},
        "parameters": {dimension.setting: parameter(dimension) for dimension in search.space},
        "run_cap": search.trials,
        "command": ["${env}", "${interpreter}", "${program}", *_shared(base, folder), "${args_no_hyphens}"],
    }
    return (
        definition
        if search.prune == "none"
        else definition | {"early_terminate": {"type": "hyperband", "min_iter": search.min_epochs, **HALVING}}
    )


def parameter(dimension: Dimension) -> dict[str, Any]:
    """W&B's word for a dimension.

    Steps other than one are written out, and W&B keeps their order: its `q_uniform` rounds to multiples of the step
    wherever they start, draws the ends half as often, and leaves the last one out of a grid.
    """
    if dimension.choices:
        return {"values": list(dimension.choices)}
    if dimension.is_whole and dimension.step == 1:
        return {"distribution": "int_uniform", "min": int(dimension.low), "max": int(dimension.high)}
    if dimension.step:
        return {"values": _steps(dimension)}
    kind = "log_uniform_values" if dimension.log else "uniform"
    return {"distribution": kind, "min": float(dimension.low), "max": float(dimension.high)}


def write_definition(folder: Path, definition: dict[str, Any]) -> Path:
    """wandb_sweep.yaml, for `wandb sweep`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    file.write_text(yaml.safe_dump(definition, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def create_sweep(definition: dict[str, Any]) -> str:
    """Puts it on the server; the sweep's id. Needs a key.

    Raises: MachineError where the server does not answer, or refuses.
    """
    import wandb

    try:
        return wandb.sweep(definition, project=definition["project"])
    except Exception as error:  # of many kinds, some of them private
        raise MachineError(f"W&B created no sweep ({str(error).strip() or type(error).__name__}).") from None


def _problems(search: SearchSpec) -> list[str]:
    problems = []
    if search.name not in METHODS:
        problems.append(
            f"search={search.name}: W&B has no such search. Nearest: search=tpe, which becomes its Bayesian one; "
            "or leave search.agent out."
        )
    if search.prune == "median":
        problems.append(
            "search.prune=median: W&B ends runs by successive halving alone. Use search.prune=asha or none."
        )
    if search.storage:
        problems.append("search.storage: W&B remembers the trials itself. Use search.storage=null.")
    if search.warm_start:
        problems.append(
            "search.warm_start: W&B knows no folders. Use search.warm_start=[], and name earlier W&B runs with "
            "`wandb sweep --prior_run ID`."
        )
    return problems


def _shared(base: Sequence[str], folder: Path) -> list[str]:
    """A folder for each trial, and all of them in one group. Whether a trial logs online is its agent's matter."""
    shared = [text for text in base if not text.startswith("logger.mode=")]
    if not any(text.startswith("logger.group=") for text in shared):
        shared.append(f"logger.group={_quoted(folder.name)}")
    return [*shared, "hydra.run.dir=" + _quoted(f"{folder}/${{oc.env:WANDB_RUN_ID}}")]


def _quoted(text: str) -> str:
    """As Hydra reads a string with any character in it."""
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def _steps(dimension: Dimension) -> list[float] | list[int]:
    count = int((dimension.high - dimension.low) / dimension.step + 1e-9) + 1
    values = [float(f"{dimension.low + index * dimension.step:.12g}") for index in range(count)]
    return [int(value) for value in values] if dimension.is_whole else values
