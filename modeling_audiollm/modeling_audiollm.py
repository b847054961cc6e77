# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    GenerationMixin,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    WhisperForConditionalGeneration,
    WhisperModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder, sinusoids
from transformers.utils import logging
from transformers.utils.generic import can_return_tuple

from .configuration_audiollm import (
    STATISTICS,
    AudioLLMConfig,
    encoder_frames,
    encoder_layers,
    encoder_width,
    encodes_by_length,
    kept_tokens,
    output_frames,
)
from .modeling_emotion2vec import Emotion2VecModel
from .saving import weights_open_to_readers
from .speech_decoder import CACHE, AudioLLMSpeechDecoder, look_up, only_looked_up


logger = logging.get_logger(__name__)
WHISPER_FRAMES_PER_SECOND = 50
# Whisper learnt to hear silence behind speech, and rows of one length are encoded together: a length-aware one hears
# its clips to the next whole multiple of this many mel frames, 5 s.
WHISPER_STEP = 500
# What a class says of each attention implementation, by the beginning of its name.
ATTENTION_FLAGS = {"sdpa": "_supports_sdpa", "flash_attention": "_supports_flash_attn", "flex": "_supports_flex_attn"}
# What vLLM's Transformers backend sets on the language model's configuration before it builds a model (0.32).
VLLM_ATTENTION = ("vllm", "vllm_mla")
AUDIO_INPUTS = ("input_features", "input_features_mask", "input_values", "input_values_mask")


@dataclass
class AudioLLMModelOutputWithPast(BaseModelOutputWithPast):
    """Base model outputs, with `audio_hidden_states`: the audio embeddings put into the prompt, `[tokens, hidden]`."""

    audio_hidden_states: torch.Tensor | None = None


@dataclass
class AudioLLMCausalLMOutputWithPast(CausalLMOutputWithPast):
    """Language model outputs, with `audio_hidden_states`: the audio embeddings put into the prompt."""

    audio_hidden_states: torch.Tensor | None = None


@dataclass(frozen=True)
class HeardWords:
    """What the speech decoder said of a clip.

    Args:
        ids: of the language model's tokens.
        sureness: how likely it found each, 0 to 1.
        placeholders: of the clip in a prompt.
    """

    ids: list[int]
    sureness: list[float]
    placeholders: int


@dataclass
class AudioLLMAudioFeatures(BaseModelOutputWithPooling):
    """Embedded clips; `said` are the words of each, where a speech decoder said them now."""

    said: list[HeardWords] | None = None


@dataclass(frozen=True)
class EncodedWindows:
    """What an encoder heard.

    Args:
        states: frames `[layers, windows, frames, width]`; one layer, the last, unless layers are to be mixed.
        counts: frames of real audio of each window, `[windows]`, or none if the padding was heard too.
    """

    states: torch.Tensor
    counts: torch.Tensor | None = None

    def real_frames(self) -> torch.Tensor:
        """Which frames were heard, `[windows, frames]`."""
        _, windows, frames, _ = self.states.shape
        if self.counts is None:
            return torch.ones(windows, frames, dtype=torch.bool, device=self.states.device)
        return torch.arange(frames, device=self.states.device) < self.counts[:, None]


