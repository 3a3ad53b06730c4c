"""Recomputing activations changes memory alone."""

import torch
from torch import Tensor

from kidneyseg.network import QuickNAT, build_quicknat
from kidneyseg.settings import NetworkSettings

SETTINGS = NetworkSettings(filters=4, kernel_size=3)


def step(*, recompute: bool) -> tuple[QuickNAT, Tensor, int]:
    """One forward and backward pass; the network, its loss, and the bytes kept in between."""
    torch.manual_seed(0)
    network = build_quicknat(SETTINGS, dropout=0.3)
    network.recompute = recompute
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    x = torch.randn(2, 1, 40, 33)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(x).square().mean()
    loss.backward()
    return network, loss.detach(), sum(kept.values())


def test_gradients_and_batch_norm_are_the_same_and_less_is_kept() -> None:
    plain, plain_loss, plain_bytes = step(recompute=False)
    again, again_loss, again_bytes = step(recompute=True)
    assert torch.equal(plain_loss, again_loss)
    for (name, expected), found in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert expected.grad is not None
        assert found.grad is not None
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-6, atol=1e-9, msg=name)
    for (name, moved), buffer in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(buffer, moved), name
    assert again_bytes < 0.5 * plain_bytes


def test_nothing_is_recomputed_while_evaluating() -> None:
    network = build_quicknat(SETTINGS, dropout=0.3).eval()
    x = torch.randn(1, 1, 32, 32)
    expected = network(x)
    network.recompute = True
    assert torch.equal(network(x), expected)
