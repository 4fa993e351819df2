"""Take a model of torch.nn to the quaternions, train it on, and hand it back as a plain torch model.

Run: python examples/convert_model.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.nn import convert, convert_with_report, to_real


def train(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    """Fit a classifier with Adam on batches of 50."""
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for epoch in range(epochs):
        for batch in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of right answers."""
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def main() -> None:
    """Compare a real model with its projection and with a quaternion model from scratch, after the same training."""
    torch.manual_seed(0)
    images, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(digits)
    order = torch.randperm(len(x))
    (train_x, test_x), (train_y, test_y) = (part[order].tensor_split([1200]) for part in (x, y))

    real = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    train(real, train_x, train_y, epochs=15)
    print(f"real: accuracy {accuracy(real, test_x, test_y):.3f}\n")

    conversion = convert_with_report(real, algebra="quaternion", weights="project")
    print(conversion, "\n")
    scratch = convert(real, algebra="quaternion", weights="scratch", seed=0)
    for name, model in {"projected": conversion.model, "from scratch": scratch}.items():
        before = accuracy(model, test_x, test_y)
        train(model, train_x, train_y, epochs=2)
        print(f"{name}: accuracy {before:.3f}, after two epochs {accuracy(model, test_x, test_y):.3f}")

    plain = to_real(conversion.model)
    print(f"\nback in torch.nn: accuracy {accuracy(plain, test_x, test_y):.3f}")


if __name__ == "__main__":
    main()
