"""What every test may ask for."""

import os
from pathlib import Path

import pytest
import torch

# Tiny networks lose more time waiting for a second thread than it saves; so do the processes that tests start.
torch.set_num_threads(1)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).parents[1]


LONGEST = "test_real_sweeps.py"  # begun last, it would keep one worker busy for minutes after the others are done


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable otherwise."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of photographs and trained weights; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("EFFDET_LAB_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here: EFFDET_LAB_REAL_DATA names its folder")
    return folder
