"""Write what the Makefile builds: the network in C, one image, the plain dense network, and the logits that the host computes.

    python generate.py [ARTIFACT] [--folder .]

Without an artifact: a quaternion Lenet-300-100 with random weights, of which 12 % are kept (3 % of the real network's).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from fourfold import deploy, models, pruning
from fourfold.deploy import quantize
from fourfold.deploy.backends.c.text import array
from fourfold.deploy.ir.program import Encoding, Program


def random_network() -> Program:
    """Return a calibrated network whose weights nobody trained."""
    torch.manual_seed(0)
    model = models.build("lenet-300-100", algebra="quaternion", num_classes=10)
    pruning.prune(model, density=0.12, score="random", generator=torch.Generator().manual_seed(0))
    encoding = Encoding(kind="pixels", n=4, shape=(1, 28, 28), mean=(0.13,), std=(0.31,))
    program = deploy.lower(model, models.input_shape("lenet-300-100", "quaternion"), encoding=encoding)
    images = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1), dtype=np.uint8)
    return quantize.calibrate(program, images)


def plain_header() -> str:
    """Return the header of plain.c, with weights for its three layers."""
    random = np.random.default_rng(0)
    tables = [
        array("int8_t", f"weights_{number}", random.integers(-63, 64, size).astype(np.int8))
        for number, size in enumerate(((300, 784), (100, 300), (10, 100)), 1)
    ]
    head = "#include <stdint.h>\n\n#define PLAIN_OUTPUTS 10\n\nvoid plain_run(const uint8_t *image, int32_t *logits);\n"
    guarded = "\n#ifdef PLAIN_WEIGHTS\n" + "".join(tables) + array("int32_t", "biases", np.zeros(300, np.int32)) + "#endif\n"
    return f"#ifndef PLAIN_H\n#define PLAIN_H\n\n{head}{guarded}#endif\n"


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", nargs="?")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    program = deploy.read(arguments.artifact) if arguments.artifact else random_network()
    assert program.encoding is not None, "the network must know how to encode bytes"
    channels, height, width = program.encoding.shape
    image = np.random.default_rng(1).integers(0, 256, (1, height, width, channels), dtype=np.uint8)
    deploy.to_c(program, arguments.folder, name="network")
    logits = deploy.load(program)(image)[0]
    lines = (f"logit {i} {bits:08x}\n" for i, bits in enumerate(logits.view(np.uint32).tolist()))
    (arguments.folder / "expected.txt").write_text("".join(lines))
    (arguments.folder / "image.h").write_text(f"#include <stdint.h>\n{array('uint8_t', 'image', image)}")
    (arguments.folder / "plain.h").write_text(plain_header())


if __name__ == "__main__":
    main()
