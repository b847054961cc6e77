"""Frozen branches of a model that are not run again: what they gave for a clip comes from the feature cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from ..processing.processing_audiollm import AudioLLMProcessor
from .alternation import last_proof
from .feature_cache import FeatureCache, fingerprint
from .schedule import Plan, Round, without_lora


class FrozenBranches(TrainerCallback):
    """Knows in each round which branches give the same all through it, and replaces them by what they gave before.

    Args:
        plan: the laid-out schedule.
        cache: of their outputs.
        processor: of the model.
    """

    def __init__(self, plan: Plan, cache: FeatureCache, processor: AudioLLMProcessor):
        self.plan, self.cache, self.processor = plan, cache, processor
        self._round: int | None = None
        self._fingerprints: dict[str, str] = {}

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        index = self.plan.index_at(state.global_step)
        if index != self._round:
            self._round = index
            checksums = last_proof(state)["checksums"]
            self._fingerprints = self._frozen(model, self.plan.rounds[index], checksums, str(args.bf16))
            self.cache.open(tuple(self._fingerprints.values()))

    def _frozen(self, model: nn.Module, round_: Round, checksums: dict[str, str], precision: str) -> dict[str, str]:
        """The branches that give the same all through a round, with the fingerprint of their outputs."""
        processor, config = self.processor, without_lora(model).config.to_dict()
        extractors = {"speech": processor.feature_extractor, "emotion": processor.emotion_feature_extractor}
        branches = {}
        for branch, extractor in extractors.items():
            parts = {f"{branch}_encoder", f"{branch}_adapter"}
            # A loss on an encoder's frames needs the frames, which the cache does not have.
            if parts <= set(checksums) and not parts & {*round_.train, *round_.weighed.values()}:
                weights = [checksums[part] for part in sorted(parts, reverse=True)]
                branches[branch] = fingerprint(weights, config, extractor.to_dict(), precision)
        return branches

    @torch.no_grad()
    def fill(self, model: nn.Module, inputs: dict[str, Any], keys: list[str]):
        """Put the outputs of the round's frozen branches into a batch.

        Args:
            model: in training.
            inputs: of the model; `speech_embeds` and `emotion_embeds` are added.
            keys: a hash of each clip's samples.
        """
        base = without_lora(model).model
        shared = "input_values" not in inputs
        for branch, name in self._fingerprints.items():
            prefix = "input_features" if branch == "speech" or shared else "input_values"
            features, mask = inputs[prefix], inputs[f"{prefix}_mask"].bool()
            known = {key: self.cache.get(name, key) for key in set(keys)}
            missing = {key: place for place, key in enumerate(keys) if known[key] is None}
            if missing:
                places = list(missing.values())
                tokens = base.embed_branch(branch, features[places], mask[places])
                windows = mask[places].any(-1).sum(-1).tolist()
                for key, of_clip in zip(missing, tokens.split(windows)):
                    known[key] = of_clip
                    self.cache.put(name, key, of_clip)
            inputs[f"{branch}_embeds"] = torch.cat([known[key].to(features.device) for key in keys])
