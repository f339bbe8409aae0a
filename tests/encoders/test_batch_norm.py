"""Batch normalisation of a batch, and of one lone value."""

import torch
from torch import nn

from sensorium.encoders.batch_norm import BatchNorm2d


def pair():
    torch.manual_seed(0)
    ours, peer = BatchNorm2d(3), nn.BatchNorm2d(3)
    return ours, peer


def test_a_batch_is_normalised_as_torch_does():
    ours, peer = pair()
    for x_UCHW in (torch.randn(4, 3, 2, 2), torch.randn(1, 3, 1, 2), torch.randn(2, 3, 1, 1)):
        torch.testing.assert_close(ours(x_UCHW), peer(x_UCHW))
    torch.testing.assert_close(ours.state_dict(), peer.state_dict())
    torch.testing.assert_close(ours.eval()(x_UCHW), peer.eval()(x_UCHW))


def test_one_lone_value_is_normalised_by_what_was_seen_and_changes_nothing():
    ours, peer = pair()
    many_UCHW, one_UCHW = torch.randn(8, 3, 2, 2), torch.randn(1, 3, 1, 1, requires_grad=True)
    ours(many_UCHW)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    peer.load_state_dict(before)
    y_UCHW = ours(one_UCHW)
    torch.testing.assert_close(y_UCHW, peer.eval()(one_UCHW))
    torch.testing.assert_close(dict(ours.state_dict()), before)
    y_UCHW.sum().backward()
    assert one_UCHW.grad.abs().min() > 0
