"""The whole network: images and a prompt in, scores of answer tokens out."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, UInt8

from vlm.errors import UserError, unknown_name
from vlm.nn import masks
from vlm.nn.attention import KeyValue
from vlm.nn.layers import make_padding_mask
from vlm.nn.positions import sincos_2d
from vlm.nn.t5 import (
    Decoder,
    Encoder,
    Positions,
    TextConfig,
    mask_row,
    position_table,
    token_table,
)
from vlm.nn.vit import Connector, Vit, VitConfig

PyTree = Any

WIRINGS = ('decoder_prefix', 'fusion_encoder', 'prefix_lm')


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which vision encoder feeds which text stack, and how.

    `decoder_prefix`: the decoder cross-attends to the visual tokens and the prompt is the decoder's
    prefix (LiT-decoder, LocCa). `fusion_encoder`: a T5 encoder runs over [visual tokens ; prompt]
    and the decoder cross-attends to it (PaLI). `prefix_lm`: one stack without cross-attention runs
    over [visual tokens ; prompt ; answer] (PaliGemma); `pairs_share_row` lets several pairs of an
    image be one row of it, and then the image does not see the prompts (see `vlm.nn.masks`).

    `connector` is a linear layer between the vision encoder and the text side; CapPa and Pix2Struct
    have none.
    `freeze_vision` keeps the vision encoder as it is.
    `memory_positions` adds a sin-cos grid to the visual tokens once more where the text side gets
    them, as DETR does (2005.12872): a decoder that must find things learns where they are sooner.
    """

    vision: VitConfig
    text: TextConfig
    wiring: str = 'decoder_prefix'
    pairs_share_row: bool = False
    freeze_vision: bool = False
    connector: bool = True
    memory_positions: bool = False

    def __post_init__(self):
        if self.memory_positions and self.text.width % 4:
            raise UserError(
                f'TextConfig.width = {self.text.width} is no multiple of 4, which '
                'NetworkConfig.memory_positions needs.'
            )
        if self.memory_positions and self.vision.patch_merger_tokens:
            raise UserError(
                'NetworkConfig.memory_positions adds a grid to the visual tokens; those that '
                f'VitConfig.patch_merger_tokens = {self.vision.patch_merger_tokens} leaves have no '
                'place in it: bind one of the two to False or 0.'
            )
        if not self.connector and self.vision.width != self.text.width:
            raise UserError(
                f'NetworkConfig.connector = False: VitConfig.width = {self.vision.width} must then '
                f'be TextConfig.width = {self.text.width}.'
            )
        if self.wiring not in WIRINGS:
            raise unknown_name('wiring', self.wiring, WIRINGS, 'NetworkConfig.wiring')
        if self.wiring == 'fusion_encoder' and not self.text.num_encoder_layers:
            raise UserError(
                "NetworkConfig.wiring = 'fusion_encoder' needs a text encoder: bind "
                'TextConfig.num_encoder_layers to at least 1.'
            )
        if self.wiring != 'fusion_encoder' and self.text.num_encoder_layers:
            raise UserError(
                f'TextConfig.num_encoder_layers = {self.text.num_encoder_layers} would build an '
                f'encoder that NetworkConfig.wiring = {self.wiring!r} never runs: bind it to 0.'
            )


class Memory(NamedTuple):
    """What the decoder is given of the image (and of the prompt, in `fusion_encoder`).

    Cross-attention attends to `keys_values`, projected once for every layer. Without it, in
    `prefix_lm`, there are the visual `tokens`, which the first call of `decode_step` runs over.
    """

    keys_values: list[KeyValue] | None
    mask: Bool[Array, 'B 1 1 M']
    tokens: Float[Array, 'B M D'] | None = None


