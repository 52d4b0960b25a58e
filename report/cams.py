"""The class activation maps of the grad-cam library, three of them mended.

A method says how the maps of a layer become one. Imported where heatmaps are drawn: it takes
seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytorch_grad_cam as library
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer, AblationLayerVit
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

from networks import Detector


class EigenCAM(library.EigenCAM):
    """The first principal component of the maps, bright where the layer reacts more strongly.

    A component has no sign of its own (the library takes whichever comes out), so that bright and
    dark would change places from one picture to the next.
    """

    def get_cam_image(
        self, pictures: Any, layer: Any, targets: Any, maps: np.ndarray, *_: Any
    ) -> np.ndarray:
        projections = get_2d_projection(maps)
        strength = np.linalg.norm(maps, axis=1)
        strength -= strength.mean(axis=(1, 2), keepdims=True)
        along = (projections * strength).sum(axis=(1, 2), keepdims=True)
        return np.where(along < 0, -projections, projections)


class ScoreCAM(library.ScoreCAM):
    """A run of the network a map; the library would keep what the layer gave in each of them."""

    def get_cam_weights(self, *given: Any) -> np.ndarray:
        self.activations_and_grads.release()
        return super().get_cam_weights(*given)


class Zeroed(AblationLayer):
    """The layer with one map of each sample set to 0, as the paper does.

    The library sets it far below all others where any is negative, which no network has ever seen.
    """

    def __call__(self, _: torch.Tensor) -> torch.Tensor:
        for sample, channel in enumerate(self.indices[: len(self.activations)]):
            self.activations[sample, channel] = 0
        return self.activations


class ZeroedTokens(AblationLayerVit):
    """The same where channels come last."""

    def __call__(self, _: torch.Tensor) -> torch.Tensor:
        for sample, channel in enumerate(self.indices[: len(self.activations)]):
            self.activations[sample, ..., channel] = 0
        return self.activations


class AblationCAM(library.AblationCAM):
    """A run of the network a map: how far the score falls without it."""

    def __init__(self, network: Any, layers: Any, reshape_transform: Any = None) -> None:
        zeroed = ZeroedTokens() if reshape_transform else Zeroed()
        super().__init__(network, layers, reshape_transform, ablation_layer=zeroed)

    def get_cam_weights(
        self, pictures: Any, layer: Any, targets: Any, *maps_and_gradients: Any
    ) -> np.ndarray:
        falls = super().get_cam_weights(pictures, layer, targets, *maps_and_gradients)
        # In parts of the score: of one below 0 a fall would count as a rise, of 0 as NaN.
        whole = [float(target(out)) for target, out in zip(targets, self.outputs, strict=True)]
        return np.nan_to_num(falls) * np.sign(whole)[:, None]


METHODS: dict[str, type[library.base_cam.BaseCAM]] = {
    "GradCAM": library.GradCAM,  # Selvaraju et al., ICCV 2017
    "GradCAM++": library.GradCAMPlusPlus,  # Chattopadhay et al., WACV 2018
    "HiResCAM": library.HiResCAM,  # Draelos & Carin, arXiv:2011.08891
    "LayerCAM": library.LayerCAM,  # Jiang et al., IEEE TIP 2021
    "EigenCAM": EigenCAM,  # Muhammad & Yeasin, IJCNN 2020
    "ScoreCAM": ScoreCAM,  # Wang et al., CVPR Workshops 2020
    "AblationCAM": AblationCAM,  # Desai & Ramaswamy, WACV 2020
}
"""Setting `heatmaps.method` -> what draws it.

XGradCAM is not among them: it divides by the sum of a map, which may be near zero where values are
negative too (ViT's, or those before an activation): it then points anywhere.
"""


@contextmanager
def cam_of(method: str, network: Detector) -> Iterator[library.base_cam.BaseCAM]:
    """The method on a network's heatmap layer, for one call; then the network is as it was."""
    cam = METHODS[method](network, [network.heatmap_layer], network.heatmap_reshape)
    try:
        yield cam
    finally:  # its own `with` would swallow an IndexError
        cam.activations_and_grads.release()
        network.zero_grad()
