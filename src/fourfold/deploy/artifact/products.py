"""A product as arrays and back: the mask, the values of what it keeps, and what describes both."""

from dataclasses import dataclass, fields
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.artifact.bits import DamageError, Symbols
from fourfold.deploy.artifact.masks import GAP_BITS, POSITIONS, MaskCoding, decode_mask, encode_mask
from fourfold.deploy.artifact.structure import MOST_SIDES, Json, choice, flag, integer, integers, mapping, unusual
from fourfold.deploy.artifact.values import LARGEST_HALF, ValueCoding
from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.product import LeftTable, Product

_USUAL = {field.name: field.default for field in fields(MaskCoding)}


@dataclass(frozen=True, kw_only=True)
class ProductCoding:
    """How one product is stored."""

    shape: tuple[int, ...]
    """Of the weights, as `Product.weight` has it."""
    mask: MaskCoding
    weights: int
    """That are kept."""
    bias: bool
    """Whether there is one."""

    def streams(self, values: ValueCoding) -> dict[str, tuple[int, int]]:
        """Return how many symbols of how many bits there are of each kind, in the order in which they are stored."""
        streams = {
            "positions": (self.mask.symbols, self.mask.bits),
            "parts": (self.mask.kept if self.mask.parts else 0, self.shape[0]),
            "values": (self.weights if values.symbols else 0, values.bits),
        }
        return {name: stream for name, stream in streams.items() if stream[0]}


@dataclass(frozen=True, kw_only=True, eq=False)
class CodedProduct:
    """A product in symbols and arrays."""

    coding: ProductCoding
    symbols: dict[str, Symbols]
    """By the names of `ProductCoding.streams`."""
    arrays: dict[str, NDArray[Any]]
    """What is stored as it is, by the names of `ValueCoding.arrays`."""
    bias: NDArray[Any] | None
    """float16 beside values of less than 32 bits where that can hold it, else float32."""


def encode_product(product: Product, values: ValueCoding, entropy: bool) -> CodedProduct:
    """Return a product's cheapest coding."""
    weight = product.weight
    mask = weight != 0
    coded = encode_mask(mask.reshape(product.n, -1), entropy)
    kept, side = values.encode(weight, mask)
    arrays: dict[str, NDArray[Any]] = {} if side is None else {values.side: side}
    symbols = {"positions": coded.positions, "parts": coded.parts}
    if values.symbols:
        symbols["values"] = kept
    else:
        arrays["values"] = kept
    coding = ProductCoding(shape=weight.shape, mask=coded.coding, weights=len(kept), bias=product.bias is not None)
    return CodedProduct(coding=coding, symbols=symbols, arrays=arrays, bias=_stored_bias(product.bias, values))


def decode_product(coded: CodedProduct, values: ValueCoding, table: LeftTable) -> Product:
    """Return the product of its symbols and arrays.

    Raises:
        DamageError: they do not fit each other.
    """
    shape = coded.coding.shape
    none = np.empty(0, np.uint8)
    symbols = {"positions": none, "parts": none, "values": none} | coded.symbols
    flat = decode_mask(coded.coding.mask, (shape[0], int(np.prod(shape[1:]))), symbols["positions"], symbols["parts"])
    mask = flat.reshape(shape)
    numbers = symbols["values"] if values.symbols else coded.arrays["values"]
    if np.count_nonzero(mask) != coded.coding.weights or numbers.shape != (coded.coding.weights,):
        raise DamageError(f"a mask that keeps {np.count_nonzero(mask)} weights has values of shape {numbers.shape}")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused
        weight = values.decode(numbers, coded.arrays.get(values.side), mask)
    if not np.isfinite(weight).all():
        raise DamageError("a weight is nan or infinite")
    bias = coded.bias
    if (bias is not None) != coded.coding.bias:
        raise DamageError("a bias is missing, or there is one too many")
    if bias is not None and (bias.dtype not in (np.float16, np.float32) or not np.isfinite(bias).all()):
        raise DamageError("a bias is of another type, nan or infinite")
    return Product(weight=weight, bias=None if bias is None else bias.astype(np.float32), table=table)


def _stored_bias(bias: Array | None, values: ValueCoding) -> NDArray[Any] | None:
    if bias is None or values.bits == 32 or np.abs(bias).max(initial=0) > LARGEST_HALF:
        return bias
    return bias.astype(np.float16)


def coding_to_json(coding: ProductCoding) -> Json:
    """Return the JSON of a product's coding."""
    mask = unusual(coding.mask, fields(MaskCoding))
    return {"shape": coding.shape, "weights": coding.weights, "bias": coding.bias, "mask": mask}


def coding_from_json(value: Json, n: int) -> ProductCoding:
    """Return a product's coding from its JSON.

    Raises:
        DamageError, UserError: a field is missing, of another type, too large, or does not fit the others.
    """
    shape = integers(value, "shape", MOST_SIDES)
    if len(shape) not in (3, 5) or shape[0] != n:
        raise DamageError(f"`shape` (={shape}) is not that of weights of an algebra of {n}")
    size = prod(shape)
    check("weights", size)
    settings = _USUAL | mapping(value.get("mask"), "mask")
    mask = MaskCoding(
        unit=choice(settings, "unit", ("weight", "number")),
        positions=choice(settings, "positions", POSITIONS),
        kept=integer(settings, "kept", size),
        symbols=integer(settings, "symbols", size),
        bits=integer(settings, "bits", 8),
        parts=flag(settings, "parts"),
    )
    widths = {"all": (1,), "bitmap": (1,), "gaps": GAP_BITS}[mask.positions]
    if mask.bits not in widths or (mask.positions == "all" and mask.symbols) or (mask.parts and mask.unit == "weight"):
        raise DamageError(f"its mask is of no known coding ({mask})")
    return ProductCoding(shape=shape, mask=mask, weights=integer(value, "weights", size), bias=flag(value, "bias"))
