"""What a user of T5X would build: our ViT before T5X's example decoder, in T5X's own model class.

Images travel as `encoder_input_tokens`, float32[B, H, W, 3] in [-1, 1], the feature that T5X gives
to encoders.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import seqio
from flax import linen as nn
from t5x import decoding, models, optimizers, partitioning, trainer, utils
from t5x.examples.t5 import layers, network

from vlm.nn.network import NetworkConfig
from vlm.nn.vit import Connector, Vit, VitConfig


class VitT5(nn.Module):
    """Visual tokens, cross-attended to by T5X's example decoder; every token is seen."""

    vision_config: VitConfig
    config: network.T5Config

    def setup(self):
        cfg = self.config
        self.vision = Vit(self.vision_config)
        self.connector = Connector(cfg.emb_dim, cfg.dtype)
        self.token_embedder = layers.Embed(
            cfg.vocab_size, cfg.emb_dim, one_hot=True, dtype=cfg.dtype
        )
        self.decoder = network.Decoder(config=cfg, shared_embedding=self.token_embedder)

    def encode(self, encoder_input_tokens: Any, enable_dropout: bool = True, **unused: Any) -> Any:
        return self.connector(self.vision(encoder_input_tokens, not enable_dropout))

    def decode(
        self,
        encoded: Any,
        encoder_input_tokens: Any,
        decoder_input_tokens: Any,
        decoder_target_tokens: Any,
        enable_dropout: bool = True,
        decode: bool = False,
        max_decode_length: int | None = None,
        **unused: Any,
    ) -> Any:
        seen = jnp.ones(encoded.shape[:2])
        mask = None if decode else layers.make_decoder_mask(decoder_target_tokens, jnp.float32)
        return self.decoder(
            encoded,
            decoder_input_tokens=decoder_input_tokens,
            decoder_mask=mask,
            encoder_decoder_mask=layers.make_attention_mask(
                jnp.ones_like(decoder_target_tokens), seen
            ),
            deterministic=not enable_dropout,
            decode=decode,
            max_decode_length=max_decode_length,
        )

    def __call__(
        self,
        encoder_input_tokens: Any,
        decoder_input_tokens: Any,
        decoder_target_tokens: Any,
        enable_dropout: bool = True,
        decode: bool = False,
        **unused: Any,
    ) -> Any:
        encoded = self.encode(encoder_input_tokens, enable_dropout)
        tokens = (encoder_input_tokens, decoder_input_tokens, decoder_target_tokens)
        return self.decode(encoded, *tokens, enable_dropout, decode)


def make_model(config: NetworkConfig, search: bool) -> models.EncoderDecoderModel:
    """T5X's model with the sizes of ours, which decodes by beam search or by sampling."""
    text = config.text
    sizes = network.T5Config(
        vocab_size=text.vocab_size,
        emb_dim=text.width,
        num_heads=text.num_heads,
        num_decoder_layers=text.num_layers,
        head_dim=text.head_dim,
        mlp_dim=text.mlp_dim,
        mlp_activations=('gelu', 'linear') if text.gated_mlp else ('gelu',),
        dropout_rate=0.0,
    )
    vocabulary = seqio.PassThroughVocabulary(text.vocab_size, eos_id=1)
    return models.EncoderDecoderModel(
        VitT5(config.vision, sizes),
        vocabulary,
        vocabulary,
        optimizers.adamw(1e-4),
        decoding.beam_search if search else decoding.temperature_sample,
    )


def make_batch(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """T5X's features of a batch of ours, rows without a prompt."""
    tokens = ('decoder_input_tokens', 'decoder_target_tokens')
    return {
        'encoder_input_tokens': batch['images'][:, 0].astype(np.float32) / 127.5 - 1.0,
        'decoder_loss_weights': np.ones(batch[tokens[0]].shape, np.int32),
        **{name: batch[name] for name in tokens},
    }


def make_trainer(model: Any, batch: dict[str, Any]) -> trainer.Trainer:
    """T5X's Trainer over freshly drawn parameters."""
    partitioner = partitioning.PjitPartitioner(
        num_partitions=1, logical_axis_rules=partitioning.standard_logical_axis_rules()
    )
    initializer = utils.TrainStateInitializer(
        model.optimizer_def,
        model.get_initial_variables,
        {name: value.shape for name, value in batch.items()},
        partitioner,
        {name: value.dtype for name, value in batch.items()},
    )
    return trainer.Trainer(
        model,
        initializer.from_scratch(jax.random.PRNGKey(0)),
        partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=initializer.train_state_axes,
        rng=jax.random.PRNGKey(0),
        learning_rate_fn=lambda step: 1e-4,
        num_microbatches=None,
    )
