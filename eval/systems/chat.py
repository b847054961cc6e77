"""Audio language models of transformers that chat: Qwen2-Audio and its offspring, Phi-4-multimodal, others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForMultimodalLM,
    AutoModelForSpeechSeq2Seq,
    AutoProcessor,
    AutoTokenizer,
    ImageProcessingMixin,
    Phi4MultimodalFeatureExtractor,
    Phi4MultimodalProcessor,
)
from transformers.utils import cached_file

from ...modeling_audiollm.replies import final_answer
from .. import EvalError
from .base import SAMPLING_RATE, System, fingerprint_of, put_question


@dataclass(frozen=True)
class Family:
    """What a family of models does otherwise than the rest.

    Args:
        prompt: the whole prompt, with `{question}`; None uses the processor's chat template with an audio part.
        user: text of the user's turn, with `{question}`, where the template takes text only.
        adapter: subfolder of the LoRA adapter for speech.
        audio_argument: what the processor calls its clips.
        model_class: the Auto class that has the model.
        load_processor: from checkpoint and Hub options to the processor.
    """

    prompt: str | None = None
    user: str | None = None
    adapter: str | None = None
    audio_argument: str = "audio"
    model_class: Any = AutoModelForMultimodalLM
    load_processor: Callable[..., Any] = AutoProcessor.from_pretrained


def _speech_half_of_phi4(source: str, **hub: Any) -> Phi4MultimodalProcessor:
    """Phi-4's processor with an idle image processor, whose own would need torchvision."""
    extractor = Phi4MultimodalFeatureExtractor.from_pretrained(source, **hub)
    return Phi4MultimodalProcessor(ImageProcessingMixin(), extractor, AutoTokenizer.from_pretrained(source, **hub))


# By `model_type`; any other one is treated as Qwen2-Audio is: by its chat template.
FAMILIES = {
    "qwen2_audio": Family(),
    "phi4_multimodal": Family(
        "<|user|><|audio|>{question}<|end|><|assistant|>",
        adapter="speech-lora",
        load_processor=_speech_half_of_phi4,
    ),
    **dict.fromkeys(
        ("meralion", "meralion2"),
        Family(
            user="Instruction: {question} \nFollow the text instruction based on the following audio: <SpeechHere>",
            audio_argument="audios",
            model_class=AutoModelForSpeechSeq2Seq,
        ),
    ),
}


