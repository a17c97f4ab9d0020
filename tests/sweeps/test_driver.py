"""The loop of a sweep, with jobs that only pretend."""

from datetime import datetime

import pytest
from scripted import ScriptedEngine, done, experiment, ledger_of

from effdet_lab.run.folder import STOP_FILE, judged_epoch
from effdet_lab.run.outcome import Outcome, write_outcome
from effdet_lab.sweeps import driver
from effdet_lab.sweeps.candidates import Candidate, Listed
from effdet_lab.sweeps.driver import drive
from effdet_lab.sweeps.ledger import Attempt, read_ledger


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch):
    monkeypatch.setattr(driver, "LOOK_EVERY", 0.0)


def run(ledger, engine, candidates=None, retries=2):
    heard = []
    drive(ledger, candidates or Listed(), engine, retries=retries, tell=lambda _, entry: heard.append(entry))
    return [(entry.number, entry.state) for entry in heard]


def test_every_job_runs_once_and_is_written_down(tmp_path):
    ledger = ledger_of(tmp_path, [experiment(0), experiment(1)])
    engine = ScriptedEngine(done)
    assert run(ledger, engine) == [(0, "running"), (0, "done"), (1, "running"), (1, "done")]
    read = read_ledger(tmp_path)
    assert [entry.state for entry in read.entries] == ["done", "done"]
    assert [entry.metrics for entry in read.entries] == [{"val/top1": 0.0}, {"val/top1": 0.1}]
    assert read.entries == ledger.entries
    assert engine.closed


def test_free_slots_are_filled(tmp_path):
    ledger = ledger_of(tmp_path, [experiment(seed) for seed in range(5)])
    engine = ScriptedEngine(done, slots=2, looks=3)
    states = run(ledger, engine)
    assert states[:2] == [(0, "running"), (1, "running")]
    running = most = 0
    for _, state in states:
        running += 1 if state == "running" else -1
        most = max(most, running)
    assert most == 2
    assert sorted(number for number, _ in engine.started) == [0, 1, 2, 3, 4]


def test_a_job_without_memory_is_tried_with_half_the_batch_at_the_same_step(tmp_path):
    def script(folder, spec, attempt):
        return Outcome("out_of_memory", "CUDA out of memory") if spec.data.batch_size > 16 else Outcome("done")

    ledger = ledger_of(tmp_path, [experiment(batch_size=64)])
    engine = ScriptedEngine(script)
    run(ledger, engine)
    sizes = [(spec.data.batch_size, spec.trainer.accumulate) for _, spec in engine.started]
    assert sizes == [(64, 1), (32, 2), (16, 4)]
    rates = {spec.optim.learning_rate for _, spec in engine.started}
    assert len(rates) == 1
    entry = ledger.entries[0]
    assert entry.state == "done"
    assert [attempt.kind for attempt in entry.attempts] == ["out_of_memory", "out_of_memory", "done"]
    assert entry.attempts[0].change == "data.batch_size=32 trainer.accumulate=2"


def test_a_batch_that_cannot_be_halved_fails_with_its_cause(tmp_path):
    ledger = ledger_of(tmp_path, [experiment(batch_size=1)])
    engine = ScriptedEngine(lambda *_: Outcome("out_of_memory", "no memory"))
    run(ledger, engine)
    assert ledger.entries[0].state == "failed"
    assert len(engine.started) == 1


def test_a_lost_process_goes_on_as_it_was(tmp_path):
    ledger = ledger_of(tmp_path, [experiment()])
    engine = ScriptedEngine(lambda folder, spec, attempt: None if attempt == 1 else Outcome("done"))
    run(ledger, engine)
    assert [attempt.kind for attempt in ledger.entries[0].attempts] == ["lost", "done"]
    assert engine.started[0][1] == engine.started[1][1]


def test_attempts_end_somewhere(tmp_path):
    ledger = ledger_of(tmp_path, [experiment()])
    engine = ScriptedEngine(lambda *_: None)
    run(ledger, engine, retries=2)
    assert len(engine.started) == 3
    assert ledger.entries[0].state == "failed"


def test_our_own_error_is_not_tried_again_and_the_others_run(tmp_path):
    def script(folder, spec, attempt):
        return Outcome("error", "ValueError: x", "Traceback ...") if spec.seed == 0 else Outcome("done")

    ledger = ledger_of(tmp_path, [experiment(0), experiment(1)])
    run(ledger, ScriptedEngine(script))
    assert [entry.state for entry in ledger.entries] == ["failed", "done"]
    assert ledger.entries[0].attempts[0].message == "ValueError: x"
    assert len(ledger.entries[0].attempts) == 1


def test_new_jobs_are_asked_for_and_told_of(tmp_path):
    told = []

    class Two(Listed):
        def tell(self, entry):
            told.append((entry.number, entry.state, entry.metrics))

    candidates = Two([Candidate(experiment(seed), (f"seed={seed}",)) for seed in (3, 4)])
    ledger = ledger_of(tmp_path, [])
    engine = ScriptedEngine(done)
    run(ledger, engine, candidates)
    assert told == [(0, "done", {"val/top1": 0.3}), (1, "done", {"val/top1": 0.4})]
    assert [entry.overrides for entry in read_ledger(tmp_path).entries] == [("seed=3",), ("seed=4",)]


