"""What every test may ask for."""

import os
from pathlib import Path

import pytest
import torch

# Tiny networks lose more time waiting for a second thread than it saves.
torch.set_num_threads(1)

REPOSITORY = Path(__file__).parents[1]


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
