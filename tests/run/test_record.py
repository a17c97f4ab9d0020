import json
import math

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny import loader

from effdet_lab.run.record import MetricsTable, read_table, write_metrics, write_table


class Counting(LightningModule):
    """Logs what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        self.log("train/loss", torch.tensor(float(batch_idx)), on_step=False, on_epoch=True)
        self.log("step/loss", loss.detach(), on_step=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/map", 0.25 * (self.current_epoch + 1))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(folder, epochs, evaluate_every=1, checkpoint=None, more=()):
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        check_val_every_n_epoch=evaluate_every,
        callbacks=[MetricsTable(folder), *more],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=bool(more),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    batches = loader(torch.ones(1, 1), torch.ones(1, 1), torch.ones(1, 1))
    trainer.fit(Counting(), batches, batches, ckpt_path=checkpoint)
    return trainer


def without_times(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_an_epoch_is_a_row_and_lacks_what_it_did_not_measure(tmp_path):
    fit(tmp_path, 3, evaluate_every=2)
    assert without_times(read_table(tmp_path / "metrics.csv")) == [
        {"epoch": "1", "step": "3", "train/loss": "1"},
        {"epoch": "2", "step": "6", "train/loss": "1", "val/map": "0.5"},
        {"epoch": "3", "step": "9", "train/loss": "1"},
    ]


def test_a_resumed_run_continues_its_table(tmp_path):
    trainer = fit(tmp_path, 2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    fit(tmp_path, 3)  # another run went further and is overwritten from epoch 3 on
    fit(tmp_path, 4, checkpoint=tmp_path / "two.ckpt")
    rows = read_table(tmp_path / "metrics.csv")
    assert [(row["epoch"], row["val/map"]) for row in rows] == [("1", "0.25"), ("2", "0.5"), ("3", "0.75"), ("4", "1")]


def test_what_a_validation_measured_is_written_before_its_checkpoint(tmp_path):
    class Killed(Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            raise KeyError("as if it were killed")

    with pytest.raises(KeyError):
        fit(tmp_path, 2, more=[ModelCheckpoint(tmp_path, save_on_train_epoch_end=False), Killed()])
    assert without_times(read_table(tmp_path / "metrics.csv")) == [{"epoch": "1", "step": "3", "val/map": "0.25"}]


def test_new_metrics_become_new_columns(tmp_path):
    write_table(tmp_path / "metrics.csv", [{"epoch": "1"}, {"epoch": "2", "val/map/red, big": "0.5"}])
    assert (tmp_path / "metrics.csv").read_text() == 'epoch,"val/map/red, big"\n1,\n2,0.5\n'
    assert read_table(tmp_path / "metrics.csv") == [{"epoch": "1"}, {"epoch": "2", "val/map/red, big": "0.5"}]


def test_final_metrics_are_flat_finite_numbers_in_a_new_folder(tmp_path):
    write_metrics(tmp_path / "run", {"val/map": torch.tensor(0.5), "val/top1": 1, "val/map/none": math.nan})
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == {"val/map": 0.5, "val/top1": 1.0}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.json"]


def test_the_row_of_the_checkpoints_own_epoch_is_kept(tmp_path):
    """It was written after the checkpoint, and by the process that measured it."""
    last = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=False)
    fit(tmp_path, 2, more=[last])
    before = read_table(tmp_path / "metrics.csv")
    fit(tmp_path, 3, checkpoint=tmp_path / "last.ckpt")
    after = read_table(tmp_path / "metrics.csv")
    assert after[:2] == before
    assert [row["epoch"] for row in after] == list("123")
    assert all("val/map" in row for row in after)
