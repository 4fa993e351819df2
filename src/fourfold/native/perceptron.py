"""The functions of `perceptron.c`, what they are given, and how wide its matrices are."""

import ctypes
import functools

from fourfold.native.compiling import functions, joined

_COUNT, _NUMBER, _ADDRESS = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


FILES = ("vectors", "tiles", "expansion", "products", "layers", "sparse", "cancellation", "dense", "images")
"""What `perceptron.c` needs before it, in the order in which they need each other."""


class CEntries(ctypes.Structure):
    """A sparse matrix; every address is that of a tensor, which the caller keeps alive."""

    _fields_ = [("blocks", _COUNT), ("rows", _COUNT), *((name, _ADDRESS) for name in ("start", "column", "source"))]


class CAlgebra(ctypes.Structure):
    """How a layer of an algebra is made of real ones."""

    _fields_ = [
        ("n", _COUNT),
        ("rank", _COUNT),
        *((name, _ADDRESS) for name in ("of_input", "of_weight", "of_output")),
        ("components", _COUNT),
        ("table", _ADDRESS),
    ]


class CDense(ctypes.Structure):
    """What a layer has that holds all its weights."""

    _fields_ = [
        ("algebra", CAlgebra),
        ("mask", _ADDRESS),
        *((name, _ADDRESS) for name in ("matrices", "matrices_gradient", "mixed_input", "mixed_output", "turned", "watched")),
    ]


class CWatched(ctypes.Structure):
    """What decides whether few products are accurate enough, and the layer without them."""

    _fields_ = [
        ("matrix", ctypes.POINTER(CDense)),
        *((name, _ADDRESS) for name in ("by_input", "by_output", "sums")),
        *((name, _COUNT) for name in ("expanded", "by_matrix")),
    ]


class CLayer(ctypes.Structure):
    """A linear layer, dense or of two sparse matrices."""

    _fields_ = [
        ("inputs", _COUNT),
        ("outputs", _COUNT),
        ("dense", ctypes.POINTER(CDense)),
        ("matrix", CEntries),
        ("transpose", CEntries),
        ("weights", _COUNT),
        *((name, _ADDRESS) for name in ("weight", "bias", "weight_gradient", "bias_gradient", "both", "both_gradient")),
        *((name, _ADDRESS) for name in ("input", "output", "input_gradient", "output_gradient")),
    ]


class CPerceptron(ctypes.Structure):
    """Layers, their parameters in one piece, and the optimiser of those."""

    _fields_ = [
        ("num_layers", _COUNT),
        ("layers", ctypes.POINTER(CLayer)),
        ("met", _ADDRESS),
        ("count", _COUNT),
        *((name, _ADDRESS) for name in ("parameters", "gradient", "mean", "square")),
        *((name, _COUNT) for name in ("adam", "nesterov")),
        *((name, _NUMBER) for name in ("beta1", "beta2", "epsilon", "momentum", "decay")),
    ]


class CImages(ctypes.Structure):
    """Images as bytes, and what makes numbers of them."""

    _fields_ = [("features", _COUNT), *((name, _ADDRESS) for name in ("pixels", "scale", "offset"))]


_PERCEPTRON, _IMAGES = ctypes.POINTER(CPerceptron), ctypes.POINTER(CImages)

_SIGNATURES = {
    "take": (_NUMBER, (_PERCEPTRON, *[_COUNT] * 4, _ADDRESS, _ADDRESS, _COUNT, _NUMBER)),
    "take_many": (_NUMBER, (_PERCEPTRON, _IMAGES, _COUNT, _ADDRESS, _ADDRESS, _COUNT, _COUNT, _ADDRESS, _NUMBER)),
    "evaluate": (_NUMBER, (_PERCEPTRON, _IMAGES, _COUNT, _ADDRESS, _ADDRESS, _COUNT, _ADDRESS)),
}


@functools.cache
def kernels() -> ctypes.CDLL:
    """Return the compiled functions; each is described in the C file.

    Raises:
        NoCompilerError: they cannot be compiled here.
    """
    return functions("perceptron", _SIGNATURES, joined(*FILES, "perceptron"))


def width(batch: int) -> int:
    """Return the columns that a batch is padded to."""
    return -(-batch // 16) * 16