class AudioLLMLayerMix(nn.Module):
    """Weighted sum over layers, each normalised over its channels, with learnt weights that are equal at first.

    Deeper layers are longer vectors: as they are, the last ones would be all that is heard.

    Args:
        layers: how many.
    """

    # An optimizer moves all parameters of an adapter by as much, which alone would leave weights of layers equal.
    SPEED = 30.0

    def __init__(self, layers: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Sum `[layers, windows, frames, width]` over the layers."""
        weights = (self.SPEED * self.logits).softmax(0)
        normed = nn.functional.layer_norm(states, states.shape[-1:])
        return torch.einsum("l,lwtc->wtc", weights.to(normed.dtype), normed)


class AudioLLMBatchNorm(nn.BatchNorm1d):
    """Normalises each channel over frames `[frames, width]`."""


@dataclass(frozen=True)
class Stream:
    """What an adapter takes of an encoder.

    Args:
        frames: per window.
        width: of a frame.
        layers: that are mixed (1: none).
        norm: of the frames, see `adapter_norm` of `AudioLLMConfig`.
    """

    frames: int
    width: int
    layers: int = 1
    norm: str = "layer"


class AudioLLMAlignment(nn.Module):
    """Reads audio tokens as words: CTC against the language model's own token embeddings.

    The logit of a word is the cosine of an audio token and the word's embedding, times a learnt temperature; blank is
    a learnt vector with a bias. So the adapter finds the language model's space without running the language model.
    It learns in float32, whatever is around it: times a temperature of 50, bfloat16's cosines are off by a tenth.

    Args:
        width: of the language model's embeddings.
        std: standard deviation of the new blank vector.
    """

    START_TEMPERATURE = 20.0
    SCALE_WEIGHT = 0.1

    def __init__(self, width: int, std: float):
        super().__init__()
        self.std = std
        self.blank = nn.Parameter(torch.empty(width))
        # Of one element, not of none, which FSDP2 could not shard.
        self.log_temperature = nn.Parameter(torch.empty(1))
        self.blank_bias = nn.Parameter(torch.empty(1))

    def forward(
        self,
        clips: Sequence[torch.Tensor],
        words: torch.Tensor,
        labels: torch.Tensor | None = None,
        mixed: bool = False,
    ) -> list[torch.Tensor] | torch.Tensor:
        """What the audio tokens of clips stand for, or how far that is from what was said.

        Args:
            clips: the audio tokens of each clip, `[tokens, width]`.
            words: embeddings of the words to choose among, `[words, width]`: those of the batch, and others.
            labels: for each clip its words as places in `words`, from 0, `[clips, longest]`, padded with -100.
            mixed: give each token as the words that it stands for, by their probabilities, at the length of words;
                `words` are then those of each token of the one clip, `[tokens, words, width]`. All goes through this
                method, before which FSDP2 gathers the parameters.

        Returns:
            Mixed tokens `[tokens, width]`. Without labels the logits of each clip, `[tokens, 1 + words]`, blank first;
            with them the mean CTC loss a word, and a pull of the tokens' lengths to that of the words' embeddings: the
            cosine leaves lengths free, but the language model has to read the tokens as if they were its words.
        """
        with torch.autocast(words.device.type, enabled=False):
            if mixed:
                return self._mix(clips[0], words)
            if labels is None:
                return [self._logits(clip, words) for clip in clips]
            return self._loss(clips, words, labels)

    def _loss(self, clips: Sequence[torch.Tensor], words: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self._logits(nn.utils.rnn.pad_sequence(list(clips)), words.float())
        real = labels >= 0
        lengths = torch.tensor([len(clip) for clip in clips], device=labels.device)
        ctc = nn.functional.ctc_loss(
            logits.log_softmax(-1), (labels + 1).clamp(min=0), lengths, real.sum(-1), zero_infinity=True
        )
        scale = words.float().norm(dim=-1).mean()
        stretch = torch.cat(list(clips)).float().norm(dim=-1).clamp(min=1e-6).div(scale).log()
        return ctc + self.SCALE_WEIGHT * stretch.square().mean()

    def _mix(self, tokens: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        words = words.float()
        cosines = nn.functional.normalize(words, dim=-1) @ nn.functional.normalize(tokens.float(), dim=-1).unsqueeze(
            -1
        )
        weights = (cosines * self.log_temperature.float().exp()).softmax(1)
        lengths = (weights * words.norm(dim=-1, keepdim=True)).sum(1)
        return (nn.functional.normalize((weights * words).sum(1), dim=-1) * lengths).to(tokens.dtype)

    def _logits(self, tokens: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        directions = nn.functional.normalize(torch.cat([self.blank[None].to(words.dtype), words]), dim=-1)
        tokens = nn.functional.normalize(tokens.to(words.dtype), dim=-1)
        cosines = tokens @ directions.t() * self.log_temperature.exp().to(words.dtype)
        return torch.cat([cosines[..., :1] + self.blank_bias, cosines[..., 1:]], dim=-1)


def frames_by_token(frames: torch.Tensor, tokens: int, stack: int) -> torch.Tensor:
    """`[windows, frames, ...]` as `[windows, tokens, stack, ...]`, the last stack completed with zeros."""
    missing = tokens * stack - frames.shape[1]
    if missing < 0:
        raise ValueError(f"Got {frames.shape[1]} frames for {tokens} tokens of {stack} frames.")
    return nn.functional.pad(frames, (*[0] * 2 * (frames.ndim - 2), 0, missing)).unflatten(1, (tokens, stack))


class AudioLLMAdapter(nn.Module):
    """Stack consecutive frames of one or more encoders and map them to the language model's embedding space.

    LayerNorm on the frames, stacking, two hidden layers with SiLU: MERaLiON-AudioLLM's adapter (paper, section 3).
    Frames that do not fill the last stack are completed with zeros: 1499 frames of HuBERT are treated as 1500.

    Args:
        streams: one for each encoder. Several are concatenated channel-wise.
        tokens: tokens per window to give.
        hidden_sizes: widths of the two hidden layers.
        output_size: width of the language model.
        context, dropout: see `AudioLLMConfig`, where their names begin with `adapter_`.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        tokens: int,
        hidden_sizes: Sequence[int],
        output_size: int,
        context: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.tokens, self.context, self.dropout = tokens, context, dropout
        self.stacks = [math.ceil(stream.frames / tokens) for stream in streams]
        self.mixes = nn.ModuleList(
            [AudioLLMLayerMix(stream.layers) if stream.layers > 1 else nn.Identity() for stream in streams]
        )
        norms = {"layer": nn.LayerNorm, "batch": AudioLLMBatchNorm}
        self.norms = nn.ModuleList([norms[stream.norm](stream.width) for stream in streams])
        first, second = hidden_sizes
        self.linear_1 = nn.Linear(sum(stack * stream.width for stack, stream in zip(self.stacks, streams)), first)
        if context:
            self.linear_context = nn.Linear((2 * context + 1) * first, first)
        self.linear_2 = nn.Linear(first, second)
        self.linear_3 = nn.Linear(second, output_size)
        self.act = nn.SiLU()

    def _stack(self, index: int, encoded: EncodedWindows) -> torch.Tensor:
        states = encoded.states
        frames = self.mixes[index](states) if len(states) > 1 else states[0]
        real = encoded.real_frames()
        normed = self.norms[index](frames[real])  # which autocast gives in float32
        frames = normed.new_zeros(frames.shape).masked_scatter(real.unsqueeze(-1), normed)
        return self._by_token(index, frames)

    def _by_token(self, index: int, frames: torch.Tensor) -> torch.Tensor:
        """`[windows, frames, ...]` as `[windows, tokens, all of a token's frames]`."""
        return frames_by_token(frames, self.tokens, self.stacks[index]).flatten(2)

    def forward(self, *streams: EncodedWindows) -> torch.Tensor:
        """Map what the encoders heard to tokens `[windows, tokens, output_size]`.

        Tokens that hear nothing are all the same, and computed once: of a short clip's window they are most.
        """
        stacked = torch.cat([self._stack(index, encoded) for index, encoded in enumerate(streams)], dim=-1)
        real = [self._by_token(index, encoded.real_frames()).any(-1) for index, encoded in enumerate(streams)]
        heard = torch.stack(real).any(0)
        tokens = torch.cat([stacked[heard], stacked.new_zeros(1, stacked.shape[-1])])
        if self.training and self.dropout:
            unheard = torch.rand(len(tokens), 1, device=tokens.device) < self.dropout / 2
            tokens = tokens.masked_fill(unheard, 0)
        hidden = self._drop(self.act(self.linear_1(tokens)))
        if self.context:
            hidden = hidden + self.act(self.linear_context(self._neighbours(hidden, heard)))
        tokens = self.linear_3(self._drop(self.act(self.linear_2(hidden))))
        return tokens[-1].expand(*heard.shape, -1).masked_scatter(heard.unsqueeze(-1), tokens[:-1])

    def _neighbours(self, hidden: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        """Each heard token's hidden state between those of its neighbours, and those of one alone that hears nothing.

        Args:
            hidden: of the heard tokens, and of one that hears nothing, `[tokens + 1, width]`.
            heard: which are which, `[windows, tokens]`.
        """
        alone = nn.functional.pad(hidden[-1:], (self.context * hidden.shape[-1],) * 2)
        placed = hidden.new_zeros(*heard.shape, hidden.shape[-1]).masked_scatter(heard.unsqueeze(-1), hidden[:-1])
        around = nn.functional.pad(placed, (0, 0, self.context, self.context)).unfold(1, 2 * self.context + 1, 1)
        return torch.cat([around.transpose(2, 3).flatten(2)[heard], alone])

    def _drop(self, hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(hidden, self.dropout, self.training)


class AudioLLMRunningNorm(nn.BatchNorm1d):
    """Normalises each channel by mean and deviation of the training so far, in training too.

    Of a batch with one clip, whose tokens hear nearly the same, a batch norm would take away what it tells. Batches
    count alike; from the hundredth on, older ones fade. Statistics are float32 whatever the model is: in bfloat16 a
    mean would be off by more than voices differ.

    Args:
        width: channels.
    """

    SHARE = 0.01  # at least, of the last batch in what is known, so that what moves is followed
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, width: int):
        super().__init__(width, affine=False, dtype=torch.float32)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise `[rows, width]`."""
        if not self.training:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        if len(input):
            self._follow(input.detach())
        # A backward pass needs what these are now, which another forward pass before it would change.
        return nn.functional.batch_norm(input, self.running_mean.clone(), self.running_var.clone(), eps=self.eps)

    @torch.no_grad()
    def _follow(self, rows: torch.Tensor):
        self.num_batches_tracked += 1
        share = (1 / self.num_batches_tracked).clamp(min=self.SHARE)
        variance, mean = torch.var_mean(rows, 0, correction=0)
        moved = mean - self.running_mean
        # Variance within batches and between them; before the first there is none.
        between = share * (1 - share) * moved.square()
        self.running_var.copy_((1 - share) * self.running_var + share * variance + between)
        self.running_mean.add_(share * moved)

    def _apply(self, fn: Any, recurse: bool = True) -> AudioLLMRunningNorm:
        """Move where the model moves, and keep what is known as it is, in float32."""
        before = {name: getattr(self, name) for name in ("running_mean", "running_var")}
        super()._apply(fn, recurse)
        for name, known in before.items():
            moved = getattr(self, name)
            if moved.dtype != torch.float32:  # the values that were rounded, unless there were none yet
                setattr(self, name, (moved if known.is_meta else known).to(moved.device, torch.float32))
        return self


class AudioLLMStatisticsLinear(nn.Linear):
    """Begins small: of thousands of statistics, random sums would be most of what it ever tells."""


class AudioLLMStatisticsAdapter(nn.Module):
    """Tokens of what is heard around each: mean and deviation of every channel of every layer of an encoder.

    These are normalised over the clips of the training and mapped by two linear layers with nothing between them.
    Feelings last longer than a token, and linear probes on such statistics tell them of speakers whom they never heard
    where an adapter of stacked frames, with twenty times the parameters, has learnt its own by heart
    (docs/small_model.md).

    Args:
        stream: of the encoder, all layers.
        tokens: per window to give.
        output_size: width of the language model.
        context: tokens on either side whose frames each hears beside its own; of one window.
        width: channels between the linear layers.
        dropout: share of the statistics that is left out in training, the same ones for all tokens of a window: those
            hear nearly the same, and would tell each other what one of them lacks.
    """

    def __init__(self, stream: Stream, tokens: int, output_size: int, context: int, width: int, dropout: float):
        super().__init__()
        self.tokens, self.context, self.dropout = tokens, context, dropout
        self.stack = math.ceil(stream.frames / tokens)
        self.norm = AudioLLMRunningNorm(2 * stream.layers * stream.width)
        self.linear_1 = AudioLLMStatisticsLinear(2 * stream.layers * stream.width, width)
        self.linear_2 = nn.Linear(width, output_size)

    def forward(self, encoded: EncodedWindows) -> torch.Tensor:
        """Map what the encoder heard to tokens `[windows, tokens, output_size]`; those that hear nothing are equal."""
        statistics, heard = self._statistics(encoded)
        normed = self.norm(statistics[heard])
        kept = nn.functional.dropout(normed.new_ones(len(heard), normed.shape[-1]), self.dropout, self.training)
        normed = (normed * kept[heard.nonzero()[:, 0]]).to(self.linear_1.bias.dtype)
        tokens = self.linear_2(self.linear_1(torch.cat([normed, normed.new_zeros(1, normed.shape[-1])])))
        heard = nn.functional.pad(heard, (0, self.tokens - heard.shape[1]))
        return tokens[-1].expand(*heard.shape, -1).masked_scatter(heard.unsqueeze(-1), tokens[:-1])

    def _statistics(self, encoded: EncodedWindows) -> tuple[torch.Tensor, torch.Tensor]:
        """What each token hears, `[windows, tokens, statistics]`, and which ones have frames, `[windows, tokens]`.

        Given are as many tokens as the longest window has; of short clips' windows they are few.
        """
        real = encoded.real_frames()
        if real.shape[1] > self.tokens * self.stack:
            raise ValueError(f"Got {real.shape[1]} frames for {self.tokens} tokens of {self.stack} frames.")
        longest = int(real.sum(-1).max()) if len(real) else 0
        real = real[:, :longest, None]
        own = self._sums(real.float())
        sums, squares = [], []
        for layer in encoded.states:  # one by one, as all frames of all layers are a lot
            frames = layer[:, :longest].float()
            frames = nn.functional.layer_norm(frames, frames.shape[-1:]).masked_fill(~real, 0)
            sums.append(self._sums(frames))
            squares.append(self._sums(frames.square()))
        counts = self._around(own).clamp(min=1)
        means = self._around(torch.cat(sums, -1)) / counts
        variances = self._around(torch.cat(squares, -1)) / counts - means.square()
        return torch.cat([means, variances.clamp(min=1e-5).sqrt()], -1), own[..., 0] > 0

    def _sums(self, frames: torch.Tensor) -> torch.Tensor:
        """Of frames `[windows, frames, width]`, the sum of each token's own."""
        return frames_by_token(frames, math.ceil(frames.shape[1] / self.stack), self.stack).sum(2)

    def _around(self, sums: torch.Tensor) -> torch.Tensor:
        """Sums over each token and its neighbours."""
        padded = nn.functional.pad(sums, (0, 0, self.context, self.context))
        return torch.stack([padded[:, first : first + sums.shape[1]] for first in range(2 * self.context + 1)]).sum(0)


def _by_length(lengths: torch.Tensor, frames: int, hear: Callable[[torch.Tensor, int], torch.Tensor]) -> torch.Tensor:
    """What is heard in windows, those of one length together, `[layers, windows, frames, width]`, zeros behind.

    Args:
        lengths: of each window's features, `[windows]`.
        frames: of the longest window.
        hear: gives `[layers, rows, frames, width]` for the rows of windows and the length that they have.
    """
    groups = {length: (lengths == length).nonzero().squeeze(-1) for length in lengths.unique().tolist()}
    heard = [hear(rows, length) for length, rows in groups.items()]
    padded = [nn.functional.pad(group, (0, 0, 0, frames - group.shape[2])) for group in heard]
    return torch.cat(padded, dim=1)[:, torch.cat(list(groups.values())).argsort()]


class AudioLLMWhisperEncoder(WhisperEncoder):
    """Whisper's encoder, which also hears less than a whole window, with positions for the frames that there are."""

    @torch.no_grad()
    def __init__(self, config: Any):
        super().__init__(config)
        # transformers leaves out what `_init_weights` does to modules of classes that are not its own (5.24).
        self.embed_positions.weight.copy_(sinusoids(*self.embed_positions.weight.shape))

    def forward(  # type: ignore[override]
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Encode mel features.

        Args:
            input_features: `[windows, mel bins, time]`.
            attention_mask: 1 on what is to be heard, `[windows, time]`, from the first on; windows of one length are
                encoded together, as Whisper has no mask. Frames behind are zero. Without it, all of a whole window is
                heard, as transformers' encoder does.
            output_hidden_states: whether to give the states of all layers too, before the first one at first.
        """
        if attention_mask is None:
            return super().forward(input_features, output_hidden_states=output_hidden_states, **kwargs)
        lengths, frames = attention_mask.sum(-1), output_frames(self.config, input_features.shape[-1])
        states = _by_length(
            lengths, frames, lambda rows, n: self._hear(input_features[rows, :, :n], output_hidden_states)
        )
        return BaseModelOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if output_hidden_states else None
        )

    def _hear(self, features: torch.Tensor, all_layers: bool) -> torch.Tensor:
        """What is heard in windows of one length, `[layers, windows, frames, width]`."""
        hidden = nn.functional.gelu(self.conv1(features))
        hidden = nn.functional.gelu(self.conv2(hidden)).transpose(1, 2)
        positions = self.embed_positions(torch.arange(hidden.shape[1], device=hidden.device))
        hidden = nn.functional.dropout(hidden + positions, p=self.dropout, training=self.training)
        states = []
        for layer in self.layers:
            states.append(hidden)
            if not (self.training and self.layerdrop > 0 and torch.rand([]) < self.layerdrop):
                hidden = layer(hidden, None)
        last = self.layer_norm(hidden)
        return torch.stack([*states, last] if all_layers else [last])


# What AutoModel gives for Parakeet's checkpoints with what recognises, and without.
WHOLE_PARAKEETS = ("parakeet_ctc", "parakeet_rnnt", "parakeet_tdt")
# Encoders that AutoModel does not give: the encoder half of Whisper, and our own, whose configuration class may come
# from another copy of the same remote code than AutoModel knows.
OWN_ENCODERS = {"whisper": AudioLLMWhisperEncoder, "emotion2vec": Emotion2VecModel}


def build_part(config: Any) -> PreTrainedModel:
    """A part of random weights by its configuration; of Whisper, an encoder-decoder, only the encoder.

    Where a part lacks the attention implementation that the whole model was given, it takes its own default.
    """
    own = OWN_ENCODERS.get(config.model_type)
    wanted = config._attn_implementation
    flag = next((flag for name, flag in ATTENTION_FLAGS.items() if str(wanted).startswith(name)), None)
    part_class: Any = own or MODEL_MAPPING.get(type(config), None)
    if flag is not None and part_class is not None and not getattr(part_class, flag):
        logger.warning_once(f"{part_class.__name__} has no attention implementation {wanted!r}; it takes its default.")
        config = copy.deepcopy(config)
        config._attn_implementation = None
    return own._from_config(config) if own else AutoModel.from_config(config)


def load_encoder(source: str | PreTrainedModel, window_seconds: float, **kwargs) -> Any:
    """A pretrained audio encoder from a checkpoint (or a model at hand), ready for windows of `window_seconds`.

    Of a whole Whisper or Parakeet it is the encoder. A Whisper encoder's positions are cut to the window, so that
    shorter windows cost less; they can't be longer.
    """
    encoder: Any
    if not isinstance(source, str):
        whole = source.model if isinstance(source, WhisperForConditionalGeneration) else source
        encoder = whole.encoder if isinstance(whole, WhisperModel) else whole
    elif (kind := AutoConfig.from_pretrained(source, revision=kwargs.get("revision")).model_type) == "whisper":
        encoder = WhisperModel.from_pretrained(source, **kwargs).encoder
    elif kind == "emotion2vec":
        encoder = Emotion2VecModel.from_pretrained(source, **kwargs)
    else:
        encoder = AutoModel.from_pretrained(source, **kwargs)
    if encoder.config.model_type in WHOLE_PARAKEETS:
        encoder = encoder.encoder
    if encoder.config.model_type == "whisper":
        positions = round(window_seconds * WHISPER_FRAMES_PER_SECOND)
        if positions > encoder.config.max_source_positions:
            raise ValueError(
                f"window_seconds={window_seconds} needs {positions} positions; the Whisper encoder has "
                f"{encoder.config.max_source_positions}."
            )
        encoder.config.max_source_positions = encoder.max_source_positions = positions
        encoder.embed_positions = nn.Embedding.from_pretrained(encoder.embed_positions.weight[:positions].clone())
        encoder.__class__ = AudioLLMWhisperEncoder  # the same modules, with our forward
    return encoder


def encode(
    encoder: PreTrainedModel, features: torch.Tensor, mask: torch.Tensor | None = None, all_layers: bool = False
) -> EncodedWindows:
    """What an encoder makes of windows of its features.

    Args:
        encoder: any speech or emotion encoder.
        features: `[windows, samples]` for encoders of raw audio, `[windows, mel bins, time]` for Whisper, and
            `[windows, time, mel bins]` for the others; mel features of Whisper's extractor are transposed.
        mask: 1 on real audio, `[windows, time]`: then the encoder hears nothing else.
        all_layers: whether to give the states of all layers.
    """
    mel_bins = getattr(encoder.config, "num_mel_bins", None)
    if mel_bins is not None and encoder.config.model_type != "whisper" and features.shape[-1] != mel_bins:
        features = features.transpose(-1, -2)
    if all_layers and encoder.training:
        _skip_no_layer(encoder)
    if mask is None:
        return EncodedWindows(_states(encoder, features, None, all_layers))
    lengths = _heard_lengths(encoder.config, mask)
    longest = int(lengths.max())
    features = features[..., :longest] if encoder.config.model_type == "whisper" else features[:, :longest]
    mask = torch.arange(longest, device=features.device) < lengths[:, None]
    counts = torch.tensor([output_frames(encoder.config, n) for n in lengths.tolist()], device=features.device)
    if encoder.config.model_type == "whisper" or not encodes_by_length(encoder.config):  # our Whisper does it itself
        states = _states(encoder, features, mask, all_layers)
    else:

        def hear(rows: torch.Tensor, length: int) -> torch.Tensor:
            with _masking_what_fits(encoder, output_frames(encoder.config, length)):
                return _states(encoder, features[rows, :length], mask[rows, :length], all_layers)

        states = _by_length(lengths, int(counts.max()), hear)
    return EncodedWindows(states, counts)


def _states(
    encoder: PreTrainedModel, features: torch.Tensor, mask: torch.Tensor | None, all_layers: bool
) -> torch.Tensor:
    """States of an encoder for features of which `mask` is heard, or all, `[layers, windows, frames, width]`."""
    inputs = {} if mask is None else {"attention_mask": mask.long()}
    output = encoder(features.to(encoder.dtype), output_hidden_states=all_layers, **inputs)
    return torch.stack(output.hidden_states) if all_layers else output.last_hidden_state.unsqueeze(0)


@contextmanager
def _masking_what_fits(encoder: PreTrainedModel, frames: int) -> Iterator[None]:
    """Leave SpecAugment out of windows with fewer frames than it masks in a row, which transformers refuses."""
    config: Any = encoder.config
    asked = getattr(config, "apply_spec_augment", False)
    config.apply_spec_augment = asked and frames >= config.mask_time_length
    try:
        yield
    finally:
        config.apply_spec_augment = asked


def _skip_no_layer(encoder: PreTrainedModel):
    """Switch LayerDrop off: a layer that is skipped gives no state to mix."""
    for owner in (encoder.config, *encoder.modules()):
        for name in ("layerdrop", "encoder_layerdrop"):
            if getattr(owner, name, 0):
                setattr(owner, name, 0.0)


def _heard_lengths(config: PreTrainedConfig, mask: torch.Tensor) -> torch.Tensor:
    """Features that a length-aware encoder hears of each window, `[windows]`, for a mask `[windows, time]`.

    Of Whisper in whole steps. Of others in whole frames: else strided convolutions hear, in the last one, the padding
    that a longer neighbour makes. Parakeet masks between them, but too late for odd lengths, and not at all with
    vLLM's convolutions in it.
    """
    step = WHISPER_STEP if config.model_type == "whisper" else getattr(config, "subsampling_factor", 1)
    lengths = mask.sum(-1).clamp(min=_least_length(config)).add(step - 1).div(step, rounding_mode="floor")
    return (lengths * step).clamp(max=mask.shape[-1])


def _least_length(config) -> int:
    """The shortest features that give an encoder a frame."""
    length = 1
    while output_frames(config, length) < 1:
        length += 1
    return length


def _real_windows(
    features: torch.Tensor | Sequence[torch.Tensor], mask: torch.Tensor | Sequence[torch.Tensor] | None
) -> torch.Tensor:
    """Rows of `features` `[clips, windows, ...]` that hold audio by `mask` `[clips, windows, time]`, in order.

    Either may be a list of clips that have not equally many windows, as vLLM batches requests.
    """
    if not (isinstance(features, torch.Tensor) and (mask is None or isinstance(mask, torch.Tensor))):
        masks = [None] * len(features) if mask is None else mask
        return torch.cat([clip if m is None else clip[m.bool().any(-1)] for clip, m in zip(features, masks)])
    return features.flatten(0, 1) if mask is None else features[mask.bool().any(-1)]


def pad_frames(windows: Sequence[torch.Tensor]) -> torch.Tensor:
    """Windows `[layers, frames, width]` of different lengths as `[layers, windows, frames, width]`, zeros behind."""
    longest = max(window.shape[1] for window in windows)
    return torch.stack([nn.functional.pad(w, (0, 0, 0, longest - w.shape[1])) for w in windows], dim=1)


def _first_tokens(tokens: int, mask: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
    """The first tokens of each window, those of real audio, `[windows, tokens]`, for a mask of its features."""
    real = _real_windows(mask, mask)
    counts = kept_tokens(tokens, real.sum(-1), real.shape[-1])
    return torch.arange(tokens, device=real.device) < counts[:, None]


def _word_starts(best: torch.Tensor) -> torch.Tensor:
    """Where a word begins in the likeliest of each token, `[..., tokens]`, of which 0 is blank (greedy CTC)."""
    starts = best > 0
    starts[..., 1:] &= best[..., 1:] != best[..., :-1]
    return starts


def _window_counts(
    features: torch.Tensor | Sequence[torch.Tensor] | None, mask: torch.Tensor | Sequence[torch.Tensor] | None
) -> list[int] | None:
    """Windows of real audio of each clip, or none where features and mask are not of the same.

    Empty windows behind a clip's own may be more in one branch than in the other, as vLLM batches requests; for lists
    see [`_real_windows`].
    """
    if mask is None:
        return None if features is None else [len(clip) for clip in features]
    if features is not None and [len(clip) for clip in features] != [len(clip) for clip in mask]:
        return None
    if isinstance(mask, torch.Tensor):
        return mask.bool().any(-1).sum(-1).tolist()
    return [int(clip.bool().any(-1).sum()) for clip in mask]


def _check_match(
    input_features: Any, input_features_mask: Any, input_values: Any = None, input_values_mask: Any = None
):
    """Refuse features and masks that are not of the same clips, windows and times.

    Raises:
        ValueError: naming both and their shapes.
    """
    given = {
        "input_features": input_features,
        "input_features_mask": input_features_mask,
        "input_values": input_values,
        "input_values_mask": input_values_mask,
    }
    tensors = {name: tensor for name, tensor in given.items() if isinstance(tensor, torch.Tensor)}
    windows = [
        _window_counts(tensors.get(name), tensors.get(f"{name}_mask"))
        for name in ("input_features", "input_values")
        if name in tensors or f"{name}_mask" in tensors
    ]
    if None in windows or any(counts != windows[0] for counts in windows):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"Audio inputs are not of the same clips and windows: {shapes}.")
    for name in ("input_features", "input_values"):
        features, mask = tensors.get(name), tensors.get(f"{name}_mask")
        if features is not None and mask is not None and mask.shape[-1] not in features.shape[2:]:
            raise ValueError(
                f"{name} {list(features.shape)} and {name}_mask {list(mask.shape)} differ in time; let the processor "
                "build both."
            )


class AudioLLMHead(nn.Linear):
    """Language-model head without bias, from hidden states to logits.

    On CPUs, the product of few rows and a wide matrix in float32 is up to three times as fast the other way round: MKL
    shares it among threads by the rows of the first factor (torch 2.14; 2 to 16 rows, 49,152 words, 2 threads).
    """

    FEW_ROWS = 64

    def __init__(self, hidden_size: int, vocab_size: int):
        super().__init__(hidden_size, vocab_size, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        rows = hidden_states.flatten(0, -2)
        plain = type(self.weight) is nn.Parameter and self.weight.dtype == torch.float32  # not sharded, not quantized
        if not plain or rows.device.type != "cpu" or rows.dtype != torch.float32 or rows.shape[0] > self.FEW_ROWS:
            return super().forward(hidden_states)
        return (self.weight @ rows.t()).t().contiguous().unflatten(0, hidden_states.shape[:-1])


class AudioLLMPreTrainedModel(PreTrainedModel):
    config_class = AudioLLMConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ["audio", "text"]
    output_modalities = ("text",)
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = [CACHE]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # The two buffers by name: their norm also counts batches, in integers.
    _keep_in_fp32_modules_strict: Any = {"emotion_adapter.norm.running_mean", "emotion_adapter.norm.running_var"}
    _can_compile_fullgraph = True  # decoding with a static cache, where the language model's own class can
    # The alignment is beside the adapter that it belongs to: it reads the tokens of both, after the adapter has run.
    _no_split_modules: Any = ["AudioLLMAdapter", "AudioLLMStatisticsAdapter", "AudioLLMAlignment"]

    def post_init(self):
        super().post_init()
        # transformers takes over what the parts' classes name, of which a Whisper encoder has no decoder layers.
        self._no_split_modules &= {type(module).__name__ for module in self.modules()}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, AudioLLMLayerMix):
            init.zeros_(module.logits)
        elif isinstance(module, AudioLLMStatisticsLinear):
            init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, AudioLLMSpeechDecoder):
            init.zeros_(module.silence)
            init.constant_(module.words, -1)
            init.zeros_(module.never)
        elif isinstance(module, AudioLLMAlignment):
            init.normal_(module.blank, std=module.std)
            init.constant_(module.log_temperature, math.log(module.START_TEMPERATURE))
            init.zeros_(module.blank_bias)


class AudioLLMModel(AudioLLMPreTrainedModel):
    """Speech encoder, emotion encoder, their adapters and a headless language model.

    Args:
        config ([`AudioLLMConfig`]): the composite configuration.
    """

    LIKELIEST = 16  # words, of which an audio token that stands for one is mixed
    TOKENS_AT_ONCE = 1024  # that are compared with all words
    LABEL_TEMPERATURE = 20.0  # by which labels are mixed, as a round with `label` begins
    # Parts are of whatever class their configurations name; of two encoders' adapters some are there.
    speech_encoder: Any
    emotion_encoder: Any
    language_model: Any
    speech_decoder: Any
    adapter: Any
    speech_adapter: Any
    emotion_adapter: Any

    def __init__(self, config: AudioLLMConfig):
        super().__init__(config)
        self.speech_encoder = build_part(config.speech_config)
        if config.emotion_config is not None:
            self.emotion_encoder = build_part(config.emotion_config)
        self.language_model = build_part(config.text_config)
        if config.speech_decoder is not None:
            self.speech_decoder = AudioLLMSpeechDecoder(config.speech_config, **config.speech_decoder)
        self._build_adapters()
        self.post_init()

    def _build_adapters(self):
        config = self.config
        width = config.get_text_config().hidden_size

        def stream(branch: str, layers: int = 1) -> Stream:
            part = getattr(config, f"{branch}_config")
            frames = encoder_frames(part, config.window_seconds)
            return Stream(frames, encoder_width(part), layers, config.norm_of(branch))

        speech, emotion = stream("speech"), None  # which is asked for where there is an emotion encoder
        if config.emotion_config is not None:
            emotion = stream("emotion", encoder_layers(config.emotion_config) if config.all_emotion_layers else 1)

        def adapter(streams: list[Any], tokens: int) -> AudioLLMAdapter:
            hidden = config.adapter_hidden_sizes or [streams[0].width, 4 * streams[0].width]
            return AudioLLMAdapter(streams, tokens, hidden, width, config.adapter_context, config.adapter_dropout)

        if config.fusion == "feature":
            self.adapter = adapter([speech, emotion], config.speech_tokens)
        else:
            self.speech_adapter = adapter([speech], config.speech_tokens)
        if config.emotion_statistics is not None and emotion is not None:
            settings = STATISTICS | config.emotion_statistics
            self.emotion_adapter = AudioLLMStatisticsAdapter(emotion, config.emotion_tokens, width, **settings)
        elif config.fusion == "sequence":
            self.emotion_adapter = adapter([emotion], config.emotion_tokens)
        if config.speech_alignment:
            self.get_submodule(self.hearing_adapter).alignment = AudioLLMAlignment(width, config.initializer_range)

    @property
    def hearing_adapter(self) -> str:
        """The adapter that speech goes through, and that a loss on words teaches."""
        return "adapter" if self.config.fusion == "feature" else "speech_adapter"

    @property
    def alignment(self) -> nn.Module:
        """That of the adapter that hears, in a model that was aligned."""
        return self.get_submodule(f"{self.hearing_adapter}.alignment")

    def speech_tokens(self, input_features_mask: torch.Tensor, **inputs: Any) -> list[torch.Tensor]:
        """The tokens of each clip that carry its speech, without those of padding: `[tokens, hidden]` for each.

        Arguments are those of [`get_audio_features`]; the mask is needed.
        """
        tokens: Any = inputs.get("speech_embeds")
        if tokens is None:
            tokens = self.adapter_tokens(self.hearing_adapter, input_features_mask=input_features_mask, **inputs)
        kept = _first_tokens(self.config.speech_tokens, input_features_mask)
        windows = _window_counts(None, input_features_mask)
        return [clip[real] for clip, real in zip(tokens.split(windows), kept.split(windows), strict=True)]

    def train(self, mode: bool = True):
        """Set training mode, but leave frozen parts in eval mode, without dropout (transformers#24479)."""
        super().train(mode)
        for name, part in self.named_children():
            if name != "language_model" and not any(p.requires_grad for p in part.parameters()):
                part.eval()
        return self

    @can_return_tuple
    def get_audio_features(
        self,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        speech_embeds: torch.Tensor | None = None,
        emotion_embeds: torch.Tensor | None = None,
        speech_frames: EncodedWindows | None = None,
        emotion_frames: EncodedWindows | None = None,
        speech_words: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> AudioLLMAudioFeatures:
        """Embed audio clips.

        Args:
            input_features: the speech encoder's features, `[clips, windows, ...]`.
            input_features_mask: 1 on real audio, `[clips, windows, time]`; a window of zeros only is not encoded.
            input_values: the emotion encoder's features; left out when both encoders share `input_features`.
            input_values_mask: as `input_features_mask`.
            speech_embeds, emotion_embeds: what [`embed_branch`] gave for these clips before; that branch is then not
                computed. Not with fusion `"feature"`, which has no branches.
            speech_frames, emotion_frames: what [`branch_frames`] gave for them before; that encoder is then not run.
            speech_words: words that [`decoded_words`] gave for them before; the speech decoder is then not run.

        Returns:
            [`AudioLLMAudioFeatures`]: `last_hidden_state` are the embeddings `[windows, tokens, hidden]` and
            `pooler_output` the same flattened over windows, clip after clip, without the tokens of padding if
            `config.audio_tokens` is `"clip"`: what replaces the placeholders.
        """
        speech = (input_features, input_features_mask)
        emotion = speech if input_values is None else (input_values, input_values_mask)
        _check_match(*speech, *emotion)
        sureness = None
        if self.config.words_first == "decoder" and speech_words is None:
            speech_frames = self.branch_frames("speech", *speech) if speech_frames is None else speech_frames
            speech_words, sureness = self.decoded_words(speech_frames, input_features_mask)
        if self.config.fusion == "feature":
            fused = self._fuse(speech, emotion, speech_frames, emotion_frames)
            embeddings = self._words_first(fused, *speech, speech_words)
        else:
            heard = self.embed_branch("speech", *speech, speech_frames) if speech_embeds is None else speech_embeds
            branches = [self._words_first(heard, *speech, speech_words)]
            if self.config.fusion == "sequence":
                if emotion_embeds is None:
                    emotion_embeds = self.embed_branch("emotion", *emotion, emotion_frames)
                branches.append(self._label_first(emotion_embeds, *emotion))
            embeddings = torch.cat(branches, dim=1)
        kept = self._kept(input_features_mask, input_values_mask)
        flat = embeddings.flatten(0, 1) if kept is None else embeddings[kept]
        said = None
        if sureness is not None and speech_words is not None:
            said = self._said(speech_words, sureness, kept, embeddings.shape[1], *speech)
        return AudioLLMAudioFeatures(last_hidden_state=embeddings, pooler_output=flat, said=said)

    def _said(
        self, words: torch.Tensor, sureness: torch.Tensor, kept: Any, tokens: int, features: Any, mask: Any
    ) -> list[HeardWords]:
        """The speech decoder's words of each clip, with the clip's tokens in a prompt."""
        windows = _window_counts(features if mask is None else None, mask)
        assert windows is not None  # _words_first has refused what does not say them
        kept = words.new_ones(len(words), tokens, dtype=torch.bool) if kept is None else kept
        clips = zip(words.split(windows), sureness.split(windows), kept.split(windows), strict=True)
        return [HeardWords(of[of >= 0].tolist(), sure[of >= 0].tolist(), int(own.sum())) for of, sure, own in clips]

    def word_embeddings(self, ids: torch.Tensor | None = None) -> torch.Tensor:
        """The language model's token embeddings as it reads them, which alignment leaves as they are.

        Args:
            ids: of some tokens, `[tokens]`; the whole vocabulary by default.
        """
        embeddings: Any = self.get_input_embeddings()
        if only_looked_up(embeddings):
            ids = torch.arange(self.config.get_text_config().vocab_size) if ids is None else ids
            return look_up(embeddings, ids).detach()
        weight = embeddings.weight.detach()
        weight = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        weight = weight[: self.config.get_text_config().vocab_size]  # vLLM pads them
        weight = weight if ids is None else weight[ids]
        scale = getattr(embeddings, "embed_scale", None)  # Gemma 3's, whose layers take what is given as it is
        return weight if scale is None else weight * torch.as_tensor(scale, dtype=weight.dtype, device=weight.device)

    def label_words(self, labels: Sequence[Sequence[int]]) -> torch.Tensor:
        """The language model's words for labels, `[labels, hidden]`: of each the mean over its token ids."""
        tokens = self.word_embeddings(torch.tensor([token for label in labels for token in label]))
        return torch.stack([own.mean(0) for own in tokens.float().split([len(label) for label in labels])])

    def label_nearness(
        self, tokens: torch.Tensor, windows: Sequence[int], mask: torch.Tensor | None, words: torch.Tensor
    ) -> torch.Tensor:
        """How near clips' tokens come to words for labels, `[clips, labels]`, see [`feel`].

        Args:
            tokens: of the adapter that `label` teaches, `[windows, tokens, hidden]`.
            windows: of each clip.
            mask: of the features, as in [`get_audio_features`].
            words: an embedding for each label, `[labels, hidden]`.
        """
        real = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        real = real if mask is None else _first_tokens(tokens.shape[1], mask)
        heard = nn.functional.normalize(tokens.float(), dim=-1)
        clips = zip(heard.split(list(windows)), real.split(list(windows)), strict=True)
        directions = torch.stack([clip[own].mean(0) for clip, own in clips])
        with torch.autocast(tokens.device.type, enabled=False):  # bfloat16's cosines are too coarse for a temperature
            return directions @ nn.functional.normalize(words.to(tokens.device), dim=-1).t()

    def _label_first(
        self, tokens: torch.Tensor, features: torch.Tensor | None, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Tokens of windows `[windows, tokens, hidden]` as the language model gets them, see `label_first`.

        It is the first of a clip's tokens that gives place, not that of each of its windows.

        Args:
            tokens: of the emotion adapter.
            features, mask: of the emotion encoder.
        """
        if not self.config.label_first:
            return tokens
        if not self.config.emotion_label_ids:
            raise ValueError("label_first needs emotion_label_ids, the token ids of labels, which a training writes.")
        windows = _window_counts(features if mask is None else None, mask)
        if windows is None:
            raise ValueError("label_first needs features or their mask, which say how many windows a clip has.")
        words = self.label_words(self.config.emotion_label_ids)
        shares = (self.LABEL_TEMPERATURE * self.label_nearness(tokens, windows, mask, words)).softmax(-1)
        with torch.autocast(tokens.device.type, enabled=False):
            mixed = shares @ words.to(tokens.device)
        counts = torch.tensor(windows, device=tokens.device)
        first = counts.cumsum(0) - counts
        return tokens.index_put((first, torch.zeros_like(first)), mixed.to(tokens.dtype))

    @torch.no_grad()
    def _likeliest_words(self, tokens: torch.Tensor, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What each of the audio tokens `[tokens, hidden]` stands for, 0 for blank, and the likeliest words of it."""
        best, words = [], []
        for some in tokens.split(self.TOKENS_AT_ONCE):
            (logits,) = self.alignment([some], embeddings)
            best.append(logits.argmax(-1))
            words.append(logits[:, 1:].topk(min(self.LIKELIEST, len(embeddings))).indices)
        return torch.cat(best), torch.cat(words)

    def decoded_words(self, frames: EncodedWindows, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the speech decoder says of each window, as token ids `[windows, words]`, -1 behind them, and how likely
        it found each, `[windows, words]`.

        Args:
            frames: of the speech branch.
            mask: of its features, as in [`get_audio_features`].
        """
        windows = frames.states.shape[1]
        room = torch.full((windows,), self.config.speech_tokens, device=frames.states.device)
        if mask is not None:
            room = _first_tokens(self.config.speech_tokens, mask).sum(-1)
        return self.speech_decoder(frames.states[-1], frames.counts, room)

    def _words_first(
        self,
        tokens: torch.Tensor,
        features: torch.Tensor | None,
        mask: torch.Tensor | None,
        words: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tokens of windows `[windows, tokens, hidden]` as the language model gets them, see `words_first`.

        A clip's words stand in front of all its speech tokens, whatever window they were said in, so that they read as
        one text.

        Args:
            tokens: of the adapter that hears speech.
            features, mask: of the speech encoder.
            words: what the speech decoder said, where it is the one that says the words.
        """
        if self.config.words_first is None:
            return tokens
        windows = _window_counts(features if mask is None else None, mask)
        if windows is None:
            raise ValueError("words_first needs input_features or their mask, which say how many windows a clip has.")
        real = tokens.new_ones(tokens.shape[:2], dtype=torch.bool)
        real = real if mask is None else _first_tokens(self.config.speech_tokens, mask)
        counts = [int(own.sum()) for own in real.split(windows)]
        clips = (
            self._heard_first(tokens[real], counts)
            if words is None
            else self._said_first(tokens[real].split(counts), words.split(windows))
        )
        return tokens.masked_scatter(real.unsqueeze(-1), torch.cat(clips))

    def _said_first(self, clips: Sequence[torch.Tensor], words: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The decoder's words in front, and of the adapter's tokens as many as there is room for, evenly."""
        fitting = [said[said >= 0][: len(clip)] for clip, said in zip(clips, words, strict=True)]
        embeddings, ordered = self.word_embeddings(torch.cat(fitting)).split([len(said) for said in fitting]), []
        for clip, said in zip(clips, embeddings, strict=True):
            others = torch.linspace(0, len(clip) - 1, len(clip) - len(said), device=clip.device).round().long()
            ordered.append(torch.cat([said.to(clip.dtype), clip[others]]))
        return ordered

    def _heard_first(self, heard: torch.Tensor, counts: list[int]) -> list[torch.Tensor]:
        """The words that the adapter was aligned with in front, and its other tokens behind, in time."""
        if not self.config.speech_alignment:
            raise ValueError("words_first needs a model that was aligned: give a round of its training `align`.")
        embeddings = self.word_embeddings()
        best, words = self._likeliest_words(heard, embeddings)
        starts = torch.cat([_word_starts(clip) for clip in best.split(counts)])
        said = self.alignment([heard[starts]], embeddings[words[starts]], mixed=True)
        heard = heard.masked_scatter(starts.unsqueeze(-1), said)
        return [
            torch.cat([clip[first], clip[~first]])
            for clip, first in zip(heard.split(counts), starts.split(counts), strict=True)
        ]

    def _kept(self, speech_mask: torch.Tensor | None, emotion_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Which tokens of its windows a clip keeps, `[windows, tokens]`; none for all."""
        config = self.config
        if config.audio_tokens == "window":
            return None
        if speech_mask is None:
            raise ValueError('audio_tokens "clip" needs the mask that the processor gives with the features.')
        kept = [_first_tokens(config.speech_tokens, speech_mask)]
        if config.fusion == "sequence":
            kept.append(_first_tokens(config.emotion_tokens, speech_mask if emotion_mask is None else emotion_mask))
        return torch.cat(kept, dim=1)

    @property
    def feeling_adapter(self) -> str:
        """The adapter that a loss on labels teaches by default, and that [`feel`] asks."""
        return "emotion_adapter" if self.config.fusion == "sequence" else self.hearing_adapter

    def adapter_tokens(
        self,
        adapter: str,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        speech_frames: EncodedWindows | None = None,
        emotion_frames: EncodedWindows | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Tokens of one adapter, `[windows, tokens, hidden]`, without words in front.

        Args:
            adapter: `"speech_adapter"` or `"emotion_adapter"`, or `"adapter"`, over both.
            others: as in [`get_audio_features`].
        """
        speech = (input_features, input_features_mask)
        emotion = speech if input_values is None else (input_values, input_values_mask)
        if adapter == "adapter":
            return self._fuse(speech, emotion, speech_frames, emotion_frames)
        if adapter == "speech_adapter":
            return self.embed_branch("speech", *speech, speech_frames)
        return self.embed_branch("emotion", *emotion, emotion_frames)

    def _fuse(self, speech: tuple, emotion: tuple, speech_frames: Any = None, emotion_frames: Any = None) -> Any:
        """Tokens of one adapter over both encoders, for features and masks, or for frames that were given before."""
        return self.adapter(
            speech_frames or self.branch_frames("speech", *speech),
            emotion_frames or self.branch_frames("emotion", *emotion),
        )

    def embed_branch(
        self, part: str, features: torch.Tensor | None, mask: torch.Tensor | None, frames: EncodedWindows | None = None
    ) -> torch.Tensor:
        """Tokens of one branch of a model without feature fusion, `[windows, tokens, hidden]`.

        Args:
            part: `"speech"` or `"emotion"`.
            features, mask: as in [`get_audio_features`].
            frames: what [`branch_frames`] gave for these clips before; the encoder is then not run.
        """
        frames = self.branch_frames(part, features, mask) if frames is None else frames
        return getattr(self, f"{part}_adapter")(frames)

    def branch_frames(self, part: str, features: torch.Tensor | None, mask: torch.Tensor | None) -> EncodedWindows:
        """What the encoder of one branch hears, before the adapter; arguments as for [`embed_branch`]."""
        return self._encode(part, features, mask)

    def needed_frames(self, part: str, mask: torch.Tensor) -> list[int]:
        """Of each window's frames, how many its adapter's tokens are made of; `mask` as in [`get_audio_features`]."""
        config, windows = self.config, _real_windows(mask, mask)
        encoder = getattr(config, f"{part}_config")
        frames = encoder_frames(encoder, config.window_seconds)
        heard = torch.full((len(windows),), frames)
        if getattr(config, f"{part}_length_aware"):
            heard = torch.tensor([output_frames(encoder, n) for n in _heard_lengths(encoder, windows).tolist()])
        if config.audio_tokens == "window":
            return heard.tolist()
        of_emotion = part == "emotion" and config.fusion == "sequence"
        tokens = config.emotion_tokens if of_emotion else config.speech_tokens
        kept, stack = kept_tokens(tokens, windows.sum(-1), windows.shape[-1]).cpu(), math.ceil(frames / tokens)
        needed = kept * stack
        if part == "emotion" and config.emotion_statistics is not None:
            # Of real audio alone: of a token it may be a tenth, and the rest seconds of silence.
            real = torch.tensor([output_frames(encoder, n) for n in windows.sum(-1).tolist()])
            needed = real.clamp(min=(kept - 1) * stack + 1)
        return torch.minimum(needed, heard).tolist()

    def _encode(self, part: str, features: Any, mask: torch.Tensor | None) -> EncodedWindows:
        all_layers = part == "emotion" and self.config.all_emotion_layers
        encoder = getattr(self, f"{part}_encoder")
        encoded = encode(encoder, _real_windows(features, mask), self._heard(part, mask), all_layers=all_layers)
        statistics = part == "emotion" and self.config.emotion_statistics is not None
        around = self.config.adapter_context or statistics
        if around and self.config.audio_tokens == "clip" and mask is not None:
            # Else the last token of a clip would hear the padding behind it, which is as long as its neighbours are.
            counts = torch.tensor(self.needed_frames(part, mask), device=encoded.states.device)
            encoded = replace(encoded, counts=counts)
        return encoded

    def _heard(self, part: str, mask: torch.Tensor | None) -> torch.Tensor | None:
        """What the encoder of `part` is to hear of its windows, `[windows, time]`, or none for all."""
        if not getattr(self.config, f"{part}_length_aware"):
            return None
        if mask is None:
            raise ValueError(f"{part}_length_aware needs the mask that the processor gives with the features.")
        return _real_windows(mask, mask)

    @property
    def context_tokens(self) -> int | None:
        """Tokens that the language model can read, or none if its configuration does not say."""
        return getattr(self.config.get_text_config(), "max_position_embeddings", None)

    @property
    def context_seconds(self) -> float:
        """Seconds of audio in whole windows that fill the language model's context."""
        if self.context_tokens is None:
            return math.inf
        return self.context_tokens // self.config.tokens_per_window * self.config.window_seconds

    def refuse_beyond_context(self, tokens: int):
        """Refuse a prompt (with its answer) that is longer than the language model can read.

        Args:
            tokens: of prompt, audio and answer together.

        Raises:
            ValueError: naming the limit in tokens and in seconds of audio.
        """
        context = self.context_tokens
        if context is None or tokens <= context:
            return
        raise ValueError(
            f"The prompt takes {tokens} tokens with its audio and answer, but the language model reads at most "
            f"{context}, about {self.context_seconds:g} s of audio. Cut the recording into pieces of a few seconds "
            "and ask about each, or follow its emotion over time with `emotion_timeline`."
        )

    def get_placeholder_mask(
        self, input_ids: torch.LongTensor | None, inputs_embeds: torch.Tensor, audio_embeds: torch.Tensor
    ) -> torch.BoolTensor:
        """Where audio embeddings go, `[batch, length, hidden]`.

        Raises:
            ValueError: if the prompt does not hold one placeholder for each audio embedding.
        """
        if input_ids is None:
            token = torch.tensor(self.config.audio_token_id, device=inputs_embeds.device)
            placeholders = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
        else:
            placeholders = input_ids == self.config.audio_token_id
        found, wanted = int(placeholders.sum()), audio_embeds.shape[0]
        if found != wanted:
            raise ValueError(
                f"Audio and prompt do not match: the audio gives {wanted} embeddings (at most "
                f"{self.config.tokens_per_window} for a window of {self.config.window_seconds:g} s), the prompt holds "
                f"{found} placeholders. Let the processor build both, with the model's settings, and do not cut the "
                "prompt (`max_length`, `truncation`)."
            )
        return placeholders.unsqueeze(-1).expand_as(inputs_embeds)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        speech_embeds: torch.Tensor | None = None,
        emotion_embeds: torch.Tensor | None = None,
        speech_frames: EncodedWindows | None = None,
        emotion_frames: EncodedWindows | None = None,
        speech_words: torch.Tensor | None = None,
        kept: torch.BoolTensor | None = None,
        **kwargs: Any,
    ) -> AudioLLMModelOutputWithPast:
        """Audio inputs as in [`AudioLLMModel.get_audio_features`], the others as in any decoder-only model.

        `mm_encoder_outputs["audio"]`, what `get_audio_features` gave for these clips before, stands for audio inputs:
        several questions about a clip then encode it once. With `kept` `[batch, length]`, `last_hidden_state` holds
        these positions only, in one row: what a loss scores.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        if input_features is not None and mm_encoder_outputs is not None:
            raise ValueError("Give input_features or mm_encoder_outputs, not both.")
        if input_features is None and input_values is not None:
            raise ValueError("input_values come with input_features, of which there are none.")
        embeds: torch.Tensor = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        audio_embeds = None if mm_encoder_outputs is None else mm_encoder_outputs["audio"].pooler_output
        if input_features is not None:
            self.refuse_beyond_context(embeds.shape[1])
            audio_embeds = self.get_audio_features(
                input_features,
                input_features_mask,
                input_values,
                input_values_mask,
                speech_embeds=speech_embeds,
                emotion_embeds=emotion_embeds,
                speech_frames=speech_frames,
                emotion_frames=emotion_frames,
                speech_words=speech_words,
            ).pooler_output
        if audio_embeds is not None:
            mask = self.get_placeholder_mask(input_ids, embeds, audio_embeds)
            embeds = embeds.masked_scatter(mask, audio_embeds.to(embeds.device, embeds.dtype))
        outputs = self.language_model(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **{**kwargs, "return_dict": True},
        )
        states = outputs.last_hidden_state
        return AudioLLMModelOutputWithPast(
            last_hidden_state=states if kept is None else states[kept].unsqueeze(0),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            audio_hidden_states=audio_embeds,
            **{CACHE: outputs.get(CACHE)},
        )


def _refuse_unfit(language: PreTrainedModel):
    """Refuse a causal language model that would not answer here as it does by itself.

    Raises:
        ValueError: naming its type and what it has.
    """
    config: Any = language.config.get_text_config()
    words: Any = language.get_input_embeddings().weight
    reason = None
    if getattr(language.get_output_embeddings(), "bias", None) is not None:
        reason = "has a head with a bias, which AudioLLM's head has not"
    elif getattr(config, "num_attention_heads", None) is None:
        reason = "has no attention, which AudioLLM needs"
    elif words.shape[-1] != config.hidden_size:
        reason = f"embeds words in {words.shape[-1]} channels, of {config.hidden_size} that AudioLLM gives it"
    if reason:
        raise ValueError(f"The language model {language.config.model_type!r} {reason}; choose another one.")


class AnswerNoRepeatNGramLogitsProcessor(NoRepeatNGramLogitsProcessor):
    """`no_repeat_ngram_size` of what is generated alone: an answer may quote what its prompt says.

    Args:
        ngram_size: tokens in a row that an answer says once.
        prompt_length: tokens in front of the answer.
    """

    def __init__(self, ngram_size: int, prompt_length: int):
        super().__init__(ngram_size)
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: Any) -> torch.Tensor:
        """Scores of next tokens, without those that would repeat what the answer said."""
        answer: Any = input_ids[:, self.prompt_length :]
        return super().__call__(answer, scores)


class AudioLLMForConditionalGeneration(AudioLLMPreTrainedModel, GenerationMixin):
    """[`AudioLLMModel`] with a language-model head: answers questions about audio.

    Args:
        config ([`AudioLLMConfig`]): the composite configuration.
    """

    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: AudioLLMConfig):
        super().__init__(config)
        self.model = AudioLLMModel(config)
        text = config.get_text_config()
        self.lm_head = AudioLLMHead(text.hidden_size, text.vocab_size)
        embeddings = self.get_input_embeddings()  # `embed_tokens` of most language models, `wte` of GPT-2's kin
        name = next(name for name, module in self.named_modules() if module is embeddings)
        self._tied_weights_keys = {"lm_head.weight": f"{name}.weight"}
        self.post_init()

    @classmethod
    def _from_config(cls, config: AudioLLMConfig, **kwargs: Any) -> PreTrainedModel:
        # vLLM builds `AutoModel.from_config` and puts a head of its own on it, so it must get the base model, while a
        # person's AutoModel must generate. This can go when vLLM asks for the base model (`.base_model`, or a class of
        # its own in `auto_map`), or when AutoModel is nobody's way to a generating model any more.
        if config.get_text_config()._attn_implementation in VLLM_ATTENTION:
            return AudioLLMModel._from_config(config, **kwargs)
        return super()._from_config(config, **kwargs)

    @classmethod
    def from_parts(
        cls,
        speech: str | PreTrainedModel,
        text: str | PreTrainedModel,
        emotion: str | PreTrainedModel | None = None,
        vocab_size: int | None = None,
        speech_decoder: AudioLLMSpeechDecoder | None = None,
        **config_kwargs: Any,
    ) -> AudioLLMForConditionalGeneration:
        """Assemble a model from pretrained parts; only the adapters are new.

        Args:
            speech: checkpoint (folder or Hub id) of the speech encoder, or the model itself.
            text: checkpoint of the causal language model, or the model itself.
            emotion: checkpoint of the emotion encoder, or the model itself; none for a single-encoder model.
            vocab_size: size of the tokenizer, if it was given more tokens than the language model knows.
            speech_decoder: of the speech encoder's Whisper, where `words_first` is `"decoder"`.
            config_kwargs: fields of [`AudioLLMConfig`], at least `audio_token_id`.

        Returns:
            A model of these very parts: models at hand are taken as they are, checkpoints are loaded in fp32.

        Raises:
            ValueError: for a language model whose head has a bias, or that has no attention.
        """
        window = config_kwargs.get("window_seconds", AudioLLMConfig.window_seconds)
        language: Any = text
        if isinstance(text, str):
            language = AutoModelForCausalLM.from_pretrained(text, dtype=torch.float32)
        _refuse_unfit(language)
        if vocab_size is not None and vocab_size > language.get_input_embeddings().num_embeddings:
            language.resize_token_embeddings(vocab_size)
        fp32 = {"dtype": torch.float32}
        speech_encoder = load_encoder(speech, window, **fp32)
        emotion_encoder = None if emotion is None else load_encoder(emotion, window, **fp32)
        parts = [part for part in (speech_encoder, emotion_encoder, language) if part is not None]
        attention = [part.config._attn_implementation for part in parts]
        tied = language.get_output_embeddings().weight is language.get_input_embeddings().weight
        config = AudioLLMConfig(
            speech_config=speech_encoder.config,
            emotion_config=None if emotion_encoder is None else emotion_encoder.config,
            text_config=language.config,
            tie_word_embeddings=tied,
            speech_decoder=None if speech_decoder is None else speech_decoder.settings(),
            **config_kwargs,
        )
        with torch.device("meta"):  # the parts are there already: nothing is made twice
            model = cls(config)
        for part, chosen in zip(parts, attention):  # a configuration of the whole sets one for all
            part.config._attn_implementation = chosen
        model.model.speech_encoder, model.model.language_model = speech_encoder, language.base_model
        if emotion_encoder is not None:
            model.model.emotion_encoder = emotion_encoder
        if speech_decoder is not None:
            model.model.speech_decoder = speech_decoder
        model.lm_head.weight = language.get_output_embeddings().weight
        model.model._build_adapters()
        for name, part in model.model.named_children():
            if name.endswith("adapter"):
                part.apply(model._init_weights).to(language.device, language.dtype)
        model.tie_weights()
        model.generation_config = language.generation_config
        return model

    def save_pretrained(self, save_directory: str, **kwargs: Any):
        """Save weights, configuration and code, so that the folder alone serves all Auto classes and the pipeline.

        Saving maps one auto class, the one that a model's class was loaded by: both give the same, generating model.
        """
        # Importing here makes the loader of remote code, which follows relative imports, take the pipeline along.
        from .pipeline_audiollm import AudioEmotionReasoningPipeline as Pipeline

        code = {cls: f"{cls.__module__.rpartition('.')[-1]}.{cls.__name__}" for cls in (type(self), Pipeline)}
        self.config.auto_map = dict.fromkeys(("AutoModel", "AutoModelForMultimodalLM"), code[type(self)])
        self.config.custom_pipelines = {
            "audio-emotion-reasoning": {
                "impl": code[Pipeline],
                "pt": ["AutoModelForMultimodalLM"],
                "type": "multimodal",
            }
        }
        with weights_open_to_readers(save_directory):
            super().save_pretrained(save_directory, **kwargs)

    def add_emotion_encoder(
        self, emotion: str | PreTrainedModel, fusion: str = "sequence", emotion_tokens: int | None = None
    ) -> AudioLLMForConditionalGeneration:
        """Turn a trained single-encoder model into a dual one, in place (paper, section 6).

        Args:
            emotion: checkpoint of the emotion encoder, or the model itself.
            fusion: `"sequence"` keeps the speech adapter; `"feature"` replaces it by a new one over both encoders.
            emotion_tokens: tokens of the emotion branch for one window.

        Raises:
            ValueError: if the model already has an emotion encoder.
        """
        if self.config.emotion_config is not None:
            raise ValueError("This model already has an emotion encoder.")
        old = self.model
        encoder = load_encoder(emotion, self.config.window_seconds).to(self.device, self.dtype)
        if emotion_tokens is not None:
            self.config.emotion_tokens = emotion_tokens
        self.config.emotion_config, self.config.fusion = encoder.config, fusion
        self.config.emotion_label_ids = None  # another adapter was taught them
        if fusion == "feature":  # whose adapter is new
            self.config.speech_alignment = False
        self.config.validate_architecture()
        kept = old.speech_adapter.state_dict()
        old.emotion_encoder = encoder
        del old.speech_adapter
        old._build_adapters()
        for name in ("speech_adapter", "emotion_adapter", "adapter"):
            if hasattr(old, name):
                adapter = getattr(old, name).apply(old._init_weights).to(self.device, self.dtype)
                for model in (self, old):
                    model._no_split_modules.add(type(adapter).__name__)
        if fusion == "sequence":
            old.speech_adapter.load_state_dict(kept)
        return self

    def add_speech_alignment(self):
        """Give the adapter that hears speech a new [`AudioLLMAlignment`], in place, unless it has one."""
        if self.config.speech_alignment:
            return
        self.config.speech_alignment = True
        alignment = AudioLLMAlignment(self.config.get_text_config().hidden_size, self.config.initializer_range)
        self.model.get_submodule(self.model.hearing_adapter).alignment = alignment.to(self.device, self.dtype)
        alignment.apply(self._init_weights)
        for model in (self, self.model):
            model._no_split_modules.add(type(alignment).__name__)

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.LongTensor | None, dict[str, Any]]:
        """Encode each clip once, then repeat what was heard for each beam or sequence of its prompt.

        A prompt's clips belong together: two clips, A and B, and two beams make A B A B. transformers 5.24 repeats
        every input row by row, and knows encoded images and videos only; this can go when it knows audio.
        """
        if kwargs.get("input_features") is not None and input_ids is not None:
            self.refuse_beyond_context(input_ids.shape[1])
        if expand_size == 1:
            return input_ids, kwargs
        raw = {name: kwargs.pop(name) for name in AUDIO_INPUTS if kwargs.get(name) is not None}
        encoded = kwargs.pop("mm_encoder_outputs", None)
        audio: Any = self.get_audio_features(**raw) if raw else encoded["audio"] if encoded else None
        if audio is not None:
            embeds = kwargs.get("inputs_embeds")
            embeds = self.get_input_embeddings()(input_ids) if embeds is None else embeds
            mask = self.model.get_placeholder_mask(input_ids, embeds, audio.pooler_output)
            rows = audio.pooler_output.split(mask[..., 0].sum(-1).tolist())
            repeated = torch.cat([row for row in rows for _ in range(expand_size)])
            audio = BaseModelOutputWithPooling(pooler_output=repeated)
        input_ids, kwargs = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids=input_ids, **kwargs
        )
        return input_ids, kwargs if audio is None else {**kwargs, "mm_encoder_outputs": {"audio": audio}}

    def _get_logits_processor(
        self, generation_config: Any, input_ids_seq_length: int | None = None, **kwargs: Any
    ) -> LogitsProcessorList:
        """transformers 5.24 counts a decoder's prompt among what `no_repeat_ngram_size` lets nobody say again."""
        size, generation_config = generation_config.no_repeat_ngram_size, copy.copy(generation_config)
        generation_config.no_repeat_ngram_size = None
        parent: Any = super()
        processors = parent._get_logits_processor(generation_config, input_ids_seq_length, **kwargs)
        if size:
            processors.insert(0, AnswerNoRepeatNGramLogitsProcessor(size, input_ids_seq_length or 0))
        return processors

    def get_audio_features(self, *args: Any, **kwargs: Any) -> AudioLLMAudioFeatures:
        """As [`AudioLLMModel.get_audio_features`]."""
        return self.model.get_audio_features(*args, **kwargs)

    @property
    def context_seconds(self) -> float:
        """As [`AudioLLMModel.context_seconds`]."""
        return self.model.context_seconds

    def refuse_beyond_context(self, tokens: int):
        """As [`AudioLLMModel.refuse_beyond_context`]."""
        self.model.refuse_beyond_context(tokens)

    def _logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        logits = self.lm_head(hidden_states)
        cap = getattr(self.config.get_text_config(), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        input_values: torch.Tensor | None = None,
        input_values_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        alignment_words: torch.LongTensor | None = None,
        alignment_labels: torch.LongTensor | None = None,
        **kwargs: Any,
    ) -> AudioLLMCausalLMOutputWithPast:
        """Audio inputs as in [`AudioLLMModel.forward`], the others as in any causal language model.

        With `alignment_labels` the language model does not run, and `loss` is that of [`AudioLLMAlignment`]:
        `alignment_words` are the ids of the words to choose among, and the labels are places in them.
        """
        if alignment_labels is not None:
            heard = {"input_features": input_features, "input_values": input_values, **kwargs}
            clips = self.model.speech_tokens(input_features_mask, input_values_mask=input_values_mask, **heard)
            words = self.model.word_embeddings(alignment_words)
            loss = self.model.alignment(clips, words, alignment_labels)
            return AudioLLMCausalLMOutputWithPast(loss=loss)
        outputs = self.model(
            input_ids=input_ids,
            input_features=input_features,
            input_features_mask=input_features_mask,
            input_values=input_values,
            input_values_mask=input_values_mask,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self._logits(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.get_text_config().vocab_size, **kwargs
            )
        return AudioLLMCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            audio_hidden_states=outputs.audio_hidden_states,
            **{CACHE: outputs.get(CACHE)},
        )

    @torch.no_grad()
    def hear(self, by: str = "adapter", **inputs: Any) -> list[list[int]]:
        """The words that the audio tokens stand for, before any language model reads them.

        Args:
            by: `"adapter"`, one that was aligned: its likeliest words (greedy CTC); or `"decoder"`, see `words_first`.
            inputs: features and masks, as the processor gives them for clips.

        Returns:
            For each clip the token ids of its words, to be decoded by the tokenizer.

        Raises:
            ValueError: if the model was not aligned, or has no speech decoder, or for another `by`.
        """
        if by == "decoder":
            return self._hear_decoder(**inputs)
        if by != "adapter":
            raise ValueError(f"by must be adapter or decoder; got {by!r}.")
        if not self.config.speech_alignment:
            raise ValueError("This model was not aligned: no round of its training had `align`.")
        names = {*AUDIO_INPUTS, "speech_embeds", "speech_frames", "emotion_frames"}
        clips = self.model.speech_tokens(**{name: value for name, value in inputs.items() if name in names})
        words = self.model.word_embeddings()
        read = [logits.argmax(-1) for logits in self.model.alignment(clips, words)]
        return [(best[_word_starts(best)] - 1).tolist() for best in read]

    def _hear_decoder(self, **inputs: Any) -> list[list[int]]:
        if self.config.words_first != "decoder":
            raise ValueError(f"This model has no speech decoder: its words_first is {self.config.words_first!r}.")
        mask = inputs["input_features_mask"]
        frames = inputs.get("speech_frames") or self.model.branch_frames("speech", inputs["input_features"], mask)
        windows = self.model.decoded_words(frames, mask)[0].split(_window_counts(None, mask))
        return [said[said >= 0].tolist() for said in windows]

    @torch.no_grad()
    def feel(self, labels: Sequence[Sequence[int]], **inputs: Any) -> torch.Tensor:
        """How near an adapter's tokens come to words for labels, before any language model reads them.

        What [`hear`] is for an adapter that a round with `align` taught, this is for one that `label` taught: the
        emotion adapter where there is one, else that over both encoders, or of speech.

        Args:
            labels: token ids of each label, as it stands in an answer (" happy").
            inputs: features and masks, as the processor gives them for clips.

        Returns:
            Tensor `[clips, labels]`, the cosine of a label and a clip's tokens, -1 to 1: the mean over the tokens.
        """
        adapter = self.model.feeling_adapter
        own = adapter == "emotion_adapter" and inputs.get("input_values") is not None
        mask = inputs["input_values_mask" if own else "input_features_mask"]
        tokens, windows = self.model.adapter_tokens(adapter, **inputs), _window_counts(None, mask)
        assert windows is not None  # there is a mask
        return self.model.label_nearness(tokens, windows, mask, self.model.label_words(labels))

    @torch.no_grad()
    def score_continuations(self, continuations: Sequence[Sequence[int]], **inputs: Any) -> torch.Tensor:
        """Log-likelihood of each continuation of each prompt; the prompt is read once.

        Args:
            continuations: token ids that could follow every prompt, for instance the words of each label.
            inputs: what the processor gives for a left-padded batch of prompts.

        Returns:
            Tensor `[prompts, continuations]` of summed natural-log probabilities.
        """
        mask = inputs.pop("attention_mask", None)
        mask = torch.ones_like(inputs["input_ids"]) if mask is None else mask
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        prompt = self(**inputs, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
        size, many = prompt.logits.shape[0], len(continuations)
        device = prompt.logits.device  # the model's own is none while its weights are offloaded
        lengths = torch.tensor([len(ids) for ids in continuations], device=device)
        ids = torch.zeros(many, int(lengths.max()), dtype=torch.long, device=device)
        for row, continuation in zip(ids, continuations):
            row[: len(continuation)] = torch.tensor(continuation)
        first = prompt.logits[:, -1:].expand(-1, many, -1).flatten(0, 1).unsqueeze(1)
        logits = first
        if ids.shape[1] > 1:
            cache = prompt[CACHE]
            cache.batch_repeat_interleave(many)
            fed = ids[:, :-1].repeat(size, 1)
            seen = torch.cat([mask.repeat_interleave(many, 0), torch.ones_like(fed)], dim=1)
            positions = (seen.cumsum(-1) - 1)[:, -fed.shape[1] :]
            follow = {"input_ids": fed, "attention_mask": seen, "position_ids": positions, CACHE: cache}
            later = self(**follow, use_cache=True).logits
            logits = torch.cat([first, later], dim=1)
        scores = logits.float().log_softmax(-1).gather(-1, ids.repeat(size, 1).unsqueeze(-1)).squeeze(-1)
        real = torch.arange(ids.shape[1], device=device) < lengths[:, None]
        return (scores * real.repeat(size, 1)).sum(-1).view(size, many)


__all__ = ["AudioLLMForConditionalGeneration", "AudioLLMModel", "AudioLLMPreTrainedModel"]
