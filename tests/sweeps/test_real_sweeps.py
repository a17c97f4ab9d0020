"""Sweeps as users start them: real processes, real deaths."""

import csv
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import tiny_classifier

from effdet_lab.run.folder import write_spec
from effdet_lab.spec import with_classes

pytestmark = pytest.mark.slow
RUN = Path(__file__).parents[2] / "run.py"
TINY = (
    *("model=efficientnet", "phi=-6", "model.image_size=32", "optim=adamw_cosine", "logger=csv", "logger.images=1"),
    *("data.workers=0", "optim.ema_decay=0"),
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(*arguments, cwd, environment=ENVIRONMENT):
    output = open(cwd / "said.txt", "ab")  # noqa: SIM115
    return subprocess.Popen(
        [sys.executable, RUN, *arguments], cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT
    )


def said(cwd) -> str:
    return (cwd / "said.txt").read_text()


def states(folder) -> list[str]:
    try:
        return [job["state"] for job in json.loads((folder / "sweep.json").read_text())["jobs"]]
    except FileNotFoundError:
        return []


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
    return found


def contents(folder) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def jobs_at_work(folder) -> list[int]:
    """Processes whose command line names a job of this sweep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"effdet_lab.run.job" in words and any(str(folder).encode() in word for word in words):
            found.append(int(path.parent.name))
    return found


def test_a_killed_sweep_goes_on_with_what_it_had_not_finished(tmp_path):
    folder = tmp_path / "sweep"
    process = start("-m", "seed=0,1,2", *TINY, "trainer=smoke", "hydra.sweep.dir=sweep", cwd=tmp_path)
    wait_for(lambda: states(folder)[1:2] == ["running"])
    process.kill()
    process.wait()
    finished = {number: contents(folder / str(number)) for number in (0,)}
    wait_for(lambda: "running" in states(folder))  # nobody corrected the ledger
    again = start("sweep=resume", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert again.wait(180) == 0, said(tmp_path)
    assert "2 of 3 jobs have not finished." in said(tmp_path)
    assert states(folder) == ["done"] * 3
    assert {number: contents(folder / str(number)) for number in (0,)} == finished
    with open(folder / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done"] * 3
    assert [row["seed"] for row in rows] == list("012")
    assert all(row["val/top1"] for row in rows)
    nothing = start("sweep=resume", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert nothing.wait(60) == 0
    assert "0 of 3 jobs have not finished." in said(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_no_job_outlives_a_killed_sweep(tmp_path):
    folder = tmp_path / "sweep"
    process = start(
        *("-m", "seed=0,1", *TINY, "trainer.max_epochs=500", "trainer.processes=2", "data.batch_size=32"),
        f"hydra.sweep.dir={folder}",
        cwd=tmp_path,
    )
    wait_for(lambda: (folder / "0" / "metrics.csv").exists())
    assert jobs_at_work(folder)  # the second rank; the first is forked and has the sweep's own words
    process.kill()
    process.wait()
    wait_for(lambda: not jobs_at_work(folder), seconds=30)


def rank_of(folder, rank) -> int | None:
    for number in jobs_at_work(folder):
        try:
            environment = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"RANK={rank}".encode() in environment:
            return number
    return None


def test_a_rank_that_is_killed_costs_no_more_than_the_epochs_since_the_last_checkpoint(tmp_path):
    folder = tmp_path / "sweep"
    process = start(
        *("-m", "seed=0", *TINY, "trainer.max_epochs=3", "trainer.processes=2", "data.batch_size=32"),
        f"hydra.sweep.dir={folder}",
        cwd=tmp_path,
    )
    wait_for(lambda: (folder / "0" / "checkpoints" / "last.ckpt").exists())
    os.kill(wait_for(lambda: rank_of(folder, 1)), signal.SIGKILL)
    assert process.wait(240) == 0, said(tmp_path)
    job = json.loads((folder / "sweep.json").read_text())["jobs"][0]
    assert [attempt["kind"] for attempt in job["attempts"]] == ["lost", "done"]
    assert job["attempts"][0]["change"] == "from the last checkpoint"
    assert "rank 1 was killed by signal 9" in job["attempts"][0]["message"]
    with open(folder / "0" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("123")
    assert all(row["val/top1"] for row in rows)  # that of the checkpoint, too


def test_every_job_has_ranks_of_its_own_and_one_that_fails_harms_no_other(tmp_path):
    folder = tmp_path / "sweep"
    process = start(
        *("-m", "phi=-6,-5", *TINY[:1], *TINY[2:], "trainer=smoke", "trainer.processes=2", "data.batch_size=32"),
        f"hydra.sweep.dir={folder}",
        cwd=tmp_path,
    )
    wait_for(lambda: (folder / "1" / "spec.yaml").exists())
    (folder / "1" / "images").write_text("the first rank alone writes pictures, and cannot")
    assert process.wait(240) == 1, said(tmp_path)
    assert states(folder) == ["done", "failed"]
    message = json.loads((folder / "sweep.json").read_text())["jobs"][1]["attempts"][0]["message"]
    assert "images" in message
    assert said(tmp_path).count("FileExistsError: ") == 1  # the cause is told once
    assert [(folder / str(number) / "rank_1.txt").exists() for number in range(2)] == [True] * 2
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["0", "1"]


def test_ranks_with_different_experiments_stop_before_the_first_step(tmp_path):
    """One rank is given another seed, as a wrong launcher would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    processes = []
    for rank in (0, 1):
        spec = with_classes(
            tiny_classifier(f"seed={rank}", "trainer=smoke", "trainer.processes=2", "data.workers=0"),
            tuple("0123456789"),
            tuple(range(10)),
        )
        folder = tmp_path / f"run_{rank}"
        write_spec(folder, spec)
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "NODE_RANK": "0"}
        shared |= {"EFFDET_LAB_PREPARED": "1"}  # neither waits for the other's folder
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "effdet_lab.run.job", str(folder)],
                env={**ENVIRONMENT, **shared, "LOCAL_RANK": str(rank), "RANK": str(rank)},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    answers = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], answers
    assert all("rank 1: has another experiment than rank 0" in answer for answer in answers)
    assert not any((tmp_path / f"run_{rank}" / "metrics.csv").exists() for rank in (0, 1))


