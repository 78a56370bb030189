"""What a vision encoder is made of: `VitConfig`, its sizes and options, checked when it is made."""

import dataclasses

import jax.numpy as jnp

from vlm.errors import UserError, unknown_name
from vlm.nn.layers import ACTIVATIONS, NORMS, Dtype
from vlm.nn.stacks import check_remat

POSITIONS = ('learned', 'sincos2d', 'rows_columns')


@dataclasses.dataclass(frozen=True)
class VitConfig:
    """Sizes and options of a vision encoder; the defaults are ViT-B/16 (2010.11929).

    Attributes:
      image_size: (height, width) in pixels.
      patch_size: pixels of a token's side.
      stem_widths: puts a convolution 3 x 3 of stride 2 for each of these channel counts before the
        patch embedding, which then cuts smaller patches: still one token a `patch_size`, but edges
        that lie across two patches are seen ("Early convolutions help transformers see better",
        2106.14881).
      stem_blocks: convolutions of stride 1 behind those, each added to what it reads.
      positions: 'learned'; 'sincos2d', which has no parameters; 'rows_columns', the sum of learned
        embeddings of the row and of the column (Pix2Struct, 2210.03347).
      standardize_pixels: gives each image mean 0 and variance 1, over all its pixels and channels
        (Pix2Struct).
      dropout: share of the numbers of every residual branch, and of hidden units, set to 0.
      scan_layers: runs the blocks as one loop over stacked parameters: quick to compile and, on
        CPU, faster: unrolled, XLA fuses the sum of all earlier blocks into every reader of the
        residual stream, at a cost that grows with the square of the depth.
      remat: what of a block is kept for the backward pass (`vlm.nn.stacks.REMAT`).
      base_patch_size: the patch size that the embedding's kernel is stored at; it is resized to
        `patch_size` (FlexiViT, 2212.08013). None: `patch_size`.
      position_grid: (rows, columns) that learned positions are stored at; they are resampled to the
        grid of the image (FlexiViT: 7 x 7). None: the grid.
      train_patch_sizes: every training step takes one of these at random, and with it another
        number of tokens (FlexiViT); `patch_size` is then that of evaluation and serving.
      drop_path: rate at which the last block's residual branches are left out for an image; it
        grows linearly from 0 in the first block (stochastic depth, 1603.09382).
      parallel_blocks: x + attention(norm(x)) + MLP(norm(x)), one norm (ViT-22B, 2302.05442, 2).
      qk_norm: normalises queries and keys of each head before their product (ViT-22B).
      qkv_bias: biases of queries, keys and values; ViT-22B has none.
      use_bias: biases of the attention's output and of the MLP.
      scaled_attention: multiplies the scores by the head's size to the power -0.5; Pix2Struct, as
        T5, does not.
      gated_mlp: one half of the MLP's hidden units is multiplied by the other (Pix2Struct).
      norm: a name in `vlm.nn.layers.NORMS`: 'layer_norm', 'layer_norm_no_bias', 'rms_norm' (neither
        bias nor mean: ViT-22B), 'rms_norm_unit_offset'.
      norm_epsilon: what the norms add to the variance.
      pre_norm: one norm more, of the embedded patches before the first block (CLIP, 2103.00020).
      frozen_blocks: the embedding of the patches and so many blocks are kept as they are, without a
        backward pass; blocks from that index on and the last norm are trained.
      num_registers: learned tokens that take part in all blocks and are dropped at the output
        (2309.16588). A class token of a pretrained ViT is one.
      patch_merger_tokens: the patches' tokens are merged into so many (PatchMerger, 2202.12015);
        0 for never.
      patch_merger_after: how many blocks come before that.
      moe_blocks: indices, from 0, of the blocks that have experts in place of the MLP (V-MoE,
        2106.05974). Of 12 blocks 'every 2' is (1, 3, 5, 7, 9, 11), 'last 2' is (9, 11).
      moe_experts: experts of such a block.
      moe_selected: experts that a token goes to.
      moe_capacity_factor: room in training, as a multiple of what each expert gets on average;
        tokens that find no room pass the block by.
      moe_eval_capacity_factor: room in evaluation.
      moe_noise: in training, normal noise of standard deviation `moe_noise / moe_experts` is added
        to the router's logits.
      moe_importance_loss: coefficient of the loss that evens out the experts' summed weights.
      moe_load_loss: coefficient of the loss that evens out how many tokens go to each expert.
      moe_batch_priority: tokens with the largest weights get room first, not the first tokens.
      moe_group_images: images whose tokens compete for the same room; where they do not divide the
        batch, the largest part of them that does.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    stem_widths: tuple[int, ...] = ()
    stem_blocks: int = 0
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    activation: str = 'gelu'
    positions: str = 'learned'
    standardize_pixels: bool = False
    dropout: float = 0.0
    scan_layers: bool = False
    remat: str = 'none'
    dtype: Dtype = jnp.float32
    base_patch_size: int | None = None
    position_grid: tuple[int, int] | None = None
    train_patch_sizes: tuple[int, ...] = ()
    drop_path: float = 0.0
    parallel_blocks: bool = False
    qk_norm: bool = False
    qkv_bias: bool = True
    use_bias: bool = True
    scaled_attention: bool = True
    gated_mlp: bool = False
    norm: str = 'layer_norm'
    norm_epsilon: float = 1e-6
    pre_norm: bool = False
    frozen_blocks: int = 0
    num_registers: int = 0
    patch_merger_tokens: int = 0
    patch_merger_after: int = 0
    moe_blocks: tuple[int, ...] = ()
    moe_experts: int = 8
    moe_selected: int = 2
    moe_capacity_factor: float = 1.05
    moe_eval_capacity_factor: float = 4.0
    moe_noise: float = 1.0
    moe_importance_loss: float = 0.005
    moe_load_loss: float = 0.005
    moe_batch_priority: bool = False
    moe_group_images: int = 1

    def __post_init__(self):
        check_remat(self.remat, 'VitConfig.remat')
        for size in (self.patch_size, *self.train_patch_sizes):
            self._check_patch_size(size)
        self._check_flexible_patches()
        self._check_positions()
        self._check_blocks()
        self._check_patch_merger()
        if self.moe_blocks:
            self._check_experts()

    def _check_patch_size(self, size: int) -> None:
        height, width = self.image_size
        if size < 1 or height % size or width % size:
            fits = [p for p in range(4, 65) if height % p == 0 and width % p == 0]
            raise UserError(
                f'VitConfig.patch_size = {size} does not divide the image size '
                f'{height} x {width}. Patch sizes that do: {fits}.'
            )
        self._check_stem('patch_size', size)
        if self.stem_blocks and not self.stem_widths:
            raise UserError(
                f'VitConfig.stem_blocks = {self.stem_blocks} needs a stem: bind stem_widths.'
            )

    def _check_stem(self, name: str, size: int) -> None:
        if size % self.stem_stride:
            raise UserError(
                f'VitConfig.{name} = {size} must be a multiple of '
                f'{self.stem_stride}: each of the {len(self.stem_widths)} stem_widths halves the '
                'image.'
            )

    def _check_flexible_patches(self) -> None:
        if self.base_patch_size is not None:
            if self.base_patch_size < 1:
                raise UserError(f'VitConfig.base_patch_size = {self.base_patch_size} is below 1.')
            self._check_stem('base_patch_size', self.base_patch_size)
        if self.train_patch_sizes and self.positions == 'rows_columns':
            raise UserError(
                f'VitConfig.train_patch_sizes = {self.train_patch_sizes} needs positions that fit '
                "any grid: bind VitConfig.positions to 'learned' or 'sincos2d'."
            )
        learned = self.positions == 'learned'
        if self.train_patch_sizes and not (
            self.base_patch_size and (self.position_grid or not learned)
        ):
            needed = 'base_patch_size' + (' and position_grid' if learned else '')
            raise UserError(
                f'VitConfig.train_patch_sizes = {self.train_patch_sizes} needs parameters of one '
                f'shape: bind VitConfig.{needed} (FlexiViT: 32 and (7, 7)).'
            )

    def _check_positions(self) -> None:
        if self.positions not in POSITIONS:
            raise UserError(
                f'VitConfig.positions = {self.positions!r} is not one of {", ".join(POSITIONS)}.'
            )
        if self.positions == 'sincos2d' and self.width % 4:
            raise UserError(
                f'VitConfig.width = {self.width} is no multiple of 4, which positions = '
                "'sincos2d' needs."
            )
        if self.position_grid is not None and self.positions != 'learned':
            raise UserError(
                f'VitConfig.position_grid = {self.position_grid} is that of learned positions; '
                f'positions = {self.positions!r} are made for any grid: bind it to None.'
            )

    def _check_blocks(self) -> None:
        if self.width % self.num_heads:
            raise UserError(
                f'VitConfig.num_heads = {self.num_heads} does not divide width = {self.width}.'
            )
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f'VitConfig.activation = {self.activation!r} is not one of '
                f'{", ".join(ACTIVATIONS)}.'
            )
        if self.norm not in NORMS:
            raise unknown_name('norm', self.norm, NORMS, 'VitConfig.norm')
        if not 0.0 <= self.drop_path < 1.0:
            raise UserError(f'VitConfig.drop_path = {self.drop_path} is not in [0, 1).')
        if self.num_registers < 0:
            raise UserError(f'VitConfig.num_registers = {self.num_registers} is below 0.')
        if not 0 <= self.frozen_blocks <= self.num_layers:
            raise UserError(
                f'VitConfig.frozen_blocks = {self.frozen_blocks} is not between 0 and num_layers = '
                f'{self.num_layers}.'
            )
        for option in ('moe_blocks', 'patch_merger_tokens', 'frozen_blocks'):
            if self.scan_layers and getattr(self, option):
                raise UserError(
                    f'VitConfig.{option} = {getattr(self, option)} makes blocks differ, and '
                    'scan_layers runs one block again and again: bind scan_layers to False.'
                )

    def _check_patch_merger(self) -> None:
        tokens, after = self.patch_merger_tokens, self.patch_merger_after
        if not tokens and not after:
            return
        if not 1 <= tokens <= self.num_patches:
            raise UserError(
                f'VitConfig.patch_merger_tokens = {tokens} is not between 1 and the '
                f'{self.num_patches} patches of an image.'
            )
        if not 1 <= after <= self.num_layers:
            raise UserError(
                f'VitConfig.patch_merger_after = {after} is not between 1 and num_layers = '
                f'{self.num_layers}: it counts the blocks before the merger.'
            )

    def _check_experts(self) -> None:
        if sorted(set(self.moe_blocks) & set(range(self.num_layers))) != list(self.moe_blocks):
            raise UserError(
                f'VitConfig.moe_blocks = {self.moe_blocks} must be rising indices from 0 to '
                f'{self.num_layers - 1} (num_layers = {self.num_layers}).'
            )
        if not 1 <= self.moe_selected <= self.moe_experts:
            raise UserError(
                f'VitConfig.moe_selected = {self.moe_selected} is not between 1 and moe_experts = '
                f'{self.moe_experts}.'
            )
        for name in ('moe_capacity_factor', 'moe_eval_capacity_factor', 'moe_group_images'):
            if getattr(self, name) <= 0:
                raise UserError(f'VitConfig.{name} = {getattr(self, name)} must be above 0.')
        for name in ('moe_noise', 'moe_importance_loss', 'moe_load_loss'):
            if getattr(self, name) < 0:
                raise UserError(f'VitConfig.{name} = {getattr(self, name)} is below 0.')
        if self.moe_load_loss and not self.moe_noise:
            raise UserError(
                f'VitConfig.moe_load_loss = {self.moe_load_loss} is a probability over the '
                "router's noise: with moe_noise = 0 bind it to 0."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def stem_stride(self) -> int:
        """Pixels between two positions of what the patch embedding reads."""
        return 2 ** len(self.stem_widths)

    @property
    def num_patches(self) -> int:
        """Patches of one image."""
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        """Visual tokens of one image, as the encoder returns them."""
        return self.patch_merger_tokens or self.num_patches
