import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from tiny import loader
from torch import Tensor, nn

from effdet_lab.tasks.average import ExponentialAverage, ramped_decay


class Line(LightningModule):
    """A weight with a norm, whose whole state is small enough to follow by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layers(batch).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated = copy.deepcopy(self.state_dict())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Diary(Callback):
    """The weights after every step."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.states.append(copy.deepcopy(pl_module.state_dict()))


BATCHES = [torch.randn(4, 2, generator=torch.Generator().manual_seed(number)) for number in range(3)]


def trainer(folder, epochs: int, *callbacks: Callback) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def averaged(start: dict[str, Tensor], states: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """Step by step and tensor by tensor, as the definition says."""
    average = copy.deepcopy(start)
    for updates, state in enumerate(states):
        share = min(decay, (1 + updates) / (10 + updates))
        for name, value in state.items():
            is_real = value.is_floating_point()
            average[name] = share * average[name] + (1 - share) * value if is_real else value.clone()
    return average


# Source: tensorflow ExponentialMovingAverage; 0.9998 is reached at step 44,990.
@pytest.mark.parametrize(
    ("updates", "decay"), [(0, 0.1), (1, 2 / 11), (90, 0.91), (44_989, 0.99979999), (44_990, 0.9998), (10**6, 0.9998)]
)
def test_the_decay_ramps_up_as_tensorflows(updates, decay):
    assert ramped_decay(0.9998, updates) == pytest.approx(decay, abs=1e-8)


@given(updates=st.integers(0, 10**7), decay=st.floats(0.1, 1, exclude_max=True))
def test_the_decay_never_passes_the_asked_one_and_never_falls(updates, decay):
    assert ramped_decay(decay, updates) <= ramped_decay(decay, updates + 1) <= decay


@pytest.mark.parametrize("decay", [0.25, 0.9998])
def test_validation_sees_the_average_and_training_goes_on_without_it(tmp_path, decay):
    task, diary = Line(), Diary()
    start = copy.deepcopy(task.state_dict())
    trainer(tmp_path, 2, diary, ExponentialAverage(decay)).fit(task, loader(*BATCHES), loader(BATCHES[0]))
    expected = averaged(start, diary.states, decay)
    torch.testing.assert_close(task.validated, expected)
    torch.testing.assert_close(dict(task.state_dict()), expected)  # the fit ends with it
    assert task.validated["layers.1.num_batches_tracked"] == 6

    plain, plain_diary = Line(), Diary()
    plain.load_state_dict(start)
    trainer(tmp_path, 2, plain_diary).fit(plain, loader(*BATCHES), loader(BATCHES[0]))
    torch.testing.assert_close(plain_diary.states, diary.states)


def test_a_resumed_run_has_the_average_of_an_unbroken_one(tmp_path):
    whole = Line()
    start = copy.deepcopy(whole.state_dict())
    trainer(tmp_path, 4, ExponentialAverage(0.5)).fit(whole, loader(*BATCHES), loader(BATCHES[0]))

    first, second = Line(), Line()
    first.load_state_dict(start)
    broken = trainer(tmp_path, 2, ExponentialAverage(0.5), Saver(tmp_path / "half.ckpt"))
    broken.fit(first, loader(*BATCHES), loader(BATCHES[0]))
    resumed = trainer(tmp_path, 4, ExponentialAverage(0.5))
    resumed.fit(second, loader(*BATCHES), loader(BATCHES[0]), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert resumed.global_step == 12
    torch.testing.assert_close(dict(second.state_dict()), dict(whole.state_dict()))


def test_checkpoints_hold_the_average_and_the_weights_in_training(tmp_path):
    task, diary = Line(), Diary()
    start = copy.deepcopy(task.state_dict())
    fitter = trainer(tmp_path, 2, diary, ExponentialAverage(0.5), Saver(tmp_path / "half.ckpt"))
    fitter.fit(task, loader(*BATCHES), loader(BATCHES[0]))
    checkpoint = torch.load(tmp_path / "half.ckpt", weights_only=True)
    torch.testing.assert_close(dict(checkpoint["state_dict"]), averaged(start, diary.states, 0.5))
    torch.testing.assert_close(dict(checkpoint["current_model_state"]), dict(diary.states[-1]))


def test_judging_a_checkpoint_after_the_fit_sees_its_average(tmp_path):
    task = Line()
    fitter = trainer(tmp_path, 2, ExponentialAverage(0.5), Saver(tmp_path / "half.ckpt"))
    fitter.fit(task, loader(*BATCHES), loader(BATCHES[0]))
    fitter.validate(task, loader(BATCHES[0]), ckpt_path=tmp_path / "half.ckpt", verbose=False, weights_only=True)
    expected = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(dict(task.validated), dict(expected))


class Saver(Callback):
    """Saves where a real run does: after each validation."""

    def __init__(self, path) -> None:
        self.path = path

    def on_validation_end(self, trainer, pl_module) -> None:
        if trainer.state.fn == "fit":
            trainer.save_checkpoint(self.path)
