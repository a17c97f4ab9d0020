"""The reference implementation."""

import warnings

import pytest


@pytest.fixture(scope="session")
def effdet():
    """rwightman/efficientdet-pytorch 0.4.1, which compiles on import with a warning of its own."""
    pytest.importorskip("effdet", reason="the reference implementation is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import effdet.anchors
        import effdet.loss
        import effdet.soft_nms
    return effdet
