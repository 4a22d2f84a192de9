"""Every method as a GPU would run it, without one: its graphed steps hold nothing that a graph can not, and a
study whose steps are replayed has the bits of one whose steps are called."""

from dataclasses import replace
from pathlib import Path

import pytest
import toy
import toy_bench
from recorded_graphs import META, pretended_device, recorded_on_the_cpu

from aihf_control.learn.adam import restore
from aihf_control.learn.feedback_tables import FeedbackTables
from aihf_control.learn.sac import ARITHMETIC, CRITICS
from aihf_control.methods.method import Context
from aihf_control.methods.settings import Settings
from aihf_control.methods.table import METHODS, make
from aihf_control.study.training import BatchRun

ROUNDS = 3


def settings(precision: str, critic: str, *, published: bool) -> Settings:
    """In rounds of four steps; `published` as the papers have it, or with options that change a step."""
    small = toy_bench.settings(ROUNDS)
    small = replace(small, evaluation_episodes=1, cloning=replace(small.cloning, steps=5))
    sac = replace(small.sac, precision=precision, critic=critic, policy_delay=2, replay_capacity=10)
    small = replace(
        small,
        sac=sac,
        rlhf=replace(small.rlhf, reward_steps=5),
        from_clone=replace(small.from_clone, warm_up_steps=5),
    )
    if published:
        return small
    return replace(
        small,
        aihf=replace(small.aihf, replay_steps=8),
        ipl=replace(small.ipl, demonstration_share=1.0),
        cpl=replace(small.cpl, cloning_weight=0.5),
        selfplay_aihf=replace(small.selfplay_aihf, linear=True),
    )


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("precision", list(ARITHMETIC))
@pytest.mark.parametrize("critic", list(CRITICS))
@pytest.mark.parametrize("name", METHODS)
def test_no_graphed_step_waits_draws_or_touches_the_host(
    name: str, critic: str, precision: str, published: bool
) -> None:
    with pretended_device() as device:
        chosen = settings(precision, critic, published=published)
        # a step count on the device is 0 at every round here: all phases within four steps
        chosen = replace(chosen, sac=replace(chosen.sac, random_steps=1, learning_starts=1))
        if not published and "clone" in METHODS[name].starts:
            chosen = replace(chosen, start="clone")
        tables = FeedbackTables(toy.feedback(), chosen.aihf.trajectory_discount, META)
        method = make(name, Context(toy.TASK, toy_bench.SEEDS, chosen, tables, META))
        method.start()
        if method.total_steps:
            method.run_round(0, toy_bench.ROUND_STEPS)
        saved = {key: tensor.detach().to("cpu") for key, tensor in method.tensors().items()}
        restore(method.tensors(), saved)  # as a checkpoint is taken up again
        if (rows := method.new_rows(toy_bench.ROUND_STEPS)) is not None:
            method.restore_rows(rows.cpu())
        if method.total_steps:
            method.run_round(1, 2)
        if method.reward_model is not None:
            method.reward_model.member(1)
        method.close()
        assert device.captured
        assert all(kernels for kernels in device.captured)


class Stopped(Exception):
    pass


def study(root: Path, precision: str, critic: str, published: bool, stop_at: int = 0) -> dict[str, bytes]:
    """All methods' numbers; `stop_at` a step, which is then taken again from the checkpoint before it."""
    small = replace(
        toy_bench.small_study(tuple(METHODS), ROUNDS),
        settings=settings(precision, critic, published=published),
    )
    if stop_at:
        stopped: set[str] = set()

        def stop_each_once(run: BatchRun, step: int) -> None:
            if step == stop_at and run.paths.method not in stopped:
                stopped.add(run.paths.method)
                raise Stopped

        while True:
            try:
                toy_bench.train(root, small, stop_each_once)
            except Stopped:
                continue
            break
        assert stopped == {name for name, row in METHODS.items() if row.axis != "none"}
    else:
        toy_bench.train(root, small)
    return toy_bench.numbers(root)


# each precision, each critic and each set of options once; all of them together is the test above
FORMS = [
    ("bfloat16", "batch-norm", True), ("float32", "plain", False),
]  # fmt: skip


@pytest.mark.parametrize(("precision", "critic", "published"), FORMS)
def test_a_replayed_study_has_the_bits_of_a_called_one_also_when_resumed(
    tmp_path: Path, precision: str, critic: str, published: bool
) -> None:
    called = study(tmp_path / "called", precision, critic, published)
    with recorded_on_the_cpu() as made:
        replayed = study(tmp_path / "replayed", precision, critic, published)
        assert made["graphs"] >= len(METHODS) and made["replays"] > 100
        resumed = study(tmp_path / "resumed", precision, critic, published, stop_at=toy_bench.ROUND_STEPS)
    assert {Path(file).parts[2] for file in called} == set(METHODS)
    assert replayed == called and resumed == called
