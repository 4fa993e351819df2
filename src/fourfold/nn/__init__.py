"""Layers with torch.nn's own signatures plus `algebra=`; sizes are counted in real neurons.

Activations named as torch's are split, that is, applied to every component alone (Arena et al. 1994), so torch's own serve.
"""

from torch.nn import ELU, GELU, Hardtanh, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh

from fourfold.nn import testing
from fourfold.nn._convert import Conversion, LayerConversion, convert, convert_with_report, to_real
from fourfold.nn._fold import fold, fold_norms
from fourfold.nn.activation import AmplitudeTanh, Cardioid, ModReLU
from fourfold.nn.attention import MultiheadAttention
from fourfold.nn.base import check_divisible
from fourfold.nn.bilinear import Bilinear
from fourfold.nn.caching import clear_cache
from fourfold.nn.conv import Conv1d, Conv2d, Conv3d
from fourfold.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fourfold.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from fourfold.nn.eager import reference_path
from fourfold.nn.embedding import Embedding, EmbeddingBag
from fourfold.nn.features import cat, chunk, split, stack
from fourfold.nn.heads import NormHead, RealPartHead
from fourfold.nn.init import FORMS, SCHEMES
from fourfold.nn.layer_norm import GroupNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, LayerNorm, RMSNorm
from fourfold.nn.layout import Layout, layout_of
from fourfold.nn.light_gru import LiGRU
from fourfold.nn.linear import Linear
from fourfold.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fourfold.nn.phm import PHMConv1d, PHMConv2d, PHMConv3d, PHMLinear
from fourfold.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from fourfold.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from fourfold.nn.rotation import RotationConv1d, RotationConv2d, RotationConv3d, RotationLinear
from fourfold.nn.synchronised import is_batch_norm, synchronise
from fourfold.nn.tracing import LayerTracer
from fourfold.nn.transformer import TransformerEncoderLayer
from fourfold.nn.weights import (
    algebra_of,
    computed_weights,
    computes_weights,
    initialize,
    layers_with_weights,
    named_weights,
    stored_weights,
    weights_with_layers,
)
from fourfold.nn.whitening import WhiteningBatchNorm1d, WhiteningBatchNorm2d, WhiteningBatchNorm3d
from fourfold.record.aliases import alias_modules

__all__ = [
    "ELU",
    "FORMS",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SCHEMES",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AmplitudeTanh",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Cardioid",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Conversion",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "EmbeddingBag",
    "GRUCell",
    "GroupNorm",
    "Hardtanh",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LSTMCell",
    "LayerConversion",
    "LayerNorm",
    "LayerTracer",
    "Layout",
    "LeakyReLU",
    "LiGRU",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "ModReLU",
    "MultiheadAttention",
    "NormHead",
    "PHMConv1d",
    "PHMConv2d",
    "PHMConv3d",
    "PHMLinear",
    "PReLU",
    "RMSNorm",
    "RNNCell",
    "ReLU",
    "RealPartHead",
    "RotationConv1d",
    "RotationConv2d",
    "RotationConv3d",
    "RotationLinear",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "TransformerEncoderLayer",
    "WhiteningBatchNorm1d",
    "WhiteningBatchNorm2d",
    "WhiteningBatchNorm3d",
    "algebra_of",
    "cat",
    "check_divisible",
    "chunk",
    "clear_cache",
    "computed_weights",
    "computes_weights",
    "convert",
    "convert_with_report",
    "fold",
    "fold_norms",
    "initialize",
    "is_batch_norm",
    "layers_with_weights",
    "layout_of",
    "named_weights",
    "reference_path",
    "split",
    "stack",
    "stored_weights",
    "synchronise",
    "testing",
    "to_real",
    "weights_with_layers",
]

alias_modules(__name__, "convert", "fold")
