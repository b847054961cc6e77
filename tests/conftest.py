import atexit
import gc
import os
import shutil
import tempfile


# So that processes that share the tests do not take the cores from each other. What shares them out sets nothing: they
# inherit its environment, and two of two threads each on two cores took ten times as long as two of one.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    cores = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="audiollm-state-")  # not the developer's own
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
import torch

from tests.tiny import quiet_tone, tiny_model_and_processor


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
    return quiet_tone


def pytest_collection_finish():
    # Trainings collect garbage; what the imports left, which lives as long as the process, costs them 0.4 s each time.
    gc.freeze()
