"""The papers' networks: one definition each, in every algebra."""

from fourfold.models.encoding import LearnedChannel
from fourfold.models.layers import NORMS, PHM, Layers, dimension
from fourfold.models.measuring import measure
from fourfold.models.registry import MODELS, ModelInfo, build, canonical_name, input_shape, is_known
from fourfold.models.sizes import LayerSize, Sizes

__all__ = [
    "MODELS",
    "NORMS",
    "PHM",
    "LayerSize",
    "Layers",
    "LearnedChannel",
    "ModelInfo",
    "Sizes",
    "build",
    "canonical_name",
    "dimension",
    "input_shape",
    "is_known",
    "measure",
]
