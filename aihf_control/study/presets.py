"""The sizes of a study."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from aihf_control.data.feedback import FeedbackConfig
from aihf_control.learn.cloning import CloningConfig
from aihf_control.learn.reward import RewardConfig
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
    feedback: FeedbackConfig = field(default_factory=FeedbackConfig)


SMOKE = Settings(
    steps=1_500,
    round_steps=500,
    evaluation_episodes=4,
    sac=SACConfig(batch_size=64, random_steps=500, learning_starts=100),
    cloning=CloningConfig(steps=300, batch_size=128),
    aihf=AIHFConfig(reward_steps=20, rollout_episodes=5),
    rlhf=RLHFConfig(reward_steps=100),
    from_clone=FromCloneConfig(warm_up_steps=500),
    ipl=IPLConfig(updates=300, pairs_per_update=2, transitions_per_update=64),
    cpl=CPLConfig(updates=300, pairs_per_update=4),
    direct_aihf=DirectAIHFConfig(updates=300, pairs_per_update=4, transitions_per_update=64),
    selfplay_aihf=SelfPlayConfig(updates=300, pairs_per_update=4, transitions_per_update=64),
)

QUICK = Settings(
    steps=40_000,
    sac=SACConfig(batch_size=128),
    ipl=IPLConfig(updates=4_000),
    cpl=CPLConfig(updates=4_000),
    direct_aihf=DirectAIHFConfig(updates=4_000),
    selfplay_aihf=SelfPlayConfig(updates=4_000),
)

REFERENCE = replace(
    QUICK,
    steps=200_000,
    ipl=IPLConfig(updates=20_000),
    cpl=CPLConfig(updates=20_000),
    direct_aihf=DirectAIHFConfig(updates=20_000),
    selfplay_aihf=SelfPlayConfig(updates=20_000),
)

PAPER = replace(Settings(steps=500_000), sac=SACConfig(random_steps=10_000))

AUTHORS = Settings(
    steps=1_000_000,
    sac=SACConfig(
        critic="plain",
        batch_size=100,
        learning_rate=1e-3,
        initial_temperature=0.2,
        tuned_temperature=False,
    ),
    reward=RewardConfig(
        learning_rate=1e-4,
        rows_per_step=10_000,
        pairs_per_step=20_000,
        gradient_penalty=0.0,
        magnitude_penalty=0.0,
    ),
    aihf=AIHFConfig(reward_steps=1, demonstration_weight=1.0),
)
"""The authors' own control code (docs/methods.md): its α is --settings.aihf.preference-weight, 0, 1, 5 or 10;
its lengths are 1,000,000 steps on Hopper, 5,000,000 on Walker2d and 10,000,000 on HalfCheetah."""

PRESETS = {
    "smoke": Preset("bench-smoke", ("aihf", "rlhf", "ipl", "bc", "oracle"), (0, 1), SMOKE),
    "quick": Preset("bench", ("aihf", "rlhf", "ipl", "bc"), (0, 1, 2), QUICK),
    "reference": Preset(
        "figure5",
        ("aihf", "rlhf", "ipl", "irl", "bc", "cpl", "direct_aihf", "selfplay_aihf", "preferences", "oracle"),
        (0, 1, 2, 3, 4),
        REFERENCE,
    ),
    "authors": Preset(
        "authors",
        ("aihf", "irl"),
        (0, 1, 2),
        AUTHORS,
        FeedbackConfig(demonstration_transitions=1_000, segment_length=1, tier_steps=True),
    ),
    "paper": Preset("bench-paper", ("aihf", "rlhf", "ipl", "bc", "irl", "oracle"), tuple(range(10)), PAPER),
}