class VisionTextNetwork(nn.Module):
    """One network for every wiring. See `NetworkConfig` for what the choices mean.

    Training and scoring call the module; prediction calls `encode` once an image, then
    `decode_step` with caches.
    """

    config: NetworkConfig

    def setup(self):
        cfg = self.config
        self.vision = Vit(cfg.vision)
        if cfg.connector:
            self.connector = Connector(cfg.text.width, cfg.text.dtype)
        self.token_embedder = token_table(cfg.text)
        if cfg.text.mask_token:
            self.mask_embedder = mask_row(cfg.text)
        if cfg.text.positions == 'learned':
            self.position_embedder = position_table(cfg.text)
        self.decoder = Decoder(cfg.text, cross=cfg.wiring != 'prefix_lm')
        if cfg.wiring == 'fusion_encoder':
            self.encoder = Encoder(cfg.text)

    def visual_tokens(
        self, images: UInt8[Array, 'B N H W 3'], deterministic: bool = True
    ) -> Float[Array, 'B M D']:
        """Encodes the N images of an example independently and joins their tokens, M = N * P."""
        batch, count = images.shape[:2]
        flat = images.reshape(batch * count, *images.shape[2:])
        # Pixels travel to the device as uint8; [-1, 1] is what ViT, SigLIP and PaliGemma expect.
        tokens = self.vision(flat.astype(jnp.float32) / 127.5 - 1.0, deterministic)
        if self.config.freeze_vision:
            tokens = jax.lax.stop_gradient(tokens)
        tokens = self.connector(tokens) if self.config.connector else tokens
        if self.config.memory_positions:
            grid = sincos_2d(*self.config.vision.grid, tokens.shape[-1])
            tokens = tokens + jnp.asarray(grid, tokens.dtype)
        return tokens.reshape(batch, count * tokens.shape[1], tokens.shape[2])

    def encode(
        self,
        images: UInt8[Array, 'B N H W 3'],
        image_mask: Bool[Array, 'B N'],
        prompt: Int[Array, 'BR I'] | None = None,
        deterministic: bool = True,
        rows: int | Int[Array, ' BR'] = 1,
    ) -> Memory:
        """Runs everything that does not depend on the answer; `prompt` only in `fusion_encoder`.

        With R = `rows` of text to the images of an example, which are encoded once, the memory has
        B * R rows, those of an example beside each other. Or `rows` says of each row of text which
        row of images it is about.
        """
        tokens = self.visual_tokens(images, deterministic)
        valid = jnp.repeat(image_mask, self.config.vision.num_tokens, axis=1)
        if self.config.wiring == 'decoder_prefix':
            memory = Memory(self.decoder.memory_keys_values(tokens), make_padding_mask(valid))
            return _for_rows(memory, rows)
        tokens, valid = _for_rows((tokens, valid), rows)
        if self.config.wiring == 'prefix_lm':
            return Memory(None, make_padding_mask(valid), tokens)
        text = self.embed(prompt, jnp.arange(prompt.shape[1])[None])
        tokens = jnp.concatenate([tokens, text], axis=1)
        valid = jnp.concatenate([valid, prompt != 0], axis=1)
        tokens = self.encoder(tokens, valid, deterministic)
        return Memory(self.decoder.memory_keys_values(tokens), make_padding_mask(valid))

    def embed(
        self,
        tokens: Int[Array, 'B T'],
        positions: Int[Array, '#B T'],
        hidden: Bool[Array, 'B T'] | None = None,
    ) -> Float[Array, 'B T D']:
        """Token embeddings as the stacks take them; `positions` count if they are learned.

        Where `hidden`, the mask token's.
        """
        text, x = self.config.text, self.token_embedder(tokens)
        if text.mask_token:
            # Looked up, if never used, at initialisation too: that is when tables are made.
            mask = self.mask_embedder(jnp.zeros_like(tokens))
            x = x if hidden is None else jnp.where(hidden[..., None], mask, x)
        if text.scale_embedding:
            x = x * jnp.asarray(text.width**0.5, x.dtype)
        if text.positions != 'learned':
            return x
        if tokens.shape[1] > text.max_positions:
            raise UserError(
                f'a row has {tokens.shape[1]} tokens, TextConfig.max_positions is '
                f'{text.max_positions}: bind it to at least as many.'
            )
        return x + self.position_embedder(positions)

    def decode_step(
        self,
        tokens: Int[Array, 'B T'],
        memory: Memory,
        mask: Bool[Array, '#B 1 T S'],
        caches: list[KeyValue] | None = None,
        index: Int[Array, ''] | int = 0,
        deterministic: bool = True,
        prompt: Bool[Array, 'B T'] | None = None,
        hidden: Bool[Array, 'B T'] | None = None,
    ) -> tuple[Float[Array, 'B T D'], list[KeyValue]]:
        """Decoder states of `tokens` at slots `index ..`, and the self-attention caches.

        Slots and `mask` are those of the text alone. In `prefix_lm` a call without caches runs over
        the visual tokens too: they see the tokens marked in `prompt` and come first in the caches.
        `hidden` tokens are read as the mask token.
        """
        positions = masks.positions_seen(mask, index)
        x = self.embed(tokens, positions, hidden)
        in_row = self.config.wiring == 'prefix_lm'
        if in_row and caches is None:
            return self._run_with_visual(x, memory, mask, positions, prompt, deterministic)
        if in_row:
            visual = memory.mask[:, 0, 0]
            positions = positions + jnp.sum(visual, axis=1, keepdims=True)
            index = index + visual.shape[1]
            mask = masks.visual_before(mask, memory.mask)
        if caches is not None:
            at = Positions(positions, masks.positions_of_keys(mask))
        elif self.config.text.positions == 'relative':
            at = None  # distances of slots are right in a row, and one bias serves the whole batch
        else:
            at = Positions(positions, positions)
        return self.decoder(
            x, memory.keys_values, memory.mask, mask, caches, index, deterministic, at, prompt
        )

    def _run_with_visual(
        self,
        x: Float[Array, 'B T D'],
        memory: Memory,
        mask: Bool[Array, '#B 1 T T'],
        positions: Int[Array, '#B T'],
        prompt: Bool[Array, 'B T'] | None,
        deterministic: bool,
    ) -> tuple[Float[Array, 'B T D'], list[KeyValue]]:
        """A row of `prefix_lm` behind its visual tokens; returns the states of the row alone."""
        visual = memory.mask[:, 0, 0]
        before = jnp.cumsum(visual, axis=1)
        positions = jnp.concatenate([before - 1, before[:, -1:] + positions], axis=1)
        shown = None if self.config.pairs_share_row else prompt
        prefix = jnp.zeros(x.shape[:2], bool) if prompt is None else prompt
        states, caches = self.decoder(
            jnp.concatenate([memory.tokens, x], axis=1),
            None,
            None,
            masks.with_visual(mask, memory.mask, shown),
            deterministic=deterministic,
            at=Positions(positions, positions),
            prefix=jnp.concatenate([jnp.ones_like(visual), prefix], axis=1),
        )
        return states[:, visual.shape[1] :], caches

    def logits(self, states: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        """Scores over the vocabulary, float32."""
        return self.decoder.logits(states, self.token_embedder).astype(jnp.float32)

    def __call__(
        self,
        batch: Mapping[str, Array],
        deterministic: bool = True,
        positions: Int[Array, 'B M'] | None = None,
        hidden: Bool[Array, 'B L'] | None = None,
    ) -> Float[Array, 'B M V']:
        """Logits of a training batch, see `states`."""
        return self.logits(self.states(batch, deterministic, positions, hidden))

    def states(
        self,
        batch: Mapping[str, Array],
        deterministic: bool = True,
        positions: Int[Array, 'B M'] | None = None,
        hidden: Bool[Array, 'B L'] | None = None,
    ) -> Float[Array, 'B M D']:
        """Decoder states of a training batch as `ImageTextFeatureConverter` makes it.

        With `positions`, only of those positions of each row: most of a row is prompt, and the
        output layer of a large vocabulary costs more than a block. `hidden` is that of
        `vlm.nn.parallel`.
        """
        images, tokens = batch['images'], batch['decoder_input_tokens']
        memory = self.encode(
            images,
            batch['image_mask'],
            batch.get('encoder_input_tokens'),
            deterministic,
            rows=len(tokens) // len(images),
        )
        mask = masks.decoder_mask(
            tokens.shape[1],
            batch.get('decoder_prefix_mask'),
            batch.get('decoder_segment_ids'),
            hidden,
        )
        prompt = batch.get('decoder_prefix_mask')
        states, _ = self.decode_step(
            tokens, memory, mask, deterministic=deterministic, prompt=prompt, hidden=hidden
        )
        if positions is not None:
            states = jnp.take_along_axis(states, positions[..., None], axis=1)
        return states


def _for_rows(of_images: PyTree, rows: int | Array) -> PyTree:
    """Arrays of rows of images as arrays of rows of text; nothing is copied where those are one."""
    if not isinstance(rows, int):
        return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0), of_images)
    if rows == 1:
        return of_images
    return jax.tree.map(functools.partial(jnp.repeat, repeats=rows, axis=0), of_images)
