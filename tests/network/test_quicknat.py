"""QuickNAT's shape: parameters as counted in the authors' code, sizes, options that take effect."""

import pytest
import torch
from torch import Tensor, nn

from kidneyseg.errors import DataError
from kidneyseg.network import AUTHORS, REPORT, build_quicknat
from kidneyseg.network.memory_format import channels_last
from kidneyseg.settings import NetworkSettings


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(settings: NetworkSettings) -> dict[str, tuple[int, ...]]:
    network = build_quicknat(settings, dropout=0.2)
    return {name: tuple(value.shape) for name, value in network.named_parameters()}


def slices(rows: int, columns: int, *, channels: int = 1, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn((count, channels, rows, columns), generator=generator)


def test_reports_network_has_the_parameters_of_its_description() -> None:
    assert NetworkSettings() == REPORT
    assert count(build_quicknat(REPORT, dropout=0.2)) == 3_331_407


# As counted in the authors' code, less the excitation of the bottleneck that it never calls.
@pytest.mark.parametrize(
    ("size", "counted", "unused"),
    [
        ({"squeeze_excitation": "none"}, 3_515_216, 0),
        ({"squeeze_excitation": "cse"}, 3_552_944, 4_192),
        ({"squeeze_excitation": "sse"}, 3_515_801, 65),
        ({}, 3_553_529, 4_257),
        ({"kernel_size": 3}, 1_388_793, 4_257),
        ({"filters": 32}, 892_041, 1_105),
        ({"filters": 32, "kernel_size": 3}, 350_345, 1_105),
        ({"filters": 16}, 224_849, 297),
        ({"filters": 16, "kernel_size": 3}, 89_169, 297),
        ({"filters": 8}, 57_141, 85),
        ({"input_slices": 7}, 3_573_149, 4_257),
        ({"output_channels": 2}, 3_553_529 + 65, 4_257),
    ],
    ids=str,
)
def test_authors_network_has_the_parameters_counted_in_their_code(
    size: dict[str, object], counted: int, unused: int
) -> None:
    settings = NetworkSettings.model_validate({**AUTHORS.model_dump(), **size})
    assert count(build_quicknat(settings, dropout=0.2)) == counted - unused


def test_each_module_of_the_authors_network_has_the_parameters_counted_in_their_code() -> None:
    network = build_quicknat(AUTHORS, dropout=0.2)
    encoder, decoder = 324_706, 533_986
    assert {name: count(module) for name, module in network.named_children()} == {
        "encode1": 118_696,
        "encode2": encoder,
        "encode3": encoder,
        "encode4": encoder,
        "bottleneck": encoder - 4_257,
        "decode4": decoder,
        "decode1": decoder,
        "decode2": decoder,
        "decode3": decoder,
        "classifier": 65,
    }


@pytest.mark.parametrize("settings", [REPORT, AUTHORS], ids=["report", "authors"])
@pytest.mark.parametrize("excitation", ["none", "cse", "sse", "csse"])
def test_every_parameter_gets_a_gradient(settings: NetworkSettings, excitation: str) -> None:
    """In one of a few random starts: a small one may well have a dead unit."""
    variant = settings.model_dump() | {"filters": 8, "squeeze_excitation": excitation}
    without = set(shapes(NetworkSettings.model_validate(variant)))
    for seed in range(6):
        torch.manual_seed(seed)
        network = build_quicknat(NetworkSettings.model_validate(variant), dropout=0.0).double()
        network(slices(32, 32).double())  # running statistics of a signal, not of nothing
        # In training, batch norm takes out a bias before it: its gradient is zero by design.
        network.eval()(slices(32, 32).double()).square().sum().backward()
        without -= {
            name
            for name, parameter in network.named_parameters()
            if parameter.grad is not None and parameter.grad.any()
        }
    assert without == set()


@pytest.mark.parametrize(
    "change",
    [
        {"filters": 32},
        {"kernel_size": 1},
        {"kernel_size": 3},
        {"kernel_size": 7},
        {"squeeze_excitation": "none"},
        {"squeeze_excitation": "cse"},
        {"squeeze_excitation": "sse"},
        {"activation": "prelu"},
        {"bottleneck": "dense"},
        {"input_slices": 3},
        {"input_slices": 5},
        {"input_slices": 7},
        {"output_channels": 2},
    ],
    ids=str,
)
def test_every_option_changes_the_parameter_set(change: dict[str, object]) -> None:
    changed = NetworkSettings.model_validate(REPORT.model_dump() | change)
    assert shapes(changed) != shapes(REPORT)


def test_no_two_excitations_have_the_same_parameter_set() -> None:
    sets = [
        shapes(NetworkSettings(filters=4, squeeze_excitation=kind))
        for kind in ("none", "cse", "sse", "csse")
    ]
    assert all(one != other for i, one in enumerate(sets) for other in sets[:i])


def test_one_slope_is_shared_within_a_dense_block_and_none_between_blocks() -> None:
    network = build_quicknat(AUTHORS, dropout=0.2)
    slopes = [p for name, p in network.named_parameters() if name.endswith("activation.weight")]
    assert [slope.item() for slope in slopes] == [0.25] * 9  # 4 encoders, bottleneck, 4 decoders


def test_dropout_changes_the_function_in_training_only() -> None:
    torch.manual_seed(0)
    network = build_quicknat(NetworkSettings(filters=4), dropout=0.5)
    x = slices(32, 32)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (31, 16), (40, 25), (63, 47)])