def test_several_jobs_at_a_time_write_their_words_into_their_folders(tmp_path):
    folder = tmp_path / "sweep"
    process = start(
        *("-m", "seed=0,1,2", *TINY, "trainer.max_epochs=8", "cluster.at_once=2", f"hydra.sweep.dir={folder}"),
        cwd=tmp_path,
    )
    wait_for(lambda: states(folder).count("running") == 2)
    watching = subprocess.run(
        [sys.executable, RUN, "task=status", f"hydra.sweep.dir={folder}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert watching.returncode == 0, watching.stderr
    assert "/sweep: 3 jobs, " in watching.stdout
    assert "1 x CPU" in watching.stdout
    rival = start("sweep=resume", f"hydra.sweep.dir={folder}", cwd=tmp_path)
    assert rival.wait(60) == 2
    assert "another process drives this sweep" in said(tmp_path)
    assert process.wait(240) == 0, said(tmp_path)
    assert "Everything is in" in (folder / "2" / "console.txt").read_text()
    assert "job 3 done after" in said(tmp_path)


def test_every_engine_measures_the_same(tmp_path):
    """One thread each, so that sums are taken in the same order."""
    measured = {}
    for name, more in {"local": [], "joblib": [], "slurm": ["cluster.dry=true"], "ray": []}.items():
        settings = [f"cluster={name}", "cluster.at_once=2", *more, f"hydra.sweep.dir={name}"]
        process = start("-m", "seed=1", *TINY, "trainer=smoke", *settings, cwd=tmp_path)
        assert process.wait(240) == 0, said(tmp_path)
        assert states(tmp_path / name) == ["done"]
        measured[name] = json.loads((tmp_path / name / "0" / "metrics.json").read_text())
    assert measured["ray"] == measured["joblib"] == measured["slurm"] == measured["local"]


def test_torchruns_ranks_share_one_folder(tmp_path):
    settings = [*TINY, "trainer=smoke", "trainer.processes=2", "data.batch_size=32"]
    with open(tmp_path / "said.txt", "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", RUN, *settings],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    assert process.wait(240) == 0, said(tmp_path)
    folders = [path for path in (tmp_path / "outputs").iterdir() if (path / "spec.yaml").exists()]
    assert len(folders) == 1
    assert (folders[0] / "metrics.json").exists()
    assert said(tmp_path).count("Everything is in") == 1
