"""Convolutions of bytes as blocks: a tile's inputs are put side by side, then each four outputs walk their blocks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fourfold.deploy.backends.c.int8._block_tile import BlockTile, block_tile
from fourfold.deploy.backends.c.int8.blocks import SIDE, Blocks, make_blocks, side_by_side
from fourfold.deploy.backends.c.int8.kernel_choice import choose, dense_work, element_work
from fourfold.deploy.backends.c.memory import Plane
from fourfold.deploy.backends.c.plan import Draft
from fourfold.deploy.backends.c.sparse_lists import Integers
from fourfold.deploy.backends.c.text import array, share_of
from fourfold.deploy.ir.levels import Int32
from fourfold.deploy.ir.ops import Convolution
from fourfold.deploy.quantize import Codes


@dataclass(frozen=True, kw_only=True)
class Written:
    """A convolution as C, and the work that it does where its lists are walked."""

    comment: str
    body: tuple[str, ...]
    tables: str
    work: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockLayer:
    """A convolution in integers."""

    operation: Convolution
    codes: Codes
    bias: Int32
    """(out,): of the sums of code · level."""
    where: Integers
    """(numbers, *kernel): how far the inputs of the output at 0 lie from their buffer's start."""
    input_step: int
    """From a component of the input to the next."""


def with_blocks(draft: Draft, layer: BlockLayer, lists: Written) -> Written:
    """Return a convolution that walks blocks where the machine has VNNI of 512 bits, if they should be faster than lists."""
    assert draft.quantized is not None
    operation, codes, where = layer.operation, layer.codes, layer.where[0].ravel()
    target = draft.planes[operation.output]
    tile = block_tile(target, where, len(side_by_side(codes.product.n, len(layer.where))))
    if tile is None or operation.groups > 1:
        return lists
    blocks = make_blocks(codes.product)
    elements, dense = element_work(blocks, tile), dense_work(blocks, tile, where.size)
    choice = choose(operation.name, draft.kernels, {"lists": lists.work, "elements": elements, "dense": dense})
    draft.choices.append(choice)
    comment = f"{lists.comment}; {choice.described}"
    if choice.kernel == "lists":
        return replace(lists, comment=comment)
    walk = BlockWalk(
        blocks=make_blocks(codes.product, dense=True) if choice.kernel == "dense" else blocks,
        tile=tile,
        codes=codes,
        bias=layer.bias,
        where=where,
        channel_length=layer.input_step // len(layer.where),
        target=target,
        zero=draft.zero(operation.output),
        largest=draft.quantized.levels[operation.output].largest,
    )
    body = ("#if defined(BLOCKS)", *walk.body(), "#else", *lists.body, "#endif")
    tables = f"#if defined(BLOCKS)\n{walk.tables()}#else\n{lists.tables}#endif\n"
    return Written(comment=comment, body=body, tables=tables, work=lists.work)


@dataclass(frozen=True, kw_only=True)
class BlockWalk:
    """What the C of one layer is written from."""

    blocks: Blocks
    tile: BlockTile
    codes: Codes
    bias: Int32
    """(out,): of the sums of code · level."""
    where: Integers
    """(places,), as in `block_tile`."""
    channel_length: int
    """Of the input's planes, which may be sorted by phases of a stride."""
    target: Plane
    zero: int
    largest: int

    def tables(self) -> str:
        """Return the tables of the C function."""
        blocks, (four, place) = self.blocks, self.blocks.sources.T
        channels = np.maximum(blocks.outputs.ravel(), 0)
        return (
            array("uint32_t", "@inputs", np.maximum(blocks.inputs, 0) * self.channel_length)
            + array("uint32_t", "@counts", blocks.counts)
            + array("uint16_t", "@places", four * self.tile.pixels(self.tile.vectors) + self.where[place] - self.tile.start)
            + array("int8_t", "@weights", blocks.weights.astype(np.int8))
            + array("uint32_t", "@outputs", channels * self.target.length)
            + array("int32_t", "@bias", self.bias[channels])
            + array("float", "@factor", self.codes.factor[channels])
        )

    def body(self) -> list[str]:
        """Return the lines of the C function."""
        tile, target, fours = self.tile, self.target, len(self.blocks.inputs)
        last, pixels = tile.tiles - 1, tile.pixels(tile.vectors)
        outputs = int((self.blocks.outputs >= 0).sum())
        merged = int(self.blocks.merged > 0)
        about = f"{tile.across}, {tile.pitch}, {merged}, near, of, ours, y + at + {target.origin}, {self.largest}"
        body = [
            f"uint8_t near[{SIDE * fours * pixels}] ALIGNED;",
            share_of(len(self.blocks.outputs)),
            "struct blocks of = {@counts, @places, @weights, @outputs, @bias, @factor};",
            "of = skip_blocks(of, first);",
            f"const int ours = (last < {len(self.blocks.outputs)} ? 4 * last : {outputs}) - 4 * first;",
            f"for (int tile = 0; tile <= {last}; tile++) {{",
            f"    const int at = tile < {last} ? {tile.step} * tile : {tile.last};",
            f"    const int pixels = tile < {last} ? {pixels} : {tile.pixels(tile.rest)};",
            f"    const uint8_t *const from = x + at + ({tile.start});",
            f"    for (int four = 0; four < {fours}; four++) {{",
            "        const uint32_t *const input = @inputs + 4 * four;",
            f"        side_by_side(near + {SIDE * pixels} * four, from + input[0], from + input[1], from + input[2],",
            "                     from + input[3], pixels);",
            "    }",
        ]
        if tile.rest == tile.vectors:
            body += [f"    tile_of_blocks({tile.vectors}, {about});"]
        else:
            body += [
                f"    if (tile < {last})",
                f"        tile_of_blocks({tile.vectors}, {about});",
                "    else",
                f"        tile_of_blocks({tile.rest}, {about});",
            ]
        body += ["}"]
        if not target.compact:
            shape = f"{target.height}, {target.width}, {target.pitch}, {target.origin}, {target.length}"
            body += ["for (int a = 0; a < ours; a++)", f"    wipe(y + of.output[a], 1, {shape}, {self.zero});"]
        return body