def test_every_finished_epoch_is_shown_once_and_an_end_is_asked_for(tmp_path):
    seen = []

    class Strict(Listed):
        def watch(self, entry, epoch, metrics):
            seen.append((epoch, metrics))
            return epoch == 2

    def script(folder, spec, attempt):
        (folder / "metrics.csv").write_text("epoch,step,seconds,val/top1\n1,3,0.1,0.5\n2,6,0.1,0.25\n")
        return Outcome("stopped")

    ledger = ledger_of(tmp_path, [experiment()])
    run(ledger, ScriptedEngine(script, looks=3), Strict())
    assert seen == [(1, {"val/top1": 0.5}), (2, {"val/top1": 0.25})]
    assert (tmp_path / "0" / STOP_FILE).exists()
    assert ledger.entries[0].state == "stopped"


def test_jobs_that_may_be_ended_are_told_which_epochs_were_judged(tmp_path):
    told = []

    class Judge(Listed):
        judges = True

        def watch(self, entry, epoch, metrics):
            told.append(judged_epoch(tmp_path / "0"))
            return False

    def script(folder, spec, attempt):
        told.append(judged_epoch(folder))
        (folder / "metrics.csv").write_text("epoch,step,seconds,val/top1\n1,3,0.1,0.5\n2,6,0.1,0.25\n")
        return Outcome("done")

    run(ledger_of(tmp_path, [experiment()]), ScriptedEngine(script, looks=3), Judge())
    assert told == [0, 0, 1]
    assert judged_epoch(tmp_path / "0") is None  # whoever goes on with the run later waits for nobody


def test_an_interrupt_waits_for_the_jobs_and_is_written_down(tmp_path):
    def script(folder, spec, attempt):
        if spec.seed == 1:
            raise KeyboardInterrupt
        return Outcome("interrupted")

    ledger = ledger_of(tmp_path, [experiment(0), experiment(1), experiment(2)])
    engine = ScriptedEngine(script, slots=2, looks=2)
    with pytest.raises(KeyboardInterrupt):
        run(ledger, engine)
    states = [entry.state for entry in read_ledger(tmp_path).entries]
    assert states[0] == "interrupted"
    assert states[2] == "waiting"
    assert engine.closed


def test_a_defect_of_the_driver_kills_what_it_started(tmp_path):
    class Broken(Listed):
        def watch(self, entry, epoch, metrics):
            raise ValueError("broken")

    def script(folder, spec, attempt):
        (folder / "metrics.csv").write_text("epoch,step,seconds\n1,3,0.1\n")
        return

    engine = ScriptedEngine(script, looks=10)
    with pytest.raises(ValueError, match="broken"):
        run(ledger_of(tmp_path, [experiment()]), engine, Broken())
    assert engine.handles[0].killed


def left_running(tmp_path, handle):
    """A ledger whose driver was killed while job 0 ran."""
    ledger = ledger_of(tmp_path, [experiment(0), experiment(1)])
    attempt = Attempt(datetime.now().isoformat(timespec="seconds"), handle=handle)
    ledger.change(0, state="running", attempts=(attempt,))
    return read_ledger(tmp_path)


def test_a_job_that_runs_on_without_its_sweep_is_watched_and_not_started_again(tmp_path):
    ledger = left_running(tmp_path, "4711")
    done(ledger.job_folder(0), experiment(0), 1)
    write_outcome(ledger.job_folder(0), Outcome("done"))
    engine = ScriptedEngine(done, name="4712")
    run(ledger, engine)
    assert [number for number, _ in engine.started] == [1]
    entries = read_ledger(tmp_path).entries
    assert [[attempt.handle for attempt in entry.attempts] for entry in entries] == [["4711"], ["4712"]]
    assert [entry.state for entry in entries] == ["done", "done"]


def test_a_job_that_ended_with_its_sweep_is_started_again(tmp_path):
    ledger = left_running(tmp_path, "")
    engine = ScriptedEngine(done)
    run(ledger, engine)
    assert [number for number, _ in engine.started] == [0, 1]
    assert len(ledger.entries[0].attempts) == 2


class Interrupting(Listed):
    def watch(self, entry, epoch, metrics):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("on_interrupt", "state", "killed"),
    [("hear", "failed", False), ("kill", "interrupted", True), ("leave", "running", False)],
)
def test_an_interrupt_ends_what_runs_here_and_leaves_what_runs_elsewhere(tmp_path, on_interrupt, state, killed):
    ledger = ledger_of(tmp_path, [experiment(0)])
    (ledger.job_folder(0) / "metrics.csv").write_text("epoch,val/top1\n1,0.5\n")
    engine = ScriptedEngine(lambda *_: None, looks=3, on_interrupt=on_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(ledger, engine, Interrupting())
    assert ledger.entries[0].state == state
    assert engine.handles[0].killed is killed
