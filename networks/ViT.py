"""Vision transformer (Dosovitskiy et al., An Image Is Worth 16x16 Words, ICLR 2021), from timm."""

import torch
from torch import nn

from networks import Options
from networks.backbones import from_timm

VARIANTS = (
    "small_patch16", "tiny_patch16", "base_patch16",
    "base_patch16_clip", "large_patch14_clip", "small_patch14_dinov2", "base_patch14_dinov2",
)  # fmt: skip
"""On ImageNet; CLIP (OpenAI, Radford et al. 2021); DINOv2 (Oquab et al. 2023)."""


def backbone(options: Options) -> nn.Module:
    """ViT with a linear head; its position embedding is resized to the input.

    21,666,434 parameters for small_patch16 with 2 classes at 224 px.
    """
    size = (options.height, options.width)
    name = f"vit_{options.variant}_224"
    if options.variant.endswith("clip"):  # whose activation is an approximation of GELU
        name = f"vit_{options.variant}_quickgelu_224.openai"
    if options.variant.endswith("dinov2"):
        name = f"vit_{options.variant}.lvd142m"
    return from_timm(name, options, img_size=size)


def heatmap_layer(network: nn.Module) -> nn.Module:
    """The norm before the last attention: what later layers still mix."""
    return network.blocks[-1].norm1


def heatmap_reshape(network: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Tokens [n, 1 + height x width, channels] -> a map [n, channels, height, width]."""
    height, width = network.patch_embed.grid_size
    patches = tokens[:, network.num_prefix_tokens :]
    return patches.transpose(1, 2).unflatten(2, (height, width))
