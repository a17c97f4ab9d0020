"""One job in its folder. `python -m effdet_lab.run.job FOLDER` runs the experiment that FOLDER/spec.yaml holds."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from effdet_lab.errors import Refusal
from effdet_lab.run.folder import read_spec, write_spec
from effdet_lab.run.memory import keep_freed_memory
from effdet_lab.run.ranks import is_first, ranks
from effdet_lab.run.say import told
from effdet_lab.spec import ExperimentSpec

DONE, REFUSED, INTERRUPTED = 0, 2, 130


def run_job(spec: ExperimentSpec, folder: Path) -> dict[str, float]:
    """Run it to its end; the metrics are those of metrics.json."""
    first = is_first()
    folder.mkdir(parents=True, exist_ok=True)
    if not spec.trainer.gpus:
        keep_freed_memory()
    with told(folder, aloud=first):
        from effdet_lab.run import app  # torch and Lightning come in here

        if first:
            spec = app.prepare(spec)
            write_spec(folder, spec)
        with ranks(folder, spec.trainer):
            return app.run(spec, folder)


def main() -> None:
    """A rank of a job, or a job of a sweep."""
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
        raise
    return DONE


def _interrupted() -> int:
    print("Interrupted. What the last checkpoint holds is kept.", file=sys.stderr)
    return INTERRUPTED


if __name__ == "__main__":
    main()
