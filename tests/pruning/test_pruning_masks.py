"""Masks as bits, their fingerprints, and the bytes that a pruned network takes."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.pruning import apply_, compress, dense, expand_, fingerprint, kept, pack, prune, stored_bytes, unpack
from fourfold.pruning.masks import matched
from fourfold.record import UserError

fixed = settings(derandomize=True, deadline=None, max_examples=60)


def mask(seed: int, *shape: int, density: float = 0.5) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape) < density)


def test_dense_masks_keep_everything_where_the_weights_are():
    weights = {"a": torch.zeros(2, 3), "b": torch.zeros(4, device="meta")}
    masks = dense(weights)
    assert masks["a"].all()
    assert masks["b"].is_meta
    assert all(m.dtype == torch.bool and m.shape == weights[name].shape for name, m in masks.items())
    assert kept({"a": masks["a"], "b": mask(0, 4, density=0)}) == {"a": 6, "b": 0}


def test_applying_a_mask_sets_exact_zeros_in_place_even_over_nan():
    weight = torch.tensor([1.0, -2.0, float("nan"), float("inf")], requires_grad=True)
    apply_({"a": weight}, {"a": torch.tensor([True, False, False, False])})
    assert weight.tolist() == [1, 0, 0, 0]
    assert weight.is_leaf


@fixed
@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), max_size=3), st.integers(0, 99))
def test_unpacking_undoes_packing(shapes, seed):
    masks = {f"layer{i}": mask(seed + i, *shape) for i, shape in enumerate(shapes)}
    packed = pack(masks)
    for name, bits in packed.items():
        assert bits.dtype == np.uint8
        assert bits.shape == (-(-masks[name].numel() // 8),)
    found = unpack(packed, {name: torch.zeros(m.shape) for name, m in masks.items()})
    assert list(found) == list(masks)
    assert all(torch.equal(found[name], m) for name, m in masks.items())


def test_the_first_weight_is_in_the_highest_bit():
    m = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 0]]).bool()
    assert pack({"a": m})["a"].tolist() == [0b10001000, 0]


def test_bits_follow_the_weights_order_not_the_memorys():
    m = mask(0, 2, 4, 3, 3)
    assert pack({"a": m.to(memory_format=torch.channels_last)})["a"].tolist() == pack({"a": m})["a"].tolist()
    assert stored_bytes({"a": m.to(memory_format=torch.channels_last)}, 0) == stored_bytes({"a": m}, 0)


def test_masks_of_another_network_are_refused():
    weights = {"a": torch.zeros(3, 3), "b": torch.zeros(2)}
    packed = pack(dense(weights))
    with pytest.raises(ValueError, match=r"the mask is of another network: it lacks or adds \['b'\]"):
        unpack({"a": packed["a"]}, weights)
    with pytest.raises(ValueError, match=r"the mask is of another network: it lacks or adds \['c'\]"):
        unpack({**packed, "c": packed["b"]}, weights)
    with pytest.raises(ValueError, match=r"the mask of 'a' has shape \(1,\), not the 2 bytes of 9 weights"):
        unpack({**packed, "a": packed["b"]}, weights)
    with pytest.raises(ValueError, match=r"the mask of 'b' has shape \(2,\), not the 1 bytes of 2 weights"):
        unpack({**packed, "b": np.zeros(2, dtype=np.uint8)}, weights)
    with pytest.raises(ValueError, match="the mask of 'b' has shape"):
        unpack({**packed, "b": np.zeros(1, dtype=np.int64)}, weights)


def test_expanding_undoes_compressing_with_zeros_where_nothing_was_kept():
    state = {"a.weight": torch.randn(2, 4, 3, 3), "a.bias": torch.randn(2), "steps": torch.tensor(7)}
    masks = {"a.weight": mask(0, 2, 4, 3, 3)}
    arrays = compress(state, masks)
    assert arrays["a.weight"].tolist() == [w for w, keep in zip(state["a.weight"].flatten(), mask(0, 72), strict=True) if keep]
    found = {name: torch.full_like(value, 9) for name, value in state.items()}
    found["a.weight"] = found["a.weight"].to(memory_format=torch.channels_last)
    expand_(found, arrays, masks)
    assert torch.equal(found["a.weight"], torch.where(masks["a.weight"], state["a.weight"], 0))
    assert torch.equal(found["a.bias"], state["a.bias"])
    assert found["steps"] == 7


def test_weights_of_another_network_or_mask_are_refused():
    state, masks = {"a": torch.zeros(3), "b": torch.zeros(2)}, {"a": torch.tensor([True, False, True])}
    arrays = compress(state, masks)
    with pytest.raises(ValueError, match=r"the weights are of another network: they lack or add \['b'\]"):
        expand_(state, {"a": arrays["a"]}, masks)
    with pytest.raises(ValueError, match=r"'a' has shape \(2,\), not \(1,\)"):
        expand_(state, arrays, {"a": torch.tensor([True, False, False])})
    with pytest.raises(ValueError, match=r"'b' has shape \(2,\), not \(4,\)"):
        expand_({"a": state["a"], "b": torch.zeros(4)}, arrays, masks)


def test_a_fingerprint_depends_on_names_and_bits_but_not_on_their_order():
    masks = {"a": mask(0, 20), "b": mask(1, 20)}
    print_of = fingerprint(pack(masks))
    assert len(print_of) == 64
    assert fingerprint(pack({"b": masks["b"], "a": masks["a"]})) == print_of
    flipped = masks["a"].clone()
    flipped[7] ^= True
    others = [
        {"a": flipped, "b": masks["b"]},
        {"a": masks["b"], "b": masks["a"]},
        {"a": masks["a"], "c": masks["b"]},
        {"a": masks["a"]},
        {},
    ]
    assert len({print_of, *(fingerprint(pack(other)) for other in others)}) == 6


def test_a_fingerprint_is_the_same_on_every_machine_and_version():
    bits = {"b.weight": np.array([255, 1], dtype=np.uint8), "a.weight": np.array([128], dtype=np.uint8)}
    assert fingerprint(bits) == hashlib.sha256(b"a.weight\x00\x80b.weight\x00\xff\x01").hexdigest()


def gap_bytes(bits: list[bool]) -> bytes:
    """One byte a kept weight, the gap to the one before; 255 means 255 pruned ones and no kept one yet."""
    code, gap = bytearray(), 0
    for bit in bits:
        if bit:
            code.append(gap)
            gap = 0
        else:
            gap += 1
            if gap == 255:
                code.append(255)
                gap = 0
    while code and code[-1] == 255:  # what lies behind the last kept weight need not be said
        code.pop()
    return bytes(code)


def read_gaps(code: bytes, count: int) -> list[bool]:
    bits: list[bool] = []
    for byte in code:
        bits += [False] * byte + [True] * (byte < 255)
    return bits + [False] * (count - len(bits))


@fixed
@given(st.integers(1, 3000), st.sampled_from([0, 0.001, 0.004, 0.02, 0.1, 0.125, 0.2, 0.5, 0.97, 1]), st.integers(0, 99))
def test_stored_bytes_are_those_of_the_cheapest_encoding_that_can_be_read_back(count, density, seed):
    m = mask(seed, count, density=density)
    bits = m.tolist()
    code = gap_bytes(bits)
    assert read_gaps(code, count) == bits
    values = b"".join(np.float32(1.5).tobytes() for bit in bits if bit)
    forms = [np.zeros(count, dtype=np.float32).tobytes(), np.packbits(bits).tobytes() + values, code + values]
    assert stored_bytes({"a": m}, 0) == min(len(form) for form in forms)


def test_each_of_the_three_forms_is_the_cheapest_somewhere():
    def only(*positions):
        m = torch.zeros(2000, dtype=torch.bool)
        m[list(positions)] = True
        return stored_bytes({"a": m}, 0)

    assert stored_bytes({"a": torch.ones(2000, dtype=torch.bool)}, 0) == 8000
    assert stored_bytes({"a": torch.arange(2000) % 4 > 0}, 0) == 4 * 1500 + 250
    assert [only(0), only(254), only(255), only(509), only(510), only(1999)] == [5, 5, 6, 6, 7, 12]
    assert only(3, 4, 300) == 3 * 4 + 4
    assert only() == 0


def test_layers_choose_alone_and_other_numbers_take_four_bytes():
    a, b = mask(0, 100, density=0.01), mask(1, 30, 30, density=0.9)
    assert stored_bytes({"a": a, "b": b}, 17) == stored_bytes({"a": a}, 0) + stored_bytes({"b": b}, 0) + 4 * 17


def test_masks_on_meta_and_sparse_ones():
    layer = torch.nn.Linear(4, 3)
    masks = prune(layer, density=0.5)
    sparse = {name: m.to_sparse() for name, m in masks.items()}
    assert all(torch.equal(m, masks[name]) for name, m in matched(sparse, {"weight": layer.weight}).items())
    with pytest.raises(UserError, match=r"`masks\['weight'\]` lies on the device 'meta'"):
        apply_(layer, {name: m.to("meta") for name, m in masks.items()})
