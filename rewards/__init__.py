"""Rewards: what of an explanation can be verified, as small functions that TRL's trainers take as they are."""

from __future__ import annotations

from .functions import form, label, quotes_enough, quotes_said
from .judged import JudgeReward
from .registry import REWARDS, load_rewards
from .voice import CuesTrue


__all__ = ["REWARDS", "CuesTrue", "JudgeReward", "form", "label", "load_rewards", "quotes_enough", "quotes_said"]