@pytest.mark.parametrize(("input_slices", "output_channels"), [(1, 1), (3, 2), (5, 1), (7, 2)])
def test_any_size_from_16_up_comes_back_in_its_own_size(
    size: tuple[int, int], input_slices: int, output_channels: int
) -> None:
    settings = NetworkSettings.model_validate(
        {"filters": 2, "input_slices": input_slices, "output_channels": output_channels}
    )
    network = build_quicknat(settings, dropout=0.2)
    logits = network(slices(*size, channels=input_slices))
    assert logits.shape == (2, output_channels, *size)


@pytest.mark.parametrize(("pool_size", "size"), [(3, (81, 100)), (3, (95, 83)), (4, (256, 261))])
def test_slices_come_back_in_their_own_size_from_larger_pools_too(
    pool_size: int, size: tuple[int, int]
) -> None:
    settings = NetworkSettings.model_validate({"filters": 2, "pool_size": pool_size})
    network = build_quicknat(settings, dropout=0.2)
    inner: list[Tensor] = []
    network.bottleneck.register_forward_hook(lambda _module, _inputs, out: inner.append(out))
    assert network(slices(*size)).shape == (2, 1, *size)
    assert inner[0].shape[2:] == tuple(side // pool_size**4 for side in size)
    with pytest.raises(DataError, match=f"needs at least {pool_size**4} x {pool_size**4}"):
        network(slices(pool_size**4 - 1, 300))


def test_a_slice_below_16_pixels_is_refused_with_its_size() -> None:
    network = build_quicknat(NetworkSettings(filters=2), dropout=0.2)
    with pytest.raises(DataError, match=r"15 x 40 pixels: QuickNAT needs at least 16 x 16"):
        network(slices(15, 40))


def test_input_far_from_the_edge_reaches_the_logits_through_all_levels() -> None:
    """A change in one corner moves logits further away than the four top convolutions see."""
    torch.manual_seed(0)
    network = build_quicknat(NetworkSettings(filters=8, squeeze_excitation="none"), dropout=0.0)
    x = slices(96, 96, count=1)
    changed = x.clone()
    changed[..., :2, :2] += 10
    network.eval()
    with torch.no_grad():
        moved = (network(x) - network(changed)).abs()
    assert moved[..., 40:, 40:].max() > 0


@pytest.mark.parametrize("input_slices", [1, 3])
def test_features_lie_channels_last_in_memory_where_the_weights_do(input_slices: int) -> None:
    """A single channel fits both layouts; taken for the other, it would slow the whole level."""
    settings = NetworkSettings.model_validate({"filters": 4, "input_slices": input_slices})
    network = channels_last(build_quicknat(settings, dropout=0.2), torch.device("cpu"))
    features: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda _module, _inputs, out: features.append(out))
    network(slices(48, 32, channels=input_slices))
    assert len(features) == 4 * 3 + 1 + 4 * 3
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in features)
