"""A machine without account or rank."""

import pytest

from effdet_lab.tracking.loggers import finish

NAMES = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC", "RANK", "LOCAL_RANK", "NODE_RANK")


def forget(patch: pytest.MonkeyPatch, home) -> None:
    for name in NAMES:
        patch.delenv(name, raising=False)
    home.mkdir()
    patch.setenv("HOME", str(home))


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    forget(monkeypatch, tmp_path / "home")
    yield
    finish()


@pytest.fixture(scope="module")
def nobody_for_long(tmp_path_factory):
    """The same, for fixtures that tests share."""
    with pytest.MonkeyPatch.context() as patch:
        forget(patch, tmp_path_factory.mktemp("machine") / "home")
        yield
