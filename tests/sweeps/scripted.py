"""Jobs that only pretend: what becomes of each is written down beforehand, and no process is started."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tiny import tiny_classifier

from effdet_lab.run.folder import read_spec
from effdet_lab.run.outcome import Outcome, write_outcome
from effdet_lab.spec import ExperimentSpec
from effdet_lab.sweeps.engines import OnInterrupt
from effdet_lab.sweeps.ledger import Ledger

Script = Callable[[Path, ExperimentSpec, int], Outcome | None]


def experiment(seed: int = 0, batch_size: int = 64, accumulate: int = 1) -> ExperimentSpec:
    spec = tiny_classifier(f"seed={seed}", f"data.batch_size={batch_size}", f"trainer.accumulate={accumulate}")
    return dataclasses.replace(spec, overrides=(f"seed={seed}",))


def ledger_of(folder: Path, specs: Sequence[ExperimentSpec]) -> Ledger:
    from effdet_lab.run.folder import write_spec

    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder, ["seed=0,1"])
    for spec in specs:
        write_spec(ledger.job_folder(ledger.add(spec.overrides, spec).number), spec)
    ledger.write()
    return ledger


class Handle:
    def __init__(self, looks: int, name: str = "") -> None:
        self.looks, self.name = looks, name
        self.killed = False

    def ended(self) -> bool:
        self.looks -= 1
        return self.looks < 0 or self.killed

    def kill(self) -> None:
        self.killed = True


class ScriptedEngine:
    """Writes what the script says of each attempt; None: the process died without a word."""

    is_aloud = False

    def __init__(
        self, script: Script, slots: int = 1, looks: int = 1, on_interrupt: OnInterrupt = "hear", name: str = ""
    ) -> None:
        self.script, self.slots, self.looks, self.on_interrupt, self.name = script, slots, looks, on_interrupt, name
        self.started: list[tuple[int, ExperimentSpec]] = []
        self.handles: list[Handle] = []
        self.closed = False

    def start(self, folder: Path) -> Handle:
        spec, number = read_spec(folder), int(folder.name)
        attempt = sum(number == other for other, _ in self.started) + 1
        self.started.append((number, spec))
        outcome = self.script(folder, spec, attempt)
        for path in folder.glob("outcome.json"):
            path.unlink()
        if outcome is not None:
            write_outcome(folder, outcome)
            if outcome.kind == "done":
                (folder / "metrics.json").write_text(json.dumps({"val/top1": spec.seed / 10}))
        self.handles.append(Handle(self.looks, self.name))
        return self.handles[-1]

    def rejoin(self, folder: Path, name: str) -> Handle | None:
        return Handle(self.looks, name) if name else None

    def close(self) -> None:
        self.closed = True


def done(folder: Path, spec: ExperimentSpec, attempt: int) -> Outcome:
    return Outcome("done")
