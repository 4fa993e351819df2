"""How initial weights come out: the variance of the real matrix by the real twin's, and the time to make a network.

    python benchmarks/initialisation.py [--draws 20] [--rounds 15]

One row a scheme and form: mean square of the entries of the expanded weight, over the scheme's variance for the real twin,
mean ± standard error over the draws, for linear layers and convolutions of every algebra. Then the seconds to make Conv-4.
Where SpeechBrain is installed, its quaternion layers stand beside ours.
"""

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from fourfold import models
from fourfold import nn as fnn
from fourfold.algebra import ALGEBRAS
from fourfold.nn.base import fan_in
from fourfold.nn.init import FORMS, SCHEMES, weight_
from fourfold.train import describe_device, single_thread, versions

KINDS: dict[str, Callable[[str], nn.Module]] = {
    "linear": lambda name: fnn.Linear(256, 128, algebra=name),
    "conv": lambda name: fnn.Conv2d(64, 128, 3, algebra=name),
}


def relative_variance(kind: str, name: str, scheme: str, form: str, draws: int) -> tuple[float, float]:
    """Return mean and standard error of the expanded weight's mean square over the real twin's variance."""
    layer = KINDS[kind](name)
    kernel = layer.weight[0, 0].numel()
    wanted = SCHEMES[scheme](fan_in(layer), layer.weight.shape[0] * kernel)
    ratios = []
    for seed in range(draws):
        weight_(layer.weight, layer.algebra, scheme=scheme, generator=torch.Generator().manual_seed(seed), form=form)
        ratios.append(layer.matrix().detach().double().square().mean().item() / wanted)
    return statistics.mean(ratios), statistics.stdev(ratios) / math.sqrt(draws)


def speechbrain_variance() -> str:
    """Return the same for SpeechBrain's quaternion layers, whose default is Glorot's in polar form."""
    from speechbrain.nnet.quaternion_networks.q_CNN import QConv2d
    from speechbrain.nnet.quaternion_networks.q_linear import QLinear

    wanted = {"linear": 2 / (256 + 128), "conv": 2 / (9 * (64 + 128))}
    layers = {"linear": QLinear(32, (1, 256)), "conv": QConv2d(32, 3, (1, 8, 8, 64))}
    found = {}
    for kind, layer in layers.items():
        parts = [p.detach().double() for name, p in layer.named_parameters() if name.endswith("weight")]
        found[kind] = statistics.mean(part.square().mean().item() for part in parts) / wanted[kind]
    return ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in found.items())


def speechbrain_conv4() -> None:
    """Make the quaternion layers of Conv-4 with SpeechBrain's."""
    from speechbrain.nnet.quaternion_networks.q_CNN import QConv2d
    from speechbrain.nnet.quaternion_networks.q_linear import QLinear

    for channels_in, channels_out in ((4, 64), (64, 64), (64, 128), (128, 128)):
        QConv2d(channels_out // 4, 3, (1, 32, 32, channels_in))
    for features_in, features_out in ((8192, 256), (256, 256)):
        QLinear(features_out // 4, (1, features_in))


def our_conv4(algebra: str, form: str) -> None:
    """Make Conv-4, and if `build` draws another form, draw its weights again."""
    network = models.build("conv-4", algebra=algebra)
    if form != "polar":
        for layer in fnn.layers_with_weights(network).values():
            weight_(layer.weight, fnn.algebra_of(layer), form=form)


def seconds(make: Callable[[], None], rounds: int) -> str:
    """Return the median wall and processor seconds that `make` takes."""
    make()
    wall, processor = [], []
    for _ in range(rounds):
        start, start_processor = time.perf_counter(), time.process_time()
        make()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return f"{statistics.median(wall):.3f} s, {statistics.median(processor):.3f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    columns = [(kind, name) for kind in KINDS for name in ALGEBRAS]
    with single_thread():
        print(f"{describe_device(torch.device('cpu'))}, {versions()}")
        print(f"{'scheme':8}{'form':12}" + "".join(f"{f'{kind} {name}':>20}" for kind, name in columns))
        for scheme in SCHEMES:
            for form in FORMS:
                cells = [relative_variance(kind, name, scheme, form, arguments.draws) for kind, name in columns]
                print(f"{scheme:8}{form:12}" + "".join(f"{f'{mean:.3f} ± {error:.3f}':>20}" for mean, error in cells))
        speechbrain = importlib.util.find_spec("speechbrain") is not None
        if speechbrain:
            print(f"SpeechBrain's default by Glorot's variance: {speechbrain_variance()}")
        print("making Conv-4, median of wall and of processor seconds:")
        for algebra, form in [("real", "polar"), *(("quaternion", form) for form in FORMS)]:
            again = "" if form == "polar" else ", drawn twice"
            print(f"  {algebra:12}{form:12}{seconds(partial(our_conv4, algebra, form), arguments.rounds)}{again}")
        if speechbrain:
            print(f"  {'SpeechBrain':24}{seconds(speechbrain_conv4, 1)}")


if __name__ == "__main__":
    main()
