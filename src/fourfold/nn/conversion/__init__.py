"""The parts of `fourfold.nn.convert`: which layers, which counterparts, which weights, and putting them in place."""
