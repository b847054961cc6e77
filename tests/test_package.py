"""What importing the package brings, and what it does not."""

import subprocess
import sys

import pytest


HEAVY = ("torch", "transformers", "datasets", "matplotlib")


def run_python(code: str) -> str:
    """What a fresh process prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("module", ["audiollm", "audiollm.modeling_audiollm.evidence", "audiollm.corpora.labels"])
def test_importing_is_light(module):
    loaded = run_python(f"import sys, {module}; print(*sys.modules)").split()
    assert not set(loaded) & set(HEAVY)


def test_a_class_imported_from_the_package_is_registered_with_transformers():
    code = """
from audiollm import AudioLLMForConditionalGeneration, AudioLLMProcessor
from transformers import AutoConfig, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY
config = AutoConfig.for_model("audiollm")
assert AutoModel._model_mapping[type(config)] is AudioLLMForConditionalGeneration
assert AudioLLMProcessor._auto_class == "AutoProcessor"
assert "audio-emotion-reasoning" in PIPELINE_REGISTRY.get_supported_tasks()
"""
    run_python(code)


def test_register_serves_auto_classes_without_a_class_of_ours():
    code = """
import audiollm
from transformers import AutoConfig
audiollm.register()
print(AutoConfig.for_model("emotion2vec").__class__.__module__)
"""
    assert run_python(code).strip() == "audiollm.modeling_audiollm.configuration_emotion2vec"


def test_every_public_name_of_the_package_exists():
    import audiollm
    from audiollm import modeling_audiollm, processing

    for package in (audiollm, modeling_audiollm, processing):
        assert all(getattr(package, name).__name__ == name for name in package.__all__)
        with pytest.raises(AttributeError, match="no attribute 'AudioLLMs'"):
            package.AudioLLMs  # noqa: B018
