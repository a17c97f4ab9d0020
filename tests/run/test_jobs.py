"""What a command becomes: one job or many, in folders of their own."""

import pytest

from effdet_lab import ConfigError, DataError, compose
from effdet_lab.errors import MachineError
from effdet_lab.run.folder import read_spec, write_spec
from effdet_lab.run.jobs import single, sweep
from effdet_lab.run.machine import pictures_of

TRAINED = ("model=efficientdet", "phi=-2.5", "bifpn.channels=40", "data.val_images=7", "optim.learning_rate=0.5")


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A run as its training left it, but for the weights."""
    monkeypatch.chdir(tmp_path)
    write_spec(tmp_path / "run", compose(*TRAINED))
    (tmp_path / "run" / "checkpoints").mkdir()
    return tmp_path / "run"


def test_a_spec_is_read_as_it_was_written(run_folder):
    assert read_spec(run_folder) == compose(*TRAINED)


def test_a_torn_spec_is_named(tmp_path):
    (tmp_path / "spec.yaml").write_text("kind: ExperimentSpec\nphi: [")
    with pytest.raises(DataError, match=r"spec\.yaml: holds no settled experiment"):
        read_spec(tmp_path)


def test_a_checkpoint_brings_its_model_and_data(run_folder):
    job = single(["task=evaluate", "checkpoint=run"])
    trained = read_spec(run_folder)
    assert (job.spec.model, job.spec.data) == (trained.model, trained.data)
    assert job.spec.task == "evaluate"
    assert job.spec.optim.learning_rate != trained.optim.learning_rate


def test_a_checkpoint_in_a_run_brings_them_too(run_folder):
    (run_folder / "checkpoints" / "best.ckpt").touch()
    assert single(["task=evaluate", "checkpoint=run/checkpoints/best.ckpt"]).spec.model == read_spec(run_folder).model


def test_what_is_typed_for_an_evaluation_wins(run_folder):
    spec = single(["task=evaluate", "checkpoint=run", "data.val_images=3", "head.postprocess.nms=hard"]).spec
    assert spec.data.source.val_images == 3
    assert (spec.model.postprocess.nms, spec.model.bifpn.channels) == ("hard", 40)


def test_today_s_tables_do_not_change_a_trained_network(run_folder):
    text = (run_folder / "spec.yaml").read_text().replace("repeats: 1\n    min_level", "repeats: 2\n    min_level")
    (run_folder / "spec.yaml").write_text(text)
    assert single(["task=evaluate", "checkpoint=run"]).spec.model.bifpn.repeats == 2


def test_a_folder_with_trained_weights_is_not_written_over(run_folder):
    with pytest.raises(ConfigError, match="holds trained weights"):
        single(["hydra.run.dir=run"])
    assert single(["task=evaluate", "checkpoint=run", "hydra.run.dir=run"]).folder.name == "run"


def test_two_runs_of_one_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = single(["data.root=scenes"]).folder
    first.mkdir(parents=True)
    assert single(["data.root=scenes"]).folder != first


def test_a_sweep_s_jobs_lie_in_one_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = sweep(["phi=-2,-1", "seed=0,1"])
    assert [job.folder.name for job in jobs.jobs] == ["0", "1", "2", "3"]
    assert {job.folder.parent for job in jobs.jobs} == {jobs.folder}
    assert [(job.spec.phi, job.spec.seed) for job in jobs.jobs] == [(-2, 0), (-2, 1), (-1, 0), (-1, 1)]


def test_a_sweep_is_refused_with_every_job_that_cannot_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refusal:
        sweep(["phi=0,8,9", "trainer.gpus=99", "data.batch_size=99"])
    assert "job 1 (phi=8): phi=8" in str(refusal.value)
    assert "3 of 3 jobs; none was started." in str(refusal.value)


def test_other_machines_must_be_started_too(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(MachineError, match=r"trainer\.num_nodes=2: the other machines"):
        single(["trainer.num_nodes=2"])


def test_pictures_are_a_folder_s_a_glob_s_or_one(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.rpartition("/")[2] for path in pictures_of(str(tmp_path))] == ["a.PNG", "b.jpg"]
    assert pictures_of(f"{tmp_path}/*.jpg") == [f"{tmp_path}/b.jpg"]
    assert pictures_of(f"{tmp_path}/b.jpg") == [f"{tmp_path}/b.jpg"]


def test_other_data_take_the_old_data_s_settings_with_them(run_folder):
    spec = single(["task=predict", "checkpoint=run", "input=run/spec.yaml", "data=coco"]).spec
    assert spec.data.name == "coco"
    assert spec.data.classes == read_spec(run_folder).data.classes
