"""From an artifact's description and tensors to a program: everything is checked, for a file may hold anything."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fourfold.deploy.artifact import structure
from fourfold.deploy.artifact.bits import DamageError, Symbols, unpack_bits
from fourfold.deploy.artifact.container import Tensors
from fourfold.deploy.artifact.entropy import decode, table_size
from fourfold.deploy.artifact.products import CodedProduct, ProductCoding, coding_from_json, decode_product
from fourfold.deploy.artifact.structure import Json
from fourfold.deploy.artifact.values import VALUES
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.bounds import check, check_weights
from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops import KINDS
from fourfold.deploy.ir.product import LeftTable, ProductOperation
from fourfold.deploy.ir.program import Program

Codings = Mapping[int, tuple[ProductCoding, LeftTable]]
"""How the product of each operation that has one is stored, and the table of its algebra."""


class Reader:
    """Takes tensors out of a file one by one, so that none is used twice and none is left."""

    def __init__(self, described: Json, tensors: Tensors) -> None:
        self._described = described
        self._tensors = dict(tensors)
        self._values = VALUES[structure.choice(described, "values", tuple(VALUES))]
        operations = structure.listed(described, "operations")
        check("operations", len(operations))
        tables = structure.listed(described, "tables")
        if len(tables) > len(operations):
            raise DamageError(f"its {len(tables)} tables are more than its {len(operations)} operations")
        self._tables = [structure.table_from_json(table) for table in tables]
        self._operations = [structure.mapping(operation, "operation") for operation in operations]

    def program(self) -> Program:
        """Return the program.

        Raises:
            DamageError, UserError: a part is missing, is of another type, or does not fit the others.
        """
        described = self._described
        codings = {k: self._coding(operation) for k, operation in enumerate(self._operations) if _has_product(operation)}
        weights = sum(prod(coding.shape) for coding, _ in codings.values())
        check_weights(weights, sum(array.nbytes for array in self._tensors.values()))
        symbols = self._symbols(codings)
        operations = [
            self._operation(k, operation, codings, symbols.get(k, {})) for k, operation in enumerate(self._operations)
        ]
        if self._tensors:
            raise DamageError(f"nothing uses its tensor {min(self._tensors)!r:.40}")
        provenance = structure.mapping(described.get("provenance"), "provenance")
        return assemble(
            structure.integers(described, "shape", structure.MOST_SIDES),
            operations,
            encoding=structure.encoding_from_json(described.get("encoding")),
            class_names=structure.texts(described, "class_names"),
            provenance={name: structure.text(provenance, name) for name in provenance},
            inputs=structure.ports_from_json(described.get("inputs", [])),
            outputs=structure.ports_from_json(described.get("outputs", [])),
            ranges=structure.ranges_from_json(described.get("ranges"), len(operations)),
        )

    def _coding(self, operation: Json) -> tuple[ProductCoding, LeftTable]:
        product = structure.mapping(operation.get("product"), "product")
        table = self._tables[structure.integer(product, "table", len(self._tables) - 1)]
        return coding_from_json(product, len(table)), table

    def _symbols(self, codings: Codings) -> dict[int, dict[str, Symbols]]:
        """Return the symbols of all products by operation and name."""
        streams = [
            (k, name, count, bits)
            for k, (coding, _) in codings.items()
            for name, (count, bits) in coding.streams(self._values).items()
        ]
        if structure.flag(self._described, "entropy"):
            parts = self._decoded([(count, bits) for _, _, count, bits in streams])
        else:
            parts = []
            for k, name, count, bits in streams:
                packed = self._take(f"{k}.{name}", self._values.stored_type(name))
                parts.append(unpack_bits(packed.view(np.uint8), count, bits))
        symbols: dict[int, dict[str, Symbols]] = {}
        for (k, name, _, _), part in zip(streams, parts, strict=True):
            symbols.setdefault(k, {})[name] = part
        return symbols

    def _decoded(self, streams: list[tuple[int, int]]) -> list[Symbols]:
        """Return the streams of so many symbols of so many bits that are entropy coded."""
        sizes = [table_size(1 << bits) for _, bits in streams]
        stored = self._take("tables", np.uint8)
        if len(stored) != sum(sizes):
            raise DamageError("its tables are not those of its streams")
        tables = np.split(stored, np.cumsum(sizes)[:-1]) if streams else []
        return decode(self._take("coded", np.uint8), [(s[0], table) for s, table in zip(streams, tables, strict=True)])

    def _operation(self, k: int, described: Json, codings: Codings, symbols: dict[str, Symbols]) -> Operation:
        arrays: Json = {}
        if k in codings:
            coding, table = codings[k]
            stored = {name: self._take(f"{k}.{name}", dtype) for name, dtype in self._values.arrays().items()}
            coded = CodedProduct(coding=coding, symbols=symbols, arrays=stored, bias=self._tensors.pop(f"{k}.bias", None))
            arrays["product"] = decode_product(coded, self._values, table)
        else:
            names = KINDS[structure.choice(described, "kind", tuple(KINDS))].arrays
            arrays = {name: self._take(f"{k}.{name}", np.float32) for name in names}
            if not all(np.isfinite(array).all() for array in arrays.values()):
                raise DamageError(f"{' or '.join(names)} of operation {k} is nan or infinite")
        return structure.operation_from_json(described, k + 1, arrays)

    def _take(self, name: str, dtype: DTypeLike) -> NDArray[Any]:
        array = self._tensors.pop(name, None)
        if array is None or array.dtype != dtype or array.ndim != 1:
            raise DamageError(f"its tensor {name!r:.40} is missing or of another kind")
        return array


def _has_product(operation: Json) -> bool:
    kind = KINDS.get(kind_name) if isinstance(kind_name := operation.get("kind"), str) else None
    return kind is not None and issubclass(kind, ProductOperation)
