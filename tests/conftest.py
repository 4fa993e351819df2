import sys
from collections.abc import Iterator

import pytest
import torch

import headless_browser


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These tensors are too small for threads, which only wait for one another on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:
    """torch.compile gives up on code that it has compiled many times, whichever tests that was for."""
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture(scope="session")
def browser_page() -> Iterator[headless_browser.Page]:
    """A tab of a headless Chromium."""
    binary = headless_browser.find()
    if binary is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    with headless_browser.browser(binary) as page:
        yield page