class ChatModel(System):
    """Answers in batches by greedy search; of tagged answers (see [`final_answer`]) what is in the tags.

    Args:
        checkpoint: folder or Hub id, with `@REVISION` for a revision.
        max_new_tokens: longest answer; those cut there are counted in `counted()`, as are clips longer than the
            model hears.
        question_format: how a question is put; holds `{question}`.
        system_prompt: said before, if given.
        trust_remote_code: run the checkpoint's own code.

    Raises:
        EvalError: if the checkpoint does not load here.
    """

    def __init__(
        self,
        checkpoint: str,
        max_new_tokens: int = 128,
        question_format: str = "{question}",
        system_prompt: str | None = None,
        trust_remote_code: bool = False,
    ):
        source, _, revision = (checkpoint, "", "") if Path(checkpoint).is_dir() else checkpoint.partition("@")
        hub = {"revision": revision or None, "trust_remote_code": trust_remote_code}
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # bfloat16 products are tens of times slower than float32 ones on CPUs without native support.
        dtype = "auto" if self.device.type == "cuda" else torch.float32
        try:
            config = AutoConfig.from_pretrained(source, **hub)
            self.family = FAMILIES.get(config.model_type, Family())
            self.processor = self.family.load_processor(source, **hub)
            self.model = self.family.model_class.from_pretrained(source, dtype=dtype, **hub)
        except (OSError, ValueError, ImportError, AttributeError, TypeError) as error:
            raise EvalError(
                f"{checkpoint} does not load with transformers {transformers.__version__}: "
                f"{' '.join(str(error).split())[:300]} Models with their own code need --trust-remote-code; if that "
                "code is too old, serve the model from its own environment and evaluate endpoint:MODEL@URL "
                "(docs/evaluation.md)."
            ) from error
        self._load_adapter(source, revision)
        self.model.to(self.device).eval()
        self.tokenizer = self.processor.tokenizer
        self.tokenizer.padding_side = "left"
        self.settings = {
            "max_new_tokens": max_new_tokens,
            "question_format": question_format,
            "system_prompt": system_prompt,
        }
        self.revision = getattr(config, "_commit_hash", None)
        self.name = source.rstrip("/").rsplit("/", 1)[-1]
        self.fingerprint = fingerprint_of("chat", source, self.revision, sorted(self.settings.items(), key=str))
        self._answered = self._cut = self._clips_cut = 0

    def _load_adapter(self, source: str, revision: str) -> None:
        if self.family.adapter is None:
            return
        name = f"{self.family.adapter}/adapter_config.json"
        missing = {"_raise_exceptions_for_missing_entries": False}
        if cached_file(source, name, revision=revision or None, **missing) is not None:
            self.model.load_adapter(source, adapter_name="speech", adapter_kwargs={"subfolder": self.family.adapter})
            self.model.set_adapter("speech")

    def answer(self, audio: np.ndarray, question: str) -> str:
        return self.answer_batch([audio], [question])[0]

    @torch.inference_mode()
    def answer_batch(self, audios: Sequence[np.ndarray], questions: Sequence[str]) -> list[str]:
        prompts = [self._prompt(put_question(self.settings["question_format"], q)) for q in questions]
        clips = {self.family.audio_argument: list(audios), "sampling_rate": SAMPLING_RATE}
        inputs = self.processor(text=prompts, **clips, padding=True, return_tensors="pt").to(self.device)
        greedy = {"do_sample": False, "num_beams": 1}
        output = self.model.generate(**inputs, max_new_tokens=self.settings["max_new_tokens"], **greedy)
        answers = output[:, inputs["input_ids"].shape[1] :]
        self._answered += len(answers)
        self._cut += int((~torch.isin(answers, self._end_ids())).all(dim=1).sum())
        self._clips_cut += sum(len(audio) > self._longest() for audio in audios)
        return [final_answer(text) for text in self.tokenizer.batch_decode(answers, skip_special_tokens=True)]

    def _prompt(self, question: str) -> str:
        if self.family.prompt is not None:
            before = self.settings["system_prompt"]
            start = f"<|system|>{before}<|end|>" if before else ""
            return start + self.family.prompt.format(question=question)
        if self.family.user is not None:
            said: Any = self.family.user.format(question=question)
        else:
            said = [{"type": "audio", "audio": None}, {"type": "text", "text": question}]
        before = self.settings["system_prompt"]
        turns = [{"role": "system", "content": before}] if before else []
        turns.append({"role": "user", "content": said})
        template = self.tokenizer if self.family.user is not None else self.processor
        return template.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def _longest(self) -> float:
        """Samples of the longest clip that the model hears whole."""
        extractor = getattr(self.processor, "feature_extractor", None)
        return getattr(extractor, "n_samples", None) or float("inf")

    def _end_ids(self) -> torch.Tensor:
        ends, pad = self.model.generation_config.eos_token_id, self.model.generation_config.pad_token_id
        ids = [*(ends if isinstance(ends, list) else [ends]), pad]
        return torch.tensor([token for token in ids if token is not None], device=self.device, dtype=torch.long)

    def _own_generation(self) -> dict[str, Any]:
        """What of the checkpoint's settings changes its greedy answers, which are left as its authors have them."""
        names = ("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens")
        found = {name: getattr(self.model.generation_config, name, None) for name in names}
        return {name: value for name, value in found.items() if value not in (None, 1.0, 0)}

    def describe(self) -> dict:
        return {
            "revision": self.revision,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": str(self.device),
            **self.settings,
            "checkpoint_generation": self._own_generation(),
        }

    def counted(self) -> dict[str, int]:
        return {"answers_given": self._answered, "answers_cut": self._cut, "clips_cut": self._clips_cut}
