from collections.abc import Callable

import pytest

from fourfold.nn import few_products


@pytest.fixture
def products_pay(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., bool]], None]:
    """Sets where layers take few products, by what they are called with, in place of where those are faster."""

    def choose(pay: Callable[..., bool]) -> None:
        for name in ("convolution_pays", "linear_pays"):
            monkeypatch.setattr(few_products, name, pay)

    return choose
