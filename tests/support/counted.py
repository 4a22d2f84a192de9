"""Episodes of the toy task in which each number says where it is."""

import numpy as np

from aihf_control.data.types import Episode


def episodes(count: int = 6, length: int = 8) -> list[Episode]:
    """Observations are (episode, step), actions a tenth of the episode's number."""
    made = []
    for number in range(count):
        observations = np.stack([np.full(length + 1, float(number)), np.arange(length + 1.0)], axis=1)
        actions = np.full((length, 1), number / 10)
        made.append(Episode(observations, actions, np.zeros(length), terminated=True))
    return made
