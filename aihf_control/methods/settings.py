"""Every choice of a run, each stated once. Choices that the paper makes name it; the rest are ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from aihf_control.bounds import (
    Amount,
    Count,
    NotNegative,
    Positive,
    PositiveShare,
    Share,
    Within,
    require_within,
)
from aihf_control.envs.tasks import BACKENDS
from aihf_control.errors import InvalidChoice, choose
from aihf_control.learn.cloning import CloningConfig
from aihf_control.learn.reward import RewardConfig
from aihf_control.learn.sac import SACConfig


@dataclass(frozen=True)
class AIHFConfig:
    """Algorithm 1: a reward update between rounds of policy alignment."""

    reward_steps: Count = 50
    """Adam steps on the reward between two alignments."""
    demonstration_weight: NotNegative = 20.0
    """w1, in units in which L1 is trajectory sums over the task's horizon (a departure: the paper sums)."""
    trajectory_discount: PositiveShare = 1.0
    """γ of the sums in L1 (a departure: the paper discounts)."""
    rollout_episodes: Count = 10
    """Fresh trajectories of the current policy for each reward update."""
    replay_steps: Count | None = None
    """In place of fresh trajectories, those of the last so many SAC steps (a departure: they are also of
    earlier policies); None: fresh ones."""
    demonstration_share: Annotated[float, Within("[0, 1)")] = 0.0
    """Share of each batch of SAC that is drawn from the demonstrations, 0 to below 1; the papers' is 0."""

    def __post_init__(self) -> None:
        require_within(self, "settings.aihf")


@dataclass(frozen=True)
class RLHFConfig:
    """A reward fitted once, then SAC from a cloned policy."""

    reward_steps: Count = 2_000
    warm_up_steps: Amount = 10_000
    """SAC steps in which the critic alone learns, with policy and temperature as they were cloned."""
    zero_quantile: Share | None = 0.01
    """Quantile of the fitted reward on the preference data that is moved to 0. Bradley–Terry leaves the
    offset open, and where falling ends an episode a negative mean teaches to fall. None: left open."""
    kl_weight: NotNegative | None = 2.0
    """β of the cost β·KL(π‖clone) in L3, in standard deviations of the fitted reward on the preference data;
    None: the cloned policy is where plain SAC starts and nothing more."""
    initial_temperature: Positive = 0.1
    """Of that plain SAC: below its own 1.0, at which the entropy bonus would undo the cloned policy."""

    def __post_init__(self) -> None:
        require_within(self, "settings.rlhf")


@dataclass(frozen=True)
class IPLConfig:
    """Inverse preference learning (Hejna & Sadigh 2023, 2305.15363)."""

    expectile: Annotated[float, Within("(0, 1)")] = 0.7
    regularisation: NotNegative = 5.0
    """λ of λ·E[r²]; the paper's 0.5 lets the cloned policy go (docs/tuning.md)."""
    temperature: Positive = 3.0
    """β of the actor's weights exp(advantage / β); 1/3 in the paper."""
    largest_weight: Positive = 100.0
    learning_rate: Positive = 3e-4
    pairs_per_update: Count = 8
    transitions_per_update: Count = 256
    demonstration_share: Share = 1.0
    """Of these transitions, the share that is drawn from the demonstrations, 0 to 1; the others are steps of
    the preference pairs, from which the pairs of an update come anyway."""
    updates: Count | None = None
    """Updates in all; None: as many as the others take SAC steps. An update costs about four of theirs."""

    def __post_init__(self) -> None:
        require_within(self, "settings.ipl")


@dataclass(frozen=True)
class Settings:
    """What all runs of a study share. What is suppressed here is an option of its own on a command line."""

    steps: tyro.conf.Suppress[Count] = 40_000
    """SAC steps a seed: the horizontal axis."""
    round_steps: Count = 5_000
    """SAC steps between reward updates, evaluations and checkpoints."""
    evaluation_episodes: Count = 10
    fixed_horizon: bool = False
    """Train with `terminate_when_unhealthy=False`; evaluation is always in the standard environment."""
    environments: tyro.conf.Suppress[str] = "serial"
    """serial, workers or envpool; all of a study use the same."""
    cuda_graphs: bool = True
    """Replay updates as CUDA graphs on a GPU; off, the same steps are launched one by one."""
    sac: SACConfig = SACConfig()
    cloning: CloningConfig = CloningConfig()
    reward: RewardConfig = RewardConfig()
    aihf: AIHFConfig = AIHFConfig()
    rlhf: RLHFConfig = RLHFConfig()
    ipl: IPLConfig = IPLConfig()

    def __post_init__(self) -> None:
        require_within(self, "settings")
        choose("ENVIRONMENTS", self.environments, BACKENDS)
        if self.steps <= self.sac.learning_starts:
            raise InvalidChoice(
                f"STEPS={self.steps} is too few to learn anything: the first update is after "
                f"{self.sac.learning_starts:,} steps (--settings.sac.learning-starts)"
            )
        if self.sac.replay_capacity < min(self.round_steps, self.steps):
            raise InvalidChoice(
                f"--settings.sac.replay-capacity is {self.sac.replay_capacity}, less than a round's steps "
                f"(--settings.round-steps {self.round_steps}), which a checkpoint takes from there"
            )
