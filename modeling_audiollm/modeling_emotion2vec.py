# This file travels to the Hub with the weights: imports of its own folder only, relative and one level deep.
"""emotion2vec (Ma et al., 2024, arXiv:2312.15185) for transformers, equal to FunASR's frame by frame, and in batches.

A batch is computed without its padding. Upstream lets padded frames leak into real ones through the position
convolutions; here they are zeroed before each of them, the waveform is encoded where it is real, and the blocks run
over the real frames of all clips put end to end. A clip gives the same alone and in any batch, and padding is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.loss.loss_utils import ForSequenceClassificationLoss
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple

from .configuration_emotion2vec import Emotion2VecConfig


# The waveform is encoded 64 frames (1.28 s) at a time: 8 MB of activations stay in a CPU's cache, 200 MB don't.
PIECE_FRAMES = 64
# For the same reason a CPU takes clips together only up to this many frames, which is enough for efficient products.
CPU_FRAMES = 512


class Emotion2VecConvProjection(nn.Module):
    """The weights of a convolution as a matrix `[channels, kernel x width]`.

    No `nn.Linear`, which quantizers and LoRA would take for a layer of the transformer.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(windows, self.weight)


class Emotion2VecConvLayer(GradientCheckpointingLayer):
    """A strided convolution over time, as a matrix product on channels-last frames, with LayerNorm and GELU.

    Channels-last spares the layer norm its transposes, and a window of `stride` frames is a view, no copy.
    """

    def __init__(self, config: Emotion2VecConfig, layer: int):
        super().__init__()
        self.kernel, self.stride = config.conv_kernel[layer], config.conv_stride[layer]
        width = config.conv_dim[layer - 1] if layer else 1
        self.projection = Emotion2VecConvProjection(self.kernel * width, config.conv_dim[layer])
        self.layer_norm = nn.LayerNorm(config.conv_dim[layer], eps=config.layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        batch, length, width = hidden_states.shape
        frames = (length - self.kernel) // self.stride + 1
        windows = hidden_states[:, : frames * self.stride].reshape(batch, frames, self.stride * width)
        overlap = self.kernel - self.stride
        if overlap:
            ahead = hidden_states[:, self.stride :].unfold(1, overlap, self.stride)
            ahead = ahead.transpose(2, 3).reshape(batch, frames, overlap * width)
            windows = torch.cat([windows, ahead], dim=-1)
        return nn.functional.gelu(self.layer_norm(self.projection(windows)))

    def forward_any_length(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The same by a convolution, whose graph does not depend on the length."""
        weight = self.projection.weight.unflatten(1, (self.kernel, -1)).transpose(1, 2)
        frames = nn.functional.conv1d(hidden_states.transpose(1, 2), weight, stride=self.stride).transpose(1, 2)
        return nn.functional.gelu(self.layer_norm(frames))


class Emotion2VecFeatureEncoder(nn.Module):
    """From the waveform to one vector each 20 ms."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        self.config = config
        self.conv_layers = nn.ModuleList([Emotion2VecConvLayer(config, i) for i in range(len(config.conv_dim))])

    def _pieces(self, frames: list[int], one_by_one: bool) -> Iterator[tuple[list[int], int, int]]:
        """Rows of the batch with the first and last frame (excluded) to compute for them next."""
        for start in range(0, max(frames), PIECE_FRAMES):
            rows = [row for row, count in enumerate(frames) if count > start]
            for group in [[row] for row in rows] if one_by_one else [rows]:
                yield group, start, min(start + PIECE_FRAMES, max(frames[row] for row in group))

    def forward(self, input_values: torch.Tensor, frames: list[int]) -> torch.Tensor:
        """Encode `[batch, samples]` to `[batch, max(frames), channels]`; nothing is meant after a clip's."""
        hop = self.config.inputs_to_logits_ratio
        encoded = input_values.new_zeros(len(frames), max(frames), self.config.conv_dim[-1])
        learns = torch.is_grad_enabled() and self.conv_layers[0].projection.weight.requires_grad
        # One by one a CPU's cache holds what it works on; other devices want large products.
        for rows, start, stop in self._pieces(frames, one_by_one=input_values.device.type == "cpu"):
            samples = start * hop + self.config.num_samples(stop - start)
            piece = input_values[rows, start * hop : samples].unsqueeze(-1)
            if learns and self.training:
                piece.requires_grad_()  # else reentrant checkpointing gives these layers no gradient
            for layer in self.conv_layers:
                piece = layer(piece)
            encoded[rows, start:stop] = piece.to(encoded.dtype)
        return encoded


class Emotion2VecPositionEncoder(nn.Module):
    """Grouped convolutions over the frames, each with an unlearned LayerNorm and GELU."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        width, kernel = config.hidden_size, config.position_kernel
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=config.position_groups)
            for _ in range(config.num_position_layers)
        )
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps, elementwise_affine=False)

    def forward(self, hidden_states: torch.Tensor, padding: torch.Tensor | None) -> torch.Tensor:
        """Encode `[batch, frames, width]`; `padding` `[batch, frames, 1]` is True where a frame is none."""
        for conv in self.convs:
            # Before each of them, or a clip hears its padding: 45 frames deep by the last.
            if padding is not None:
                hidden_states = hidden_states.masked_fill(padding, 0.0)
            hidden_states = conv(hidden_states.transpose(1, 2)).transpose(1, 2)
            hidden_states = nn.functional.gelu(self.layer_norm(hidden_states))
        return hidden_states


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention in plain products, `[batch, heads, frames, head width]` to `[batch, frames, heads, head width]`."""
    scores = (query * scaling) @ key.transpose(2, 3) + attention_mask
    probabilities = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    probabilities = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return (probabilities @ value).transpose(1, 2), probabilities


class Emotion2VecAttention(nn.Module):
    """Multi-head attention with a bias on its scores, over clips put end to end."""

    is_causal = False

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def _attend(self, qkv: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        length = query.shape[2]
        output, weights = attention(
            self,
            query,
            key,
            value,
            attention_mask=bias[..., :length, :length].to(query.dtype),
            scaling=self.head_dim**-0.5,
            dropout=self.config.attention_dropout if self.training else 0.0,
        )
        return output.flatten(2), weights

    def forward(
        self, hidden_states: torch.Tensor, bias: torch.Tensor, lengths: list[int] | None
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """Attend within each clip; gives the states and each clip's attention, `[heads, tokens, tokens]` (or none).

        Without `lengths` the clips stand beside each other, `[batch, tokens, width]`, and `bias` hides their padding.
        """
        qkv = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, self.head_dim))
        if lengths is None:
            return self.out_proj(self._attend(qkv, bias)[0]), []
        if min(lengths) == max(lengths):
            attended, weights = self._attend(qkv.view(len(lengths), lengths[0], *qkv.shape[2:]), bias)
            attended = attended.reshape_as(hidden_states)
            maps: list[torch.Tensor | None] = [None] * len(lengths) if weights is None else [*weights]
        else:
            clips = [self._attend(clip, bias) for clip in qkv.split(lengths, dim=1)]
            attended = torch.cat([states for states, _ in clips], dim=1)
            maps = [None if weights is None else weights[0] for _, weights in clips]
        return self.out_proj(attended), maps


class Emotion2VecFeedForward(nn.Module):
    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.activation_dropout)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.output_dense(self.dropout(self.activation(self.intermediate_dense(hidden_states))))


class Emotion2VecLayer(GradientCheckpointingLayer):
    """A transformer block with its norms after the residual sums (upstream's `AltBlock`)."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        self.attention = Emotion2VecAttention(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = Emotion2VecFeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self, hidden_states: torch.Tensor, bias: torch.Tensor, lengths: list[int] | None
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        attended, maps = self.attention(hidden_states, bias, lengths)
        hidden_states = self.layer_norm(hidden_states + self.dropout(attended))
        hidden_states = hidden_states + self.dropout(self.feed_forward(hidden_states))
        return self.final_layer_norm(hidden_states), maps


def alibi_slopes(num_heads: int) -> list[float]:
    """How fast attention falls with distance, per head (ALiBi, Press et al., 2022, arXiv:2108.12409).

    A geometric row that ends at 2^-8; for heads that are no power of two, the row of the power below, completed with
    every other slope of the power above.
    """
    power = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    return slopes if power == num_heads else slopes + alibi_slopes(2 * power)[::2][: num_heads - power]


class Emotion2VecEncoder(nn.Module):
    """Extra tokens, a norm, then the blocks, with one attention bias for all of them."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__()
        self.config = config
        self.extra_tokens = nn.Parameter(torch.zeros(1, config.num_extra_tokens, config.hidden_size))
        self.alibi_scale = nn.Parameter(torch.ones(config.num_attention_heads))
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList([Emotion2VecLayer(config) for _ in range(config.num_hidden_layers)])

    def _attention_bias(self, frames: int) -> torch.Tensor:
        """Learned scale x slope x minus distance, `[1, heads, tokens, tokens]`, 0 from and to the extra tokens."""
        position = torch.arange(frames, device=self.alibi_scale.device, dtype=torch.float32)
        distance = (position[:, None] - position).abs()
        slopes = torch.tensor(alibi_slopes(self.config.num_attention_heads), device=self.alibi_scale.device)
        steepness = slopes * self.alibi_scale.float().clamp(min=0)
        extra = self.config.num_extra_tokens
        distance = nn.functional.pad(distance, (extra, 0, extra, 0))
        return (distance * -steepness[:, None, None]).unsqueeze(0)

    def _pack(self, clips: torch.Tensor, extra: torch.Tensor, frames: list[int]) -> torch.Tensor:
        """Clips end to end without padding, each behind its extra tokens, `[1, tokens, width]`."""
        parts = [part for clip, tokens, count in zip(clips, extra, frames) for part in (tokens, clip[:count])]
        return torch.cat(parts).unsqueeze(0)

    def _unpack(self, packed: torch.Tensor, frames: list[int], total: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames `[batch, total, width]`, zero where there is none, and extra tokens `[batch, extra, width]`."""
        extra = self.config.num_extra_tokens
        clips = packed.squeeze(0).split([extra + count for count in frames])
        padded = [nn.functional.pad(clip[extra:], (0, 0, 0, total - count)) for clip, count in zip(clips, frames)]
        return torch.stack(padded), torch.stack([clip[:extra] for clip in clips])

    def forward(
        self,
        hidden_states: torch.Tensor,
        frames: list[int],
        total: int,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Run `[batch, max(frames), width]` through the blocks.

        Returns:
            states `[batch, total, width]`, zero where there is no frame: the last, or those before the first block and
            after each one; and each block's attention `[batch, heads, tokens, tokens]`, extra tokens first, if asked
            for.
        """
        extra = self.extra_tokens.to(hidden_states.dtype).expand(len(frames), -1, -1)
        packed = self.dropout(self.layer_norm(self._pack(hidden_states, extra, frames)))
        lengths = [extra.shape[1] + count for count in frames]
        bias = self._attention_bias(max(frames))
        states, attentions = [], []
        for layer in self.layers:
            if output_hidden_states:
                # What is given is what the next block reads, so that gradients reach it.
                given, extra = self._unpack(packed, frames, total)
                states.append(given)
                packed = self._pack(given, extra, frames)
            if not (self.training and torch.rand(()) < self.config.layerdrop):
                packed, maps = layer(packed, bias, lengths)
                if output_attentions:
                    attentions.append(_pad_maps(maps, extra.shape[1] + total))
        return [*states, self._unpack(packed, frames, total)[0]], attentions

    def forward_padded(self, hidden_states: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """The last state of `forward`, with the padding computed: `[batch, frames, 1]`, True where no frame is."""
        extra = self.extra_tokens.to(hidden_states.dtype).expand(hidden_states.shape[0], -1, -1)
        tokens = self.dropout(self.layer_norm(torch.cat([extra, hidden_states], dim=1)))
        hidden = nn.functional.pad(padding.squeeze(-1), (extra.shape[1], 0))[:, None, None, :]
        bias = self._attention_bias(hidden_states.shape[1])
        bias = bias.masked_fill(hidden, torch.finfo(tokens.dtype).min)
        for layer in self.layers:
            tokens, _ = layer(tokens, bias, None)
        return tokens[:, extra.shape[1] :].masked_fill(padding, 0.0)


def _pad_maps(maps: list[torch.Tensor | None], tokens: int) -> torch.Tensor:
    """Attention of each clip as one tensor `[batch, heads, tokens, tokens]`, zero where there is no frame."""
    if any(weights is None for weights in maps):
        raise ValueError('output_attentions needs attn_implementation="eager"; other implementations keep no weights.')
    return torch.stack(
        [nn.functional.pad(w, (0, tokens - w.shape[-1], 0, tokens - w.shape[-2])) for w in maps if w is not None]
    )


class Emotion2VecPreTrainedModel(PreTrainedModel):
    config_class = Emotion2VecConfig
    base_model_prefix = "emotion2vec"
    main_input_name = "input_values"
    input_modalities = ["audio"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Emotion2VecConvLayer", "Emotion2VecLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, Emotion2VecConvProjection):
            init.kaiming_normal_(module.weight)
        elif isinstance(module, Emotion2VecEncoder):
            init.normal_(module.extra_tokens)
            init.ones_(module.alibi_scale)

    def _get_feat_extract_output_lengths(self, input_lengths: torch.LongTensor | int) -> torch.LongTensor | int:
        """Frames for clips of `input_lengths` samples; `config.num_frames` is the same without a model."""
        return self.config.num_frames(input_lengths)

    def _get_feature_vector_attention_mask(self, frames: int, attention_mask: torch.Tensor) -> torch.Tensor:
        """Which of `frames` frames are real, `[batch, frames]` bool, for a mask of samples."""
        counts = self.config.num_frames(attention_mask.long().sum(-1))
        return torch.arange(frames, device=attention_mask.device) < counts[:, None]


def _group_rows(frames: list[int], budget: int) -> Iterator[slice]:
    """Neighbouring rows of a batch with at most `budget` frames together, or a row that has more alone."""
    start = taken = 0
    for row, count in enumerate(frames):
        if taken and taken + count > budget:
            yield slice(start, row)
            start, taken = row, 0
        taken += count
    yield slice(start, len(frames))


class Emotion2VecModel(Emotion2VecPreTrainedModel):
    """emotion2vec without a head: frame features each 20 ms, and their mean for the utterance."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__(config)
        self.feature_extractor = Emotion2VecFeatureEncoder(config)
        self.feature_layer_norm = nn.LayerNorm(config.conv_dim[-1], eps=config.layer_norm_eps)
        self.feature_projection = nn.Linear(config.conv_dim[-1], config.hidden_size)
        self.position_encoder = Emotion2VecPositionEncoder(config)
        self.encoder = Emotion2VecEncoder(config)
        self.post_init()

    def freeze_feature_encoder(self):
        """Stop training of the convolutions over the waveform."""
        self.feature_extractor.requires_grad_(False)

    def _clip_lengths(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> list[int]:
        """Samples of each clip.

        Raises:
            ValueError: if the mask does not fit, is padded on the left, or a clip is too short for one frame.
        """
        if input_values.ndim != 2:
            raise ValueError(f"input_values must be [batch, samples], not {list(input_values.shape)}.")
        lengths = [input_values.shape[1]] * input_values.shape[0]
        if attention_mask is not None:
            if attention_mask.shape != input_values.shape:
                raise ValueError(
                    f"attention_mask is {list(attention_mask.shape)} and input_values {list(input_values.shape)}; "
                    "they must be alike, one mask value per sample."
                )
            mask = attention_mask.bool()
            lengths = mask.sum(-1).tolist()
            if (mask[:, 1:] & ~mask[:, :-1]).any():
                raise ValueError("attention_mask must be 1 for a clip's samples, then 0: pad on the right.")
        least = self.config.num_samples(1)
        for row, length in enumerate(lengths):
            if length < least:
                raise ValueError(f"Clip {row} has {length} samples; emotion2vec needs at least {least} (16 kHz).")
        return lengths

    def _normalize(self, input_values: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Each clip to zero mean and unit variance over its own samples; zeros after it."""
        normalized = torch.zeros_like(input_values)
        for row, (clip, length) in enumerate(zip(input_values, lengths)):
            clip = clip[:length].float()
            if self.config.normalize_input:
                clip = nn.functional.layer_norm(clip, (length,), eps=self.config.layer_norm_eps)
            normalized[row, :length] = clip.to(input_values.dtype)
        return normalized

    def _encode(
        self, input_values: torch.Tensor, frames: list[int], total: int, **asked: bool
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """States and attentions of clips of so many frames: see `Emotion2VecEncoder.forward`."""
        features = self.feature_extractor(input_values, frames)
        hidden_states = self.feature_projection(self.feature_layer_norm(features))
        padding = None
        if min(frames) < max(frames):
            counts = torch.tensor(frames, device=features.device)
            padding = (torch.arange(max(frames), device=features.device) >= counts[:, None]).unsqueeze(-1)
        hidden_states = hidden_states + self.position_encoder(hidden_states, padding)
        return self.encoder(hidden_states, frames, total, **asked)

    def _forward_padded(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> BaseModelOutputWithPooling:
        """`forward` in one padded batch, whose steps do not depend on the clips' lengths: a graph for `torch.export`.

        Gives no hidden states or attentions, and does not check the mask.
        """
        real = torch.ones_like(input_values) if attention_mask is None else attention_mask.to(torch.float32)
        length = real.sum(-1, keepdim=True)
        clips = input_values.float() * real
        if self.config.normalize_input:
            clips = (clips - clips.sum(-1, keepdim=True) / length) * real
            variance = clips.square().sum(-1, keepdim=True) / length
            clips = clips * torch.rsqrt(variance + self.config.layer_norm_eps)
        states = clips.to(input_values.dtype).unsqueeze(-1)
        for layer in self.feature_extractor.conv_layers:
            states = layer.forward_any_length(states)
        counts = self.config.num_frames(length.long())
        padding = (torch.arange(states.shape[1], device=states.device) >= counts).unsqueeze(-1)
        states = self.feature_projection(self.feature_layer_norm(states))
        states = states + self.position_encoder(states, padding)
        last = self.encoder.forward_padded(states, padding)
        pooled = (last.sum(dim=1, dtype=torch.float32) / counts).to(last.dtype)
        return BaseModelOutputWithPooling(last_hidden_state=last, pooler_output=pooled)

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Encode clips of 16 kHz audio.

        Args:
            input_values: samples `[batch, samples]`, as recorded: see `config.normalize_input`.
            attention_mask: `[batch, samples]`, 1 for samples of a clip, then 0 for padding. Without it all are real.
            output_hidden_states: whether to give the states before the first block and after each one.
                They are the blocks' outputs; upstream's `layer_results`, the feed-forward layers' outputs before
                residual and norm, come from a forward hook on `encoder.layers[i].feed_forward`.
            output_attentions: whether to give each block's attention; needs `attn_implementation="eager"`.

        Returns:
            `last_hidden_state` `[batch, frames, hidden_size]`, zero for frames of padding, `pooler_output`
            `[batch, hidden_size]`, the mean over a clip's frames, and, if asked for, `hidden_states`, like the first,
            and `attentions` `[batch, heads, tokens, tokens]`, the extra tokens before the frames.
            `frames` is `config.num_frames(samples)`.

        Raises:
            ValueError: if the mask does not fit, is padded on the left, or a clip is too short for one frame.
        """
        config = self.config
        given = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        asked = {name: bool(getattr(config, name) if value is None else value) for name, value in given.items()}
        if torch.compiler.is_exporting():
            return self._forward_padded(input_values, attention_mask)
        lengths = self._clip_lengths(input_values, attention_mask)
        frames = [config.num_frames(length) for length in lengths]
        total = config.num_frames(input_values.shape[1])
        input_values = self._normalize(input_values, lengths)
        # What is given beside the last state is given for all clips at once, as one tensor that has its gradient.
        budget = CPU_FRAMES if input_values.device.type == "cpu" and not any(asked.values()) else sum(frames)
        groups = [
            self._encode(input_values[rows], frames[rows], total, **asked) for rows in _group_rows(frames, budget)
        ]
        (states, attentions), rest = groups[0], groups[1:]
        last = torch.cat([states[-1], *(others[-1] for others, _ in rest)]) if rest else states[-1]
        counts = torch.tensor(frames, device=input_values.device)
        pooled = (last.sum(dim=1, dtype=torch.float32) / counts[:, None]).to(last.dtype)
        return BaseModelOutputWithPooling(
            last_hidden_state=last,
            pooler_output=pooled,
            hidden_states=tuple(states) if asked["output_hidden_states"] else None,
            attentions=tuple(attentions) if asked["output_attentions"] else None,
        )


class Emotion2VecForAudioClassification(Emotion2VecPreTrainedModel):
    """emotion2vec with a linear layer on the mean of its frames, as in the emotion2vec+ models."""

    def __init__(self, config: Emotion2VecConfig):
        super().__init__(config)
        self.emotion2vec = Emotion2VecModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def freeze_feature_encoder(self):
        """Stop training of the convolutions over the waveform."""
        self.emotion2vec.freeze_feature_encoder()

    def freeze_base_model(self):
        """Stop training of all but the classifier."""
        self.emotion2vec.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Classify clips of 16 kHz audio.

        Args:
            input_values: samples `[batch, samples]`, as recorded.
            attention_mask: `[batch, samples]`, 1 for samples of a clip and 0 for padding after it.
            labels: class of each clip `[batch]`; or as `config.problem_type` says, values for `"regression"`, or 0 and
                1 for each class `[batch, labels]` for `"multi_label_classification"`.
            output_hidden_states, output_attentions: as for [`Emotion2VecModel`].

        Returns:
            `logits` `[batch, labels]`, minus infinity for labels that start with "unuse" (upstream's rule for classes
            a checkpoint does not know), `loss` if labels are given, `hidden_states` and `attentions` if asked for.

        Raises:
            ValueError: if the mask does not fit, is padded on the left, or a clip is too short for one frame.
        """
        outputs = self.emotion2vec(input_values, attention_mask, output_hidden_states, output_attentions)
        logits = self.classifier(outputs.pooler_output)
        unused = [index for index, label in (self.config.id2label or {}).items() if label.startswith("unuse")]
        if unused:
            logits = logits.index_fill(1, torch.tensor(unused, device=logits.device), -torch.inf)
        loss = None
        if labels is not None:
            # Finite, since minus infinity times 0 is no number in a loss over several labels.
            loss = ForSequenceClassificationLoss(labels, logits.clamp(min=torch.finfo(logits.dtype).min), self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


__all__ = ["Emotion2VecForAudioClassification", "Emotion2VecModel", "Emotion2VecPreTrainedModel"]
