"""One job in its folder. `python -m effdet_lab.run.job FOLDER` runs the experiment that FOLDER/spec.yaml holds."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from effdet_lab.errors import Refusal
from effdet_lab.run.folder import read_spec, write_spec
from effdet_lab.run.kin import die_with_parent
from effdet_lab.run.memory import keep_freed_memory
from effdet_lab.run.outcome import recorded, was_terminated
from effdet_lab.run.outside import announce, wait_for_first
from effdet_lab.run.ranks import is_first, ranks, started_outside
from effdet_lab.run.say import told
from effdet_lab.spec import ExperimentSpec

DONE, REFUSED, INTERRUPTED, TERMINATED = 0, 2, 130, 143
MEASURED = ("metrics.csv", "metrics.json", "checkpoints")


def run_job(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Run it to its end; the metrics are those of metrics.json."""
    if not spec.trainer.gpus:
        keep_freed_memory()
    with left_clean(folder), recorded(folder), told(folder, aloud=is_first()):
        from effdet_lab.run import app  # torch and Lightning come in here

        if is_first():
            spec = app.prepare(spec)
            write_spec(folder, spec)
            if started_outside():
                announce(folder)
        else:
            wait_for_first(folder)
            spec = read_spec(folder)
        with ranks(folder, spec.trainer):
            return app.run(spec, folder)


@contextmanager
def left_clean(folder: Path) -> Iterator[None]:
    """A folder made for a job that is refused before it has measured anything is taken away again."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except Refusal:
        if is_new and not any((folder / name).exists() for name in MEASURED):
            shutil.rmtree(folder)
        raise


def main() -> None:
    """A rank of a job, or a job of a sweep."""
    die_with_parent()
    folder = Path(sys.argv[1])
    sys.exit(exit_code(lambda: run_job(read_spec(folder), folder)))


def exit_code(action: Callable[[], object]) -> int:
    """What the action ends with; a refusal is told in its own words, anything else with its cause."""
    try:
        action()
    except Refusal as refusal:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(refusal, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning ends so
            return _interrupted()
        if was_terminated(stop):
            return _interrupted(TERMINATED)
        raise
    return DONE


def _interrupted(code: int = INTERRUPTED) -> int:
    print("Interrupted. What the last checkpoint holds is kept.", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
