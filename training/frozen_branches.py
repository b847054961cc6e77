"""Frozen branches of a model that are not run again: what they gave for a clip comes from the feature cache."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from ..modeling_audiollm.configuration_audiollm import encodes_by_length
from ..modeling_audiollm.modeling_audiollm import AudioLLMModel, EncodedWindows, pad_frames
from ..processing.processing_audiollm import AudioLLMProcessor
from .alternation import proofs
from .feature_cache import FeatureCache, fingerprint
from .schedule import NEVER_LEARNS, Plan, Round, without_lora


logger = logging.getLogger(__name__)


class FrozenBranches(TrainerCallback):
    """Knows in each round which branches give the same all through it, and replaces them by what they gave before.

    Of a branch whose adapter learns and whose encoder is frozen, the encoder's frames are kept. What a speech decoder
    says is kept too.

    Args:
        plan: the laid-out schedule.
        cache: of their outputs.
        processor: of the model.
    """

    def __init__(self, plan: Plan, cache: FeatureCache, processor: AudioLLMProcessor):
        self.plan, self.cache, self.processor = plan, cache, processor
        self._round: int | None = None
        self._fingerprints: dict[tuple[str, str], str] = {}
        self._frames: dict[str, str] = {}  # by branch, the fingerprint of frames that an earlier round may have kept

    def on_step_begin(self, args, state, control, model: Any = None, **kwargs):
        index = self.plan.index_at(state.global_step)
        if index != self._round:
            checksums = proofs(state)[-1]["checksums"]
            if self._round is None and not any(
                self._frozen(model, round_, checksums, str(args.bf16)) for round_ in self.plan.rounds
            ):
                logger.warning("feature_cache: no encoder stays frozen through any round, so nothing is kept.")
            self._round = index
            self._fingerprints = self._frozen(model, self.plan.rounds[index], checksums, str(args.bf16))
            self.cache.open(tuple(self._fingerprints.values()))

    def _frozen(
        self, model: nn.Module, round_: Round, checksums: dict[str, str], precision: str
    ) -> dict[tuple[str, str], str]:
        """What gives the same all through a round: by branch and kind (embeds, frames, words) its fingerprint."""
        processor, config = self.processor, without_lora(model).config.to_dict()
        extractors = {"speech": processor.feature_extractor, "emotion": processor.emotion_feature_extractor}
        branches, self._frames = {}, {}
        for branch, extractor in extractors.items():
            encoder, adapter = f"{branch}_encoder", f"{branch}_adapter"
            # A loss on an encoder's frames hooks the encoder, which then has to run.
            learns = {*round_.train, *round_.weighed.values()}
            if encoder not in checksums or encoder in learns:
                continue
            # Without the language model, only what another loss goes through runs: of alignment, one adapter over
            # both, or speech's.
            aligned = round_.align and (branch == "speech" or "adapter" in checksums)
            taught = {adapter, "adapter"} & {*round_.weighed.values()}
            if not (round_.lm or aligned or taught):
                continue
            way = _of_windows(without_lora(model).config, branch)
            facts = (_without_code(config), _without_code(extractor.to_dict()), precision, *way)
            heard = fingerprint(checksums[encoder], *_of_frames(config, branch), *facts[1:])
            keeps_frames = _keeps_frames(without_lora(model).config, branch)
            if adapter in checksums and adapter not in learns and not (round_.align and branch == "speech"):
                branches[branch, "embeds"] = fingerprint([checksums[encoder], checksums[adapter]], *facts)
            elif keeps_frames:
                branches[branch, "frames"] = heard
            if keeps_frames:
                self._frames[branch] = heard
            if branch == "speech" and config["words_first"] == "decoder" and round_.lm:
                words = ["words", checksums[NEVER_LEARNS], config["speech_decoder"]]
                branches[branch, "words"] = fingerprint(
                    words, checksums[encoder], *_of_frames(config, branch), *facts[1:]
                )
        return branches

    @torch.no_grad()
    def fill(self, model: nn.Module, inputs: dict[str, Any], keys: list[str]):
        """Put the outputs of the round's frozen branches into a batch.

        Args:
            model: in training.
            inputs: of the model; `speech_embeds` or `speech_frames`, and so on, are added.
            keys: a hash of each clip's samples.
        """
        base = without_lora(model).model
        shared = "input_values" not in inputs
        for (branch, kind), name in self._fingerprints.items():
            prefix = "input_features" if branch == "speech" or shared else "input_values"
            features, mask = inputs[prefix], inputs[f"{prefix}_mask"].bool()
            known: dict[str, Any] = {key: self.cache.get(name, key) for key in set(keys)}
            missing = {key: place for place, key in enumerate(keys) if known[key] is None}
            if kind != "frames":
                missing = self._make_of_kept(base, branch, kind, mask, missing, known)
            if missing:
                places = list(missing.values())
                windows = mask[places].any(-1).sum(-1).tolist()
                run = self._run(base, branch, kind, features[places], mask[places], windows)
                self._keep(name, missing, run, known)
            found = [known[key].to(features.device) for key in keys]
            if kind == "embeds":
                inputs[f"{branch}_embeds"] = torch.cat(found)
            elif kind == "words":
                said = [window for clip in found for window in clip]
                inputs[f"{branch}_words"] = nn.utils.rnn.pad_sequence(said, batch_first=True, padding_value=-1)
            else:
                counts = torch.tensor(base.needed_frames(branch, mask), device=features.device)
                clips = [window for clip in found for window in clip.unbind(1)]
                inputs[f"{branch}_frames"] = EncodedWindows(pad_frames(clips), counts)

    def _keep(self, name: str, keys: Iterable[str], outputs: Iterable[torch.Tensor], known: dict[str, Any]):
        for key, of_clip in zip(keys, outputs):
            known[key] = of_clip
            self.cache.put(name, key, of_clip)

    def _make_of_kept(
        self,
        base: AudioLLMModel,
        branch: str,
        kind: str,
        mask: torch.Tensor,
        missing: dict[str, int],
        known: dict[str, Any],
    ) -> dict[str, int]:
        """Make tokens or words of clips whose frames were kept, without the encoder; gives those still missing.

        Args:
            base: the model.
            branch: of it.
            kind: `"embeds"` or `"words"`.
            mask: of the batch, see [`fill`].
            missing: by key, the place in the batch.
            known: by key, what there is; what is made is added.
        """
        frames = {key: self.cache.get(self._frames[branch], key) for key in missing if branch in self._frames}
        kept = {key: of_clip for key, of_clip in frames.items() if of_clip is not None}
        if kept:
            heard = mask[[missing[key] for key in kept]]
            windows = [window.to(mask.device) for of_clip in kept.values() for window in of_clip.unbind(1)]
            counts = torch.tensor(base.needed_frames(branch, heard), device=mask.device)
            made = _made_of(base, branch, kind, EncodedWindows(pad_frames(windows), counts), heard)
            self._keep(self._fingerprints[branch, kind], kept, made.split(heard.any(-1).sum(-1).tolist()), known)
        return {key: place for key, place in missing.items() if key not in kept}

    def _run(
        self,
        base: AudioLLMModel,
        branch: str,
        kind: str,
        features: torch.Tensor,
        mask: torch.Tensor,
        windows: list[int],
    ) -> list[torch.Tensor]:
        """What a branch gives for each clip: its tokens `[windows, tokens, hidden]`, its words, or its frames."""
        encoded = base.branch_frames(branch, features, mask)
        if kind != "frames":
            return list(_made_of(base, branch, kind, encoded, mask).split(windows))
        states = encoded.states
        counts = torch.tensor(base.needed_frames(branch, mask)).split(windows)
        return [clip[:, :, : int(count.max())] for clip, count in zip(states.split(windows, dim=1), counts)]


def _made_of(base: AudioLLMModel, branch: str, kind: str, frames: EncodedWindows, mask: torch.Tensor) -> torch.Tensor:
    """Tokens (`"embeds"`) or words of windows, from what the branch's encoder heard of them."""
    if kind == "words":
        return base.decoded_words(frames, mask)[0]
    return base.embed_branch(branch, None, mask, frames)


