"""The device: choosing it, naming it, holding it still."""

import platform

import pytest
import torch

import fourfold
from fourfold.record import UserError
from fourfold.train import describe_device, resolve_device, single_thread, versions


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_auto_is_the_cpu_and_cuda_is_refused():
    assert resolve_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(
            UserError, match=rf"device '{name}' is not here: torch .* sees no CUDA device; use --device cpu or auto"
        ):
            resolve_device(name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_with_cuda_auto_takes_it_and_one_too_many_is_refused():
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert describe_device(resolve_device("cuda")).startswith("cuda (")
    with pytest.raises(UserError, match=r"device 'cuda:99' is not here: torch .* sees \d+ CUDA device"):
        resolve_device("cuda:99")


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "mps"])
def test_other_devices_are_unknown(name):
    with pytest.raises(UserError, match=rf"unknown device '{name}'; known: auto, cpu, cuda, cuda:N"):
        resolve_device(name)


def denormals_are_zero() -> bool:
    return (torch.tensor([1e-40]) * 0.5).item() == 0


def test_one_thread_without_denormals_and_both_put_back():
    torch.set_num_threads(2)
    assert not denormals_are_zero()
    with single_thread():
        assert torch.get_num_threads() == 1
        assert denormals_are_zero()
        assert describe_device(torch.device("cpu")).startswith("cpu (1 thread, ")
    assert torch.get_num_threads() == 2
    assert not denormals_are_zero()
    assert describe_device(torch.device("cpu")).startswith("cpu (2 threads, ")


def test_threads_are_put_back_after_an_error_too():
    torch.set_num_threads(2)
    with pytest.raises(KeyError, match="inside"), single_thread():
        raise KeyError("inside")
    assert torch.get_num_threads() == 2
    assert not denormals_are_zero()


def test_versions_are_those_that_run():
    assert versions() == {"fourfold": fourfold.__version__, "torch": torch.__version__, "python": platform.python_version()}


def test_single_thread_within_itself_still_flushes_denormals():
    tiny = torch.tensor(1e-40)
    with single_thread():
        with single_thread():
            pass
        assert (tiny * 1).item() == 0
    assert (tiny * 1).item() != 0
