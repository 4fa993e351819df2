"""From a program to an artifact's description and tensors."""

from dataclasses import asdict

import numpy as np

from fourfold.deploy.artifact.bits import Bytes, Symbols, pack_bits
from fourfold.deploy.artifact.container import Tensors
from fourfold.deploy.artifact.entropy import encode, stored_table
from fourfold.deploy.artifact.products import coding_to_json, encode_product
from fourfold.deploy.artifact.structure import Json, operation_to_json
from fourfold.deploy.artifact.values import VALUES
from fourfold.deploy.ir.product import LeftTable, ProductOperation
from fourfold.deploy.ir.program import Program


def write(program: Program, values: str, entropy: bool) -> tuple[Json, Tensors]:
    """Return what describes a program, and its arrays by name: those of the k-th operation as `k.…`."""
    coding = VALUES[values]
    tables: list[LeftTable] = []
    tensors: Tensors = {}
    streams: list[tuple[Symbols, Bytes]] = []
    operations = []
    for number, operation in enumerate(program.operations):
        described = operation_to_json(operation)
        if isinstance(operation, ProductOperation):
            product = operation.product
            if product.table not in tables:
                tables.append(product.table)
            coded = encode_product(product, coding, entropy)
            described["product"] = {"table": tables.index(product.table), **coding_to_json(coded.coding)}
            for name, (_, bits) in coded.coding.streams(coding).items():
                symbols = coded.symbols[name]
                if entropy:
                    streams.append((symbols, stored_table(symbols, 1 << bits)))
                else:
                    tensors[f"{number}.{name}"] = pack_bits(symbols, bits).view(coding.stored_type(name))
            tensors |= {f"{number}.{name}": array for name, array in coded.arrays.items()}
            if coded.bias is not None:
                tensors[f"{number}.bias"] = coded.bias
        tensors |= {f"{number}.{name}": getattr(operation, name) for name in operation.arrays}
        operations.append(described)
    if entropy:
        tensors["tables"] = np.concatenate([np.empty(0, np.uint8), *(table for _, table in streams)])
        tensors["coded"] = encode(streams)
    about = {
        "shape": program.shapes[0],
        "values": values,
        "entropy": entropy,
        "tables": tables,
        "operations": operations,
        "encoding": None if program.encoding is None else asdict(program.encoding),
        "class_names": program.class_names,
        "provenance": program.provenance,
        "ranges": program.ranges,
    }
    for name in ("inputs", "outputs"):
        if ports := getattr(program, name):
            about[name] = [asdict(port) for port in ports]
    return about, tensors