def _keeps_frames(config: Any, branch: str) -> bool:
    """Whether an adapter makes the same of the frames that are kept as of all that were heard.

    Not kept is what no token of a clip is made of, which a batch norm counts unless neighbours must not hear it.
    """
    if branch == "emotion" and config.emotion_statistics is not None:
        return True
    return config.norm_of(branch) != "batch" or config.audio_tokens == "window" or config.adapter_context > 0


def _of_frames(config: dict[str, Any], branch: str) -> list[Any]:
    """What of a model's configuration its frames depend on, beside the encoder's weights, and what is kept of them.

    The same encoder may be in both branches, and be asked for all of its layers in one.
    """
    mixed = branch == "emotion" and (config["emotion_layer_mix"] or config["emotion_statistics"] is not None)
    own = [config[f"{branch}_{name}"] for name in ("config", "length_aware")]
    # Of either branch's tokens there may be what is kept: one adapter over both gives as many as speech has.
    shared = [config[name] for name in ("window_seconds", "audio_tokens", "fusion", "speech_tokens", "emotion_tokens")]
    return ["frames", *own, mixed, *shared]


def _of_windows(config: Any, branch: str) -> list[str]:
    """What is said of windows that are encoded by their lengths, as those of a group norm once were not."""
    encoder, aware = getattr(config, f"{branch}_config"), getattr(config, f"{branch}_length_aware")
    return ["by length"] if aware and encoder.model_type != "whisper" and encodes_by_length(encoder) else []


def _without_code(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without where their code is, which is written into them when a checkpoint is."""
    return {name: value for name, value in settings.items() if name != "auto_map"}
