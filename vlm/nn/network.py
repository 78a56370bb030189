"""The whole network: images and a prompt in, scores of answer tokens out."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, UInt8

from vlm.errors import UserError, unknown_name
from vlm.nn import masks
from vlm.nn.attention import KeyValue
from vlm.nn.layers import Embed, make_padding_mask
from vlm.nn.positions import Positions, sincos_2d
from vlm.nn.t5 import Decoder, Encoder, TextConfig
from vlm.nn.vit import Connector, Vit, VitConfig

WIRINGS = ('decoder_prefix', 'fusion_encoder')


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which vision encoder feeds which text stack, and how.

    `decoder_prefix`: the decoder cross-attends to the visual tokens and the prompt is the decoder's
    prefix (LiT-decoder, LocCa). `fusion_encoder`: a T5 encoder runs over [visual tokens ; prompt]
    and the decoder cross-attends to it (PaLI). `freeze_vision` keeps the vision encoder as it is.
    `memory_positions` adds a sin-cos grid to the visual tokens once more where the text side gets
    them, as DETR does (2005.12872): a decoder that must find things learns where they are sooner.
    """

    vision: VitConfig
    text: TextConfig
    wiring: str = 'decoder_prefix'
    freeze_vision: bool = False
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
    """What the decoder attends to, projected once for every layer."""

    keys_values: list[KeyValue]
    mask: Bool[Array, 'B 1 1 M']


class VisionTextNetwork(nn.Module):
    """One network for every wiring. See `NetworkConfig` for what the choices mean.

    Training and scoring call the module; prediction calls `encode` once an image, then
    `decode_step` with caches.
    """

    config: NetworkConfig

    def setup(self):
        cfg = self.config
        self.vision = Vit(cfg.vision)
        self.connector = Connector(cfg.text.width, cfg.text.dtype)
        self.token_embedder = Embed(cfg.text.vocab_size, cfg.text.width, cfg.text.dtype)
        self.decoder = Decoder(cfg.text)
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
        tokens = self.connector(tokens)
        if self.config.memory_positions:
            grid = sincos_2d(*self.config.vision.grid, tokens.shape[-1])
            tokens = tokens + jnp.asarray(grid, tokens.dtype)
        return tokens.reshape(batch, count * tokens.shape[1], tokens.shape[2])

    def encode(
        self,
        images: UInt8[Array, 'B N H W 3'],
        image_mask: Bool[Array, 'B N'],
        prompt: Int[Array, 'B I'] | None = None,
        deterministic: bool = True,
    ) -> Memory:
        """Runs everything that does not depend on the answer; `prompt` only in `fusion_encoder`."""
        tokens = self.visual_tokens(images, deterministic)
        valid = jnp.repeat(image_mask, self.config.vision.num_tokens, axis=1)
        if self.config.wiring == 'fusion_encoder':
            tokens = jnp.concatenate([tokens, self.token_embedder(prompt)], axis=1)
            valid = jnp.concatenate([valid, prompt != 0], axis=1)
            tokens = self.encoder(tokens, valid, deterministic)
        return Memory(self.decoder.memory_keys_values(tokens), make_padding_mask(valid))

    def decode_step(
        self,
        tokens: Int[Array, 'B T'],
        memory: Memory,
        mask: Bool[Array, '#B 1 T S'],
        caches: list[KeyValue] | None = None,
        index: Int[Array, ''] | int = 0,
        deterministic: bool = True,
        positions: Positions | None = None,
    ) -> tuple[Float[Array, 'B T D'], list[KeyValue]]:
        """Decoder states of `tokens` at slots `index ..`, and the self-attention caches.

        `positions` are those of the tokens and of the slots, where they are not the slots' numbers.
        """
        x = self.token_embedder(tokens)
        return self.decoder(
            x, memory.keys_values, memory.mask, mask, caches, index, deterministic, positions
        )

    def logits(self, states: Float[Array, 'B T D']) -> Float[Array, 'B T V']:
        """Scores over the vocabulary, float32."""
        return self.decoder.logits(states, self.token_embedder).astype(jnp.float32)

    def __call__(
        self,
        batch: Mapping[str, Array],
        deterministic: bool = True,
        positions: Int[Array, 'B M'] | None = None,
    ) -> Float[Array, 'B M V']:
        """Logits of a training batch; features as `ImageTextFeatureConverter` makes them.

        With `positions`, only of those positions of each row: most of a row is prompt, and the
        output layer of a large vocabulary costs more than a block.
        """
        memory = self.encode(
            batch['images'], batch['image_mask'], batch.get('encoder_input_tokens'), deterministic
        )
        tokens = batch['decoder_input_tokens']
        mask = masks.decoder_mask(
            tokens.shape[1], batch.get('decoder_prefix_mask'), batch.get('decoder_segment_ids')
        )
        states, _ = self.decode_step(tokens, memory, mask, deterministic=deterministic)
        if positions is not None:
            states = jnp.take_along_axis(states, positions[..., None], axis=1)
        return self.logits(states)
