"""A run that a search may end waits for its word, and for nobody else's."""

import threading
import time
from types import SimpleNamespace

import pytest

from effdet_lab.run import stopping
from effdet_lab.run.folder import ask_to_stop, judged
from effdet_lab.run.stopping import StopWhenAsked


def trainer_after(epoch):
    strategy = SimpleNamespace(broadcast=lambda value: value)
    return SimpleNamespace(is_global_zero=True, strategy=strategy, current_epoch=epoch - 1, should_stop=False)


def ended(folder, epoch) -> tuple[bool, float]:
    """Whether the run stops after this epoch, and how long it thought about that."""
    trainer, begin = trainer_after(epoch), time.monotonic()
    StopWhenAsked(folder).on_train_epoch_end(trainer, None)
    return trainer.should_stop, time.monotonic() - begin


def test_nobody_is_waited_for_where_nobody_judges(tmp_path):
    assert ended(tmp_path, 1) == (False, pytest.approx(0, abs=0.5))
    ask_to_stop(tmp_path)
    assert ended(tmp_path, 1)[0]


def test_a_verdict_that_comes_a_moment_later_ends_this_epoch(tmp_path):
    judged(tmp_path, 2)

    def judge():
        time.sleep(0.2)
        ask_to_stop(tmp_path)
        judged(tmp_path, 3)

    threading.Thread(target=judge).start()
    stops, seconds = ended(tmp_path, 3)
    assert stops
    assert seconds >= 0.2


def test_a_run_goes_on_without_a_judge_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "PATIENCE", 0.3)
    judged(tmp_path, 0)
    stops, seconds = ended(tmp_path, 1)
    assert not stops
    assert seconds >= 0.3
