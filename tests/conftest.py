import atexit
import os
import shutil
import tempfile


# So that processes that share the tests do not take the cores from each other.
os.environ.setdefault(
    "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="audiollm-state-")  # not the developer's own
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
import torch

from tests.tiny import tiny_model_and_processor


atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def tiny():
    """One dual-encoder model and its processor, for tests that do not change them."""
    torch.manual_seed(0)
    model, processor = tiny_model_and_processor()
    return model.eval(), processor


@pytest.fixture
def tone():
    """`tone(seconds, rate)`: a quiet sine with noise, mono float32."""

    def make(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
        time = np.arange(round(seconds * rate)) / rate
        noise = np.random.default_rng(seed).normal(0, 0.01, len(time))
        return (0.2 * np.sin(2 * np.pi * (200 + 30 * seed) * time) + noise).astype(np.float32)

    return make
