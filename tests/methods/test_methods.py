"""Every method must improve on a task where the best return, 0, is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy

from aihf_control.errors import InvalidChoice
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.randomness import SeedStreams
from aihf_control.learn.reward_diagnostics import preference_accuracy
from aihf_control.learn.rollouts import Roller
from aihf_control.methods.ipl import IPL
from aihf_control.methods.method import Context, Method
from aihf_control.methods.offline_method import PURPOSES
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS, require_start

SEEDS = (0, 1, 2)


def start(name: str, settings: Settings = toy.SETTINGS) -> tuple[Method, Context]:
    tables = FeedbackTables(toy.feedback(), settings.aihf.trajectory_discount, "cpu")
    context = Context(toy.TASK, SEEDS, settings, tables, torch.device("cpu"))
    return METHODS[name](context), context


def returns(method: Method) -> np.ndarray:
    with torch.no_grad():
        roller = Roller(toy.TASK, SEEDS, 1, fixed_horizon=False)
        return roller.play(method.actor.mode, "test", 0).returns[:, 0]


def train(method: Method) -> np.ndarray:
    """Train to the end; the mean return over the last three rounds, between which a policy that plays
    against its own reward still moves."""
    seen = []
    for round in range(method.total_steps // toy.SETTINGS.round_steps):
        method.run_round(round, toy.SETTINGS.round_steps)
        seen.append(returns(method))
    return np.mean(seen[-3:], axis=0)


@pytest.mark.parametrize("name", ["aihf", "irl", "hybrid", "preferences", "oracle"])
def test_a_random_policy_improves(name: str) -> None:
    method, _ = start(name)
    method.start()
    before = returns(method)
    after = train(method)
    assert (before < -0.25).all()  # 0 is the best, a policy that always answers 0 gets −0.5
    assert (after > before + 0.15).all()
    assert (after > (-0.02 if name == "oracle" else -0.35)).all()  # the demonstrations' mean is −0.18
    assert method.faults() == [None] * len(SEEDS)


@pytest.mark.parametrize(("share", "reached"), [(0.0, False), (0.5, True)])
def test_demonstrated_steps_reach_the_hybrid_alone(share: float, reached: bool) -> None:
    settings = replace(toy.SETTINGS, hybrid=replace(toy.SETTINGS.hybrid, demonstration_share=share))
    (plain, _), (mixed, _) = start("aihf"), start("hybrid", settings)
    for method in (plain, mixed):
        method.run_round(0, 60)  # some updates on a reward that both still share
    assert torch.equal(plain.actor.body.flat, mixed.actor.body.flat) is not reached


@pytest.mark.parametrize("name", ["aihf", "irl", "rlhf"])
def test_from_the_same_clone_alignment_differs_in_its_reward_alone(name: str) -> None:
    """Same policy, same π⁰, same β, same warm-up, in which the policy stays the clone, of one width."""
    settings = replace(toy.SETTINGS, start="clone", rlhf=replace(toy.SETTINGS.rlhf, reward_steps=20))
    (clone, _), (method, _) = start("bc"), start(name, settings)
    clone.start()
    clone.actor.spread_evenly(settings.from_clone.width)
    method.start()
    assert method.sac is not None and method.sac.prior is not None
    for policy in (method.actor, method.sac.prior):
        assert torch.equal(policy.body.flat, clone.actor.body.flat)
    method.run_round(0, 100)
    assert torch.equal(method.actor.body.flat, clone.actor.body.flat)
    np.testing.assert_allclose(method.sac.log_temperature.exp().detach(), 0.05, rtol=1e-6)
    method.run_round(1, 20)
    assert not torch.equal(method.actor.body.flat, clone.actor.body.flat)
    assert torch.equal(method.sac.prior.body.flat, clone.actor.body.flat)


def test_a_method_without_a_clone_is_refused_by_name() -> None:
    for name in ("oracle", "preferences", "constant_plus"):
        with pytest.raises(InvalidChoice, match=f"start is clone, and {name} has no start from a clone"):
            require_start(("aihf", name), "clone")
    require_start(("aihf", "irl", "rlhf", "ipl", "cpl", "bc"), "clone")


@pytest.mark.parametrize("name", ["rlhf", "ipl", "cpl", "direct_aihf"])
def test_a_cloned_policy_improves_on_its_demonstrations(name: str) -> None:
    method, _ = start(name)
    method.start()
    before = returns(method)
    np.testing.assert_allclose(before, -0.125, atol=0.08)  # the demonstrations' mean action: ±0.25
    train(method)
    assert (returns(method) > before + 0.02).all()


def test_cloning_finds_the_mean_action() -> None:
    method, _ = start("bc")
    assert (returns(method) < -0.25).all()
    method.start()
    np.testing.assert_allclose(returns(method), -0.125, atol=0.08)
    assert method.total_steps == 0


@pytest.mark.parametrize("name", ["aihf", "rlhf", "ipl"])
def test_the_learned_reward_predicts_held_out_preferences(name: str) -> None:
    method, context = start(name)
    before = preference_accuracy(method.rewards, context.feedback.held_out, len(SEEDS))
    method.start()
    train(method)
    after = preference_accuracy(method.rewards, context.feedback.held_out, len(SEEDS))
    assert (after > 0.7).all() and (after > before).all()


@pytest.mark.parametrize("name", METHODS)
def test_seeds_share_nothing(name: str) -> None:
    """A seed's numbers do not depend on which other seeds are in the batch, but for rounding."""
    method, context = start(name)
    alone = METHODS[name](Context(toy.TASK, (1,), toy.SETTINGS, context.tables, context.device))
    for each in (method, alone):
        each.start()
        if each.total_steps:
            each.run_round(0, 60)
    observation = torch.tensor([[[1.0, 0.0]]])
    together = method.actor.mode(observation.expand(3, 1, 2))[1]
    torch.testing.assert_close(together, alone.actor.mode(observation)[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_ipl_draws_the_share_of_demonstrations_that_is_asked_for(share: float) -> None:
    tables = FeedbackTables(toy.feedback(), toy.SETTINGS.aihf.trajectory_discount, "cpu")
    config = replace(toy.SETTINGS.ipl, demonstration_share=share, transitions_per_update=40)
    method = IPL(Context(toy.TASK, SEEDS, replace(toy.SETTINGS, ipl=config), tables, torch.device("cpu")))
    method.draws.fill(**method.draw({purpose: SeedStreams(SEEDS, purpose) for purpose in PURPOSES}))
    drawn = {"shown": tables.demonstrated.steps, "others": tables.pairs.steps}
    counts = {"shown": 40 * share, "others": 40 - 40 * share}
    for name, steps in drawn.items():
        rows = method.draws[name]
        assert rows.shape == (len(SEEDS), counts[name])
        if rows.numel():
            assert rows.min() >= 0 and rows.max() < steps.sizes[0]
            assert len(rows.unique()) > 10  # not one row again and again


def test_environment_steps_count_the_rollouts() -> None:
    method, _ = start("aihf")
    method.run_round(0, 100)
    assert method.environment_steps.tolist() == [100 + 2 * 20] * 3  # 20 episodes of two steps
    method, _ = start("rlhf")
    method.run_round(0, 100)
    assert method.environment_steps.tolist() == [100] * 3
