"""The two losses of AIHF against their definitions."""

import numpy as np
import torch
from scipy.special import expit, logsumexp

from aihf_control.learn.networks import SeedMLP
from aihf_control.learn.reward import (
    RewardConfig,
    RewardModel,
    demonstration_loss,
    penalties,
    preference_loss,
)

STATES, ACTIONS, DISCOUNT = 4, 3, 0.9


class TabularMDP:
    """A random MDP whose last state is terminal and worth 0; `temperature` is the paper's β."""

    def __init__(self, temperature: float) -> None:
        rng = np.random.default_rng(0)
        self.beta = temperature
        self.transition = rng.dirichlet(np.ones(STATES), (STATES, ACTIONS))
        self.transition[-1] = 0.0  # nothing follows the terminal state
        self.start = np.array([0.5, 0.3, 0.2, 0.0])
        self.alive = np.array([1.0, 1.0, 1.0, 0.0])

    def soft_optimal(self, reward: np.ndarray) -> np.ndarray:
        """π(a|s) ∝ exp(Q/β) of the maximum-entropy problem: KL to the uniform policy costs β."""
        value = np.zeros(STATES)
        for _ in range(2_000):
            q = reward + DISCOUNT * self.transition @ value
            value = self.beta * (logsumexp(q / self.beta, axis=1) - np.log(ACTIONS)) * self.alive
        return np.exp((q - value[:, None]) / self.beta) / ACTIONS

    def occupancy(self, policy: np.ndarray) -> np.ndarray:
        """Σ_t γ^t P(s_t, a_t), over states that are not terminal."""
        flow = (policy[..., None] * self.transition).sum(1)
        states = np.linalg.solve(np.eye(STATES) - DISCOUNT * flow.T, self.start)
        return (states * self.alive)[:, None] * policy


def test_demonstration_loss_has_the_gradient_of_the_log_likelihood() -> None:
    """Lemma 4.1: ∇ of E_demonstrations[Σ γ^t log π_θ(a_t|s_t)], by finite differences, is −∇loss / β."""
    mdp = TabularMDP(temperature=0.7)
    rng = np.random.default_rng(1)
    demonstrated = mdp.occupancy(rng.dirichlet(np.ones(ACTIONS), STATES))  # any policy's demonstrations
    theta = rng.normal(size=(STATES, ACTIONS))

    def log_likelihood(reward: np.ndarray) -> float:
        # expected over the start states and transitions too, which θ does not change
        return float((demonstrated[:-1] * np.log(mdp.soft_optimal(reward)[:-1])).sum())

    numerical = np.zeros_like(theta)
    for index in np.ndindex(*theta.shape):
        step = np.zeros_like(theta)
        step[index] = 1e-5
        numerical[index] = (log_likelihood(theta + step) - log_likelihood(theta - step)) / 2e-5

    reward = torch.tensor(theta, requires_grad=True)
    agent = mdp.occupancy(mdp.soft_optimal(theta))
    rows = reward.reshape(1, -1)  # one row a state and action; its weight is how often it is met
    weights = [torch.tensor(occupancy).reshape(1, -1) for occupancy in (demonstrated, agent)]
    loss, metrics = demonstration_loss(rows, weights[0], rows, weights[1])
    loss.backward()
    assert reward.grad is not None
    np.testing.assert_allclose(-reward.grad.numpy() / mdp.beta, numerical, atol=1e-7)
    assert np.abs(numerical).max() > 0.05  # the agreement is not between zeros
    assert numerical[-1].tolist() == [0.0] * ACTIONS
    gap = ((demonstrated - agent) * theta).sum()
    np.testing.assert_allclose(metrics["demonstration_gap"].item(), gap)


def test_preference_loss_by_hand() -> None:
    preferred = torch.tensor([[2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    rejected = torch.tensor([[1.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    confidence = torch.tensor([[1.0, 1.0], [0.5, 0.75]], dtype=torch.float64)
    loss, metrics = preference_loss(preferred, rejected, confidence)
    first = -(np.log(expit(1.0)) + np.log(expit(-1.0))) / 2
    second = -(np.log(0.5) + 0.75 * np.log(expit(1.0)) + 0.25 * np.log(expit(-1.0))) / 2
    np.testing.assert_allclose(metrics["preference_loss"], [first, second])
    np.testing.assert_allclose(loss, first + second)  # mean over pairs, sum over seeds
    assert metrics["batch_accuracy"].tolist() == [0.5, 0.5]


def test_penalties_of_a_linear_reward() -> None:
    """r = bound·tanh(3x / bound) has slope 3 at 0 and little there above a huge bound."""
    config = RewardConfig(hidden=(), bound=1e6, lipschitz=1.0, gradient_penalty=2.0, magnitude_penalty=5.0)
    model = RewardModel(1, torch.zeros(1), torch.ones(1), 1, config)
    weight, bias = model.body.layers()[0]
    with torch.no_grad():
        weight[:] = torch.tensor([[3.0], [0.0]])
        bias[:] = 0.5
    inputs = torch.tensor([[[1.0, 0.0], [-1.0, 7.0]]])  # rewards 3.5 and −2.5
    loss, _ = penalties(model, inputs, config)
    np.testing.assert_allclose(loss.item(), 2.0 * (3 - 1) ** 2 + 5.0 * (3.5**2 + 2.5**2) / 2, rtol=1e-5)
    loss.backward()
    assert isinstance(model.body, SeedMLP) and model.body.flat.grad is not None


def test_rewards_are_bounded_and_standardised() -> None:
    config = RewardConfig(bound=2.0)
    mean, deviation = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    model = RewardModel(2, mean, deviation, 1, config)
    with torch.no_grad():
        model.body.flat.fill_(10.0)
    observations = torch.tensor([[[3.0, 6.0]], [[1.0, 2.0]]])
    inputs = model.inputs(observations, torch.tensor([[[0.5]], [[-0.5]]]))
    assert inputs.tolist() == [[[1.0, 1.0, 0.5]], [[0.0, 0.0, -0.5]]]
    assert (model(observations, torch.ones(2, 1, 1)).abs() <= 2.0).all()
