"""What goes between host and device in a step."""

from dataclasses import replace

import numpy as np
import torch
import toy
from recorded_graphs import META, pretended_device

from aihf_control.learn.sac_loop import Exploration, SACLoop
from aihf_control.learn.transfer import Download, Upload

CPU = torch.device("cpu")


def test_columns_arrive_side_by_side_and_come_back() -> None:
    upload, download = Upload(2, 3, CPU), Download(2, 3, CPU)
    first = upload(np.array([[1.0], [2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]], np.float32))
    assert first.tolist() == [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]] and first.dtype == torch.float32
    back = download(first)
    upload(np.zeros((2, 3)))
    download(torch.ones(2, 3))
    assert back.tolist() == [[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]  # the caller's own


def test_a_step_is_one_copy_to_the_device_and_one_back() -> None:
    with pretended_device() as device:
        sac = replace(toy.SETTINGS.sac, learning_starts=2)
        loop = SACLoop(toy.TASK, sac, (0, 1), 100, META, fixed_horizon=False)
        device.waits.clear()
        copies = []
        for steps in (3, 8):
            loop.run(0, steps, 0, Exploration(random_until=1), None)
            copies.append(device.waits.copy())
            device.waits.clear()
        loop.envs.close()
    more = copies[1] - copies[0]
    assert more == {"to the device": 5, "to the host": 5}
