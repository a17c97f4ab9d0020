"""The command: settings are judged before torch is imported, then each task goes its way."""

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from effdet_lab.run.job import exit_code, left_clean, run_job
from effdet_lab.run.jobs import Job, is_search, search, single, spec_of, sweep, sweep_folder
from effdet_lab.run.outside import agreed_folder
from effdet_lab.run.ranks import is_first, started_outside
from effdet_lab.run.say import told

MULTIRUN = ("-m", "--multirun")
RESUME = "sweep=resume"
# Hydra answers these itself, and nothing is run.
QUESTIONS = (
    *("--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "-i"),
    *("--shell-completion", "-sc"),
)


def main() -> None:
    """python run.py, and the console script effdet-lab."""
    arguments = sys.argv[1:]
    if any(argument.partition("=")[0] in QUESTIONS for argument in arguments):
        _ask_hydra()
    else:
        sys.exit(exit_code(lambda: _obey(arguments)))


def _obey(arguments: Sequence[str]) -> None:
    overrides = [argument for argument in arguments if argument not in MULTIRUN]
    unknown = [argument for argument in overrides if argument.startswith("-")]
    if unknown:
        from effdet_lab.errors import ConfigError

        raise ConfigError([f"{flag}: no such flag. There are -m, --help, --cfg job and --info." for flag in unknown])
    if any(text == RESUME for text in overrides):
        from effdet_lab.sweeps.command import resume_sweep

        _leave_with(resume_sweep(overrides))
        return
    if is_search(overrides):
        _search(overrides)
        return
    if len(overrides) == len(arguments):
        job = single(overrides)
        match job.spec.task:
            case "dashboard":
                from effdet_lab.tracking.dashboard import show_dashboard

                show_dashboard(job.spec, job.folder.parent)
            case "status":
                from effdet_lab.sweeps.command import show_status

                show_status(sweep_folder(overrides))
            case "plan":
                _plan([job.spec])
            case "compare":
                _compare(job, overrides)
            case _:
                run_job(job.spec, _folder(job, overrides))
        return
    jobs = sweep(overrides)
    if all(job.spec.task == "plan" for job in jobs.jobs):
        _plan([job.spec for job in jobs.jobs])
        return
    from effdet_lab.sweeps.command import run_sweep

    _leave_with(run_sweep(jobs, overrides))


def _search(overrides: Sequence[str]) -> None:
    """Here, or by W&B's server and its agents."""
    searched = search(overrides)
    if searched.spec.search.agent == "wandb":
        from effdet_lab.tracking.agent import hand_over

        shared = spec_of(searched.base, {})
        print("\n".join(hand_over(shared, searched.spec.search, searched.folder, program=sys.argv[0])))
        return
    from effdet_lab.sweeps.command import run_search

    _leave_with(run_search(searched, overrides))


def _compare(job: Job, overrides: Sequence[str]) -> None:
    from effdet_lab.run.compare import compare_runs

    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = job.folder if _is_named(overrides) else job.folder.with_name(f"compare_{now}")
    with left_clean(folder), told(folder, aloud=True):
        compare_runs([Path(run) for run in job.spec.runs], folder)


def _is_named(overrides: Sequence[str]) -> bool:
    return any(text.startswith("hydra.run.dir=") for text in overrides)


def _folder(job: Job, overrides: Sequence[str]) -> Path:
    """Ranks that torchrun starts share the first one's."""
    return (
        job.folder if _is_named(overrides) or not started_outside() else agreed_folder(job.folder, is_first=is_first())
    )


def _leave_with(code: int) -> None:
    if code:
        sys.exit(code)


def _plan(specs: list) -> None:
    from effdet_lab.run.plan import plan

    plan(specs)


def _ask_hydra() -> None:
    import hydra

    from effdet_lab.settings.compose import config_folder

    os.environ.setdefault("HYDRA_FULL_ERROR", "0")
    hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(lambda config: None)()
