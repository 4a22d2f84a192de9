"""The sizes of a study."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aihf_control.learn.cloning import CloningConfig
from aihf_control.learn.sac import SACConfig
from aihf_control.methods.settings import (
    AIHFConfig,
    CPLConfig,
    DirectAIHFConfig,
    FromCloneConfig,
    IPLConfig,
    RLHFConfig,
    SelfPlayConfig,
    Settings,
)


@dataclass(frozen=True)
class Preset:
    """What `PRESET=` stands for; `study` names the folder of its results."""

    study: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Settings


SMOKE = Settings(
    steps=1_500,
    round_steps=500,
    sac=SACConfig(batch_size=64, random_steps=500, learning_starts=100),
    cloning=CloningConfig(steps=300, batch_size=128),
    aihf=AIHFConfig(reward_steps=20, rollout_episodes=5),
    rlhf=RLHFConfig(reward_steps=100),
    from_clone=FromCloneConfig(warm_up_steps=500),
    ipl=IPLConfig(pairs_per_update=2, transitions_per_update=64),
    cpl=CPLConfig(pairs_per_update=4),
    direct_aihf=DirectAIHFConfig(pairs_per_update=4, transitions_per_update=64),
    selfplay_aihf=SelfPlayConfig(pairs_per_update=4, transitions_per_update=64),
)

QUICK = Settings(
    steps=40_000,
    sac=SACConfig(batch_size=128),
    ipl=IPLConfig(updates=14_000),
    cpl=CPLConfig(updates=14_000),
    direct_aihf=DirectAIHFConfig(updates=14_000),
    selfplay_aihf=SelfPlayConfig(updates=14_000),
)

REFERENCE = replace(
    QUICK,
    steps=200_000,
    ipl=IPLConfig(updates=50_000),
    cpl=CPLConfig(updates=50_000),
    direct_aihf=DirectAIHFConfig(updates=50_000),
    selfplay_aihf=SelfPlayConfig(updates=50_000),
)

PAPER = replace(Settings(steps=500_000), sac=SACConfig(random_steps=10_000))

PRESETS = {
    "smoke": Preset("bench-smoke", ("aihf", "rlhf", "ipl", "bc", "oracle"), (0, 1), SMOKE),
    "quick": Preset("bench", ("aihf", "rlhf", "ipl", "bc"), (0, 1, 2), QUICK),
    "reference": Preset(
        "figure5",
        ("aihf", "rlhf", "ipl", "irl", "bc", "cpl", "direct_aihf", "selfplay_aihf", "preferences", "oracle"),
        (0, 1, 2, 3, 4),
        REFERENCE,
    ),
    "paper": Preset("bench-paper", ("aihf", "rlhf", "ipl", "bc", "irl", "oracle"), tuple(range(10)), PAPER),
}
