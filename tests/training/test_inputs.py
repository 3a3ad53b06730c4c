"""What the network and the losses take."""

import torch

from kidneyseg.ct.preparation import LABEL_SCALE
from kidneyseg.ct.slices import SliceBatch
from kidneyseg.training.inputs import slice_inputs


def test_a_pixel_is_kidney_from_one_half_and_padding_never_is() -> None:
    stored = [LABEL_SCALE // 2 - 1, LABEL_SCALE // 2, LABEL_SCALE, LABEL_SCALE]
    batch = SliceBatch(
        images=torch.tensor([[[[-1024, -79, 304, 3000]]]], dtype=torch.int16),
        labels=torch.tensor([[stored]], dtype=torch.uint8),
        inside=torch.tensor([[[True, True, True, False]]]),
        volumes=torch.tensor([0]),
    )
    inputs = slice_inputs(batch, (-79.0, 304.0))
    assert inputs.kidney().tolist() == [[[[False, True, True, False]]]]
    shares = torch.tensor([stored[0] / LABEL_SCALE, 0.5, 1.0, 1.0])
    torch.testing.assert_close(inputs.labels[0, 0, 0], shares)
    torch.testing.assert_close(inputs.images[0, 0, 0], torch.tensor([-1.0, -1.0, 1.0, 1.0]))
