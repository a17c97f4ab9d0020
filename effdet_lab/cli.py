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
from effdet_lab.run.say import log, told
from effdet_lab.spec import ExperimentSpec

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
                _plan([job.spec], _dated(job.folder, "plan", overrides))
            case "compare":
                _compare(job, overrides)
            case "report":
                _report(job, overrides)
            case "forecast":
                _forecast([job.spec], _dated(job.folder, "forecast", overrides))
            case _:
                run_job(job.spec, _folder(job, overrides))
        return
    jobs = sweep(overrides)
    specs, tasks = [job.spec for job in jobs.jobs], {job.spec.task for job in jobs.jobs}
    for task, tell in (("plan", _plan), ("forecast", _forecast)):
        if tasks == {task}:
            tell(specs, _dated(jobs.folder, task, overrides))
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

    folder = _dated(job.folder, "compare", overrides)
    with left_clean(folder), told(folder, aloud=True):
        compare_runs([Path(run) for run in job.spec.runs], folder)


def _report(job: Job, overrides: Sequence[str]) -> None:
    from effdet_lab.report.scaling import write_scaling_report

    folder = _dated(job.folder, "report", overrides)
    runs = [Path(run).expanduser() for run in job.spec.runs]
    with left_clean(folder), told(folder, aloud=True):
        page = write_scaling_report(runs, folder, job.spec.published)
        log.info(f"Open {page}; its pictures are in {folder / 'figures'}.")


def _forecast(specs: Sequence[ExperimentSpec], folder: Path) -> None:
    from effdet_lab.run.forecast import forecast

    with left_clean(folder), told(folder, aloud=True):
        forecast(specs, folder)


def _dated(folder: Path, what: str, overrides: Sequence[str]) -> Path:
    """The folder that was named, or one beside it that says what it holds and when it was made."""
    if _is_named(overrides):
        return folder
    return folder.with_name(f"{what}_{datetime.now():%Y-%m-%d_%H-%M-%S}")


def _is_named(overrides: Sequence[str]) -> bool:
    return any(text.startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for text in overrides)


def _folder(job: Job, overrides: Sequence[str]) -> Path:
    """Ranks that torchrun starts share the first one's."""
    return (
        job.folder if _is_named(overrides) or not started_outside() else agreed_folder(job.folder, is_first=is_first())
    )


def _leave_with(code: int) -> None:
    if code:
        sys.exit(code)


def _plan(specs: Sequence[ExperimentSpec], folder: Path) -> None:
    with left_clean(folder), told(folder, aloud=True):
        from effdet_lab.run.plan import plan

        misfits = plan(specs, folder)
    if misfits:  # the price list stays, whatever it says
        from effdet_lab.errors import MachineError

        raise MachineError(misfits)


def _ask_hydra() -> None:
    import hydra

    from effdet_lab.settings.compose import config_folder

    os.environ.setdefault("HYDRA_FULL_ERROR", "0")
    hydra.main(config_path=str(config_folder()), config_name="config", version_base="1.3")(lambda config: None)()
