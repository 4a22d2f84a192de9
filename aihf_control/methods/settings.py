"""Every choice of a run, each stated once. Choices that the paper makes name it; the rest are ours."""

from __future__ import annotations

import math
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
    preference_weight: NotNegative = 1.0
    """Of L2, a mean over pairs; 1 as in the paper, α in its authors' control code."""
    trajectory_discount: PositiveShare = 1.0
    """γ of the sums in L1 (a departure: the paper discounts)."""
    rollout_episodes: Count = 10
    """Fresh trajectories of the current policy for each reward update."""
    replay_steps: Count | None = None
    """In place of fresh trajectories, those of the last so many SAC steps (a departure: they are also of
    earlier policies); None: fresh ones."""

    def __post_init__(self) -> None:
        require_within(self, "settings.aihf")


@dataclass(frozen=True)
class HybridConfig:
    """AIHF whose batches of SAC hold demonstrated transitions (Hybrid IRL, 2402.08848; RLPD, 2302.02948)."""

    demonstration_share: Annotated[float, Within("[0, 1)")] = 0.5
    """Share of each batch that is drawn from the demonstrations."""

    def __post_init__(self) -> None:
        require_within(self, "settings.hybrid")


@dataclass(frozen=True)
class RLHFConfig:
    """A reward fitted to the preferences once, then SAC on it."""

    reward_steps: Count = 2_000

    def __post_init__(self) -> None:
        require_within(self, "settings.rlhf")


@dataclass(frozen=True)
class FromCloneConfig:
    """Alignment that starts from the clone of the demonstrations, π⁰: c = β·KL(π‖π⁰) in L3."""

    divergence_weight: Positive = 1.0
    """β. A fitted reward's deviation on the preference data is near 0.15 on every task."""
    width: Positive = 0.1
    """σ of π⁰ before squashing, the same everywhere, around the clone's mode. The likelihood's own σ is wide
    where demonstrated actions jump between their limits: samples of such a clone fall where its mode runs."""
    learning_rate: Positive = 3e-5
    """Of the policy. So narrow a π⁰ makes the KL stiff: one step at SAC's own rate strays further than β
    allows."""
    warm_up_steps: Amount = 10_000
    """SAC steps in which the critic alone learns: beyond π⁰'s own narrow actions it has seen nothing, and SAC
    would unlearn π⁰ within some thousand steps."""

    def __post_init__(self) -> None:
        require_within(self, "settings.from-clone")


@dataclass(frozen=True)
class IPLConfig:
    """Inverse preference learning (Hejna & Sadigh 2023, 2305.15363), as published."""

    expectile: Annotated[float, Within("(0, 1)")] = 0.7
    regularisation: Positive = 0.5
    """λ of λ·E[r²]."""
    temperature: Positive = 1 / 3
    """β of the actor's weights exp(advantage / β)."""
    largest_weight: Positive = 100.0
    learning_rate: Positive = 3e-4
    pairs_per_update: Count = 8
    transitions_per_update: Count = 256
    demonstration_share: Share = 0.5
    """Of these transitions, the share that is drawn from the demonstrations, 0 to 1; the others are steps of
    the preference pairs."""
    updates: Count | None = None
    """Updates in all; None: as many as the others take SAC steps. An update costs about ten of theirs."""

    def __post_init__(self) -> None:
        require_within(self, "settings.ipl")


@dataclass(frozen=True)
class CPLConfig:
    """Contrastive preference learning (Hejna et al. 2023, 2310.13639), as published."""

    temperature: Positive = 0.1
    """α of the segments' advantages α·Σ log π."""
    bias: Annotated[float, Within("(0, 1]")] = 0.5
    """λ: the rejected segment's advantage counts this much. 1 is DPO over segments."""
    cloning_weight: NotNegative = 0.0
    """Of −log π on the pairs' steps, both segments alike, which is published with λ = 1."""
    learning_rate: Positive = 1e-4
    pairs_per_update: Count = 16
    """96 of 64 steps are published; an update on 16 of 50 costs about three of SAC's."""
    updates: Count | None = None
    """Updates in all; None: as many as the others take SAC steps."""

    def __post_init__(self) -> None:
        require_within(self, "settings.cpl")


@dataclass(frozen=True)
class DirectAIHFConfig:
    """Direct AIHF (2406.06874): the policy's own log-ratio is the reward, and both sources teach it."""

    demonstration_weight: Positive = 1.0
    """w1 of −log π on demonstrated steps."""
    temperature: Positive = 0.1
    """β of the segments' β·Σ log π/π⁰."""
    bias: Annotated[float, Within("(0, 1]")] = 1.0
    """λ, as in CPL; 1 where demonstrations hold the policy in place."""
    learning_rate: Positive = 1e-4
    pairs_per_update: Count = 16
    transitions_per_update: Count = 256
    updates: Count | None = None
    """Updates in all; None: as many as the others take SAC steps."""

    def __post_init__(self) -> None:
        require_within(self, "settings.direct-aihf")


@dataclass(frozen=True)
class SelfPlayConfig:
    """Self-Play AIHF (2406.06874; SPIN, 2401.01335): demonstrations against an earlier self's actions."""

    demonstration_weight: Positive = 20.0
    """w1 of the demonstrations' loss; 2/β has at a round's start the gradient of Direct AIHF's w1 = 1."""
    temperature: Positive = 0.1
    """β of the log-ratios."""
    moving_prior: bool = False
    """Preferences' log-ratios are to the earlier self too, as the formula reads, not to the clone: then every
    round they start from nothing again and push on, off the demonstrations (`make theory`)."""
    linear: bool = False
    """Without log σ: Lemma 4.1's gradient with the implicit reward (2405.17888), the control."""
    epochs: Count = 2
    """Passes over the demonstrations before the earlier self is the present one."""
    learning_rate: Positive = 1e-4
    pairs_per_update: Count = 16
    transitions_per_update: Count = 256
    updates: Count | None = None
    """Updates in all; None: as many as the others take SAC steps."""

    def __post_init__(self) -> None:
        require_within(self, "settings.selfplay-aihf")


STARTS = ("own", "clone")


@dataclass(frozen=True)
class Settings:
    """What all runs of a study share. What is suppressed here is an option of its own on a command line."""

    steps: tyro.conf.Suppress[Count] = 40_000
    """SAC steps a seed: the horizontal axis."""
    round_steps: Count = 5_000
    """SAC steps between reward updates, evaluations and checkpoints; updates offline, but a tenth of them all
    at most."""
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
    start: Annotated[str, tyro.conf.arg(metavar="|".join(STARTS))] = "own"
    """Of alignment: own, each method's as published, or clone: AIHF, IRL and RLHF all from the same clone
    with the same c, so that they differ in their reward alone."""
    from_clone: FromCloneConfig = FromCloneConfig()
    aihf: AIHFConfig = AIHFConfig()
    hybrid: HybridConfig = HybridConfig()
    rlhf: RLHFConfig = RLHFConfig()
    ipl: IPLConfig = IPLConfig()
    cpl: CPLConfig = CPLConfig()
    direct_aihf: DirectAIHFConfig = DirectAIHFConfig()
    selfplay_aihf: SelfPlayConfig = SelfPlayConfig()

    def between_evaluations(self, updates: int) -> int:
        """Of an offline method that takes so many `updates`: short runs have a curve and an end too."""
        return min(self.round_steps, math.ceil(updates / 10))

    def __post_init__(self) -> None:
        require_within(self, "settings")
        choose("ENVIRONMENTS", self.environments, BACKENDS)
        choose("--settings.start", self.start, STARTS)
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
