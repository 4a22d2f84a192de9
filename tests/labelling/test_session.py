"""Labels of people as they are made: drawn, asked, saved at every answer, resumed, read by a study."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from counted import episodes

from aihf_control.data.human_labels import LabelledSegments, read_labelled
from aihf_control.errors import InvalidChoice, InvalidData
from aihf_control.labelling.draw import disagreement, draw_pairs
from aihf_control.labelling.session import Places, Refused, Session

PLAN = {"task": "toy", "seed": 0}


def pairs(count: int = 20) -> LabelledSegments:
    return draw_pairs(episodes(), count, 4, seed=0)


def opened(root: Path, plan: dict[str, Any] = PLAN, count: int = 20) -> Session:
    return Session.open(Places.of(root, toy.TASK, "mine"), toy.TASK, plan, lambda: pairs(count))


def test_segments_are_windows_of_one_episode() -> None:
    drawn = pairs()
    assert drawn.observations.shape == (2, 20, 5, 2) and drawn.actions.shape == (2, 20, 5, 1)
    assert (np.diff(drawn.observations[..., 0]) == 0).all() and (
        np.diff(drawn.observations[..., 1]) == 1
    ).all()
    assert np.allclose(drawn.actions[..., 0], drawn.observations[..., 0] / 10)
    assert drawn.observations[..., -1, 1].max() <= 7  # whose action is there too
    assert (drawn.labels == 0.5).all() and np.flatnonzero(drawn.held_out).tolist() == [0, 10]
    assert (drawn.observations == pairs().observations).all()
    assert (drawn.observations != draw_pairs(episodes(), 20, 4, seed=1).observations).any()
    with pytest.raises(InvalidData, match="lower --length"):
        draw_pairs(episodes(), 20, 8, seed=0)


def test_an_ensemble_asks_where_it_disagrees() -> None:
    def first(observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return observations[:, 0]

    def second(observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return -observations[:, 0]

    chosen = draw_pairs(episodes(), 10, 4, 0, [first, second])
    gaps = np.abs(np.diff(chosen.observations[:, :, 0, 0], axis=0))
    at_random = np.abs(np.diff(draw_pairs(episodes(), 10, 4, 0).observations[:, :, 0, 0], axis=0))
    assert gaps.min() >= 3 > at_random.min()  # where both segments are of one episode, both say ½
    observations = np.array([[[[1.0, 0]] * 5, [[2.0, 0]] * 5], [[[0.0, 0]] * 5, [[2.0, 0]] * 5]])
    found = disagreement(observations, np.zeros((2, 2, 5, 1)), [first, second])
    # four steps of 1 against four of 0: σ(4) of one, σ(−4) of the other
    assert found == pytest.approx([1 / (1 + np.exp(-4)) - 0.5, 0], abs=1e-12)
    with pytest.raises(InvalidData, match="one reward cannot disagree"):
        draw_pairs(episodes(), 10, 4, 0, [first])


def test_every_answer_is_on_the_disk_and_a_session_goes_on(tmp_path: Path) -> None:
    session = opened(tmp_path)
    asked = session.join("ann", "p")
    given = {}
    for label in (0.0, 1.0, 0.5, 1.0):
        assert asked.pair is not None
        given[asked.pair] = label
        asked = session.answer("ann", "p", asked.pair, label)
        again = opened(tmp_path)  # as after a kill
        assert again.labels == given
        labels = read_labelled(session.places.labels, toy.TASK)
        assert labels.labels.tolist() == [given[pair] for pair in sorted(given)]
        assert (labels.observations == session.pairs.observations[:, sorted(given)]).all()
    assert again.join("ann", "q").pair == asked.pair == 4
    assert (asked.mine, asked.answered, asked.total) == (4, 4, 20)
    assert labels.held_out.tolist() == [True, False, False, False]


def test_undo_takes_the_last_answer_back(tmp_path: Path) -> None:
    session = opened(tmp_path)
    asked = session.join("ann", "p")
    with pytest.raises(Refused, match="no answer of yours"):
        session.undo("ann", "p")
    session.answer("ann", "p", 0, 1.0)
    session.answer("ann", "p", 1, 1.0)
    asked = session.undo("ann", "p")
    assert asked.pair == 1 and session.labels == {0: 1.0} == opened(tmp_path).labels
    asked = session.answer("ann", "p", 1, 0.0)
    assert asked.pair == 2 and session.labels == {0: 1.0, 1: 0.0}
    for _ in range(2):
        session.undo("ann", "p")
    assert not session.labels and not session.places.labels.exists()


def test_two_people_share_the_pairs_and_end_together(tmp_path: Path) -> None:
    session = opened(tmp_path, count=5)
    ann, bob = session.join("ann", "p"), session.join("bob", "q")
    assert (ann.pair, bob.pair) == (0, 1)
    assert session.join("ann", "p").pair == 0  # of a page loaded again
    with pytest.raises(Refused, match="is not the one that you were shown"):
        session.answer("ann", "p", 1, 0.0)
    for pair in (0, 2, 3):
        ann = session.answer("ann", "p", pair, 0.0)
    assert ann.pair == 4
    ann = session.answer("ann", "p", 4, 0.0)
    assert ann.pair == 1  # bob may have closed his page
    assert session.answer("bob", "q", 1, 1.0).pair is None
    ann = session.answer("ann", "p", 1, 0.0)
    assert ann.pair is None and session.labels[1] == 1.0 and (ann.mine, ann.answered) == (4, 5)


def test_a_second_page_of_one_name_takes_over_and_nothing_is_lost(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.join("ann", "old")
    session.answer("ann", "old", 0, 1.0)
    asked = session.join("ann", "new")
    assert (asked.pair, asked.mine) == (1, 1)
    with pytest.raises(Refused, match="reload this page"):
        session.answer("ann", "old", 1, 0.0)
    session.answer("ann", "new", 1, 0.5)
    session.answer("ann", "new", 1, 0.5)  # sent again: counted once
    assert session.labels == {0: 1.0, 1: 0.5}


@pytest.mark.parametrize("name", ["", "../ann", "a/b", ".hidden", "x" * 33, "a b"])
def test_a_name_is_a_file_s(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="A name has"):
        opened(tmp_path).join(name, "p")
    with pytest.raises(InvalidChoice, match="--session"):
        Places.of(tmp_path, toy.TASK, name)


def test_another_plan_is_another_session(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(InvalidChoice, match=r"begun otherwise \(seed: 0 there, 1 now\)"):
        opened(tmp_path, {**PLAN, "seed": 1})
    other = Places.of(tmp_path, toy.TASK, "other")
    other.labels.parent.mkdir(parents=True, exist_ok=True)
    other.labels.write_bytes(b"labels of elsewhere")
    with pytest.raises(InvalidChoice, match="is there already"):
        Session.open(other, toy.TASK, PLAN, pairs)
    assert other.labels.read_bytes() == b"labels of elsewhere"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"answers": [{"pair": 20, "label": 1}]}', "is no answer to one of 20 pairs"),
        ('{"answers": [{"pair": 1, "label": 0.7}]}', "is no answer"),
        ('{"answers": [{"pair": 1, "label": 1}, {"pair": 1, "label": 0}]}', "pair 1 has a second answer"),
        ('{"answers": [{"pair": 0, "label": 1}]}', "pair 0 has a second answer, of ann"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    session = opened(tmp_path)
    session.join("ann", "p")
    session.answer("ann", "p", 0, 1.0)
    (session.places.folder / "answers" / "bob.json").write_text(content)
    with pytest.raises(InvalidData, match=message) as raised:
        opened(tmp_path)
    assert "bob.json" in str(raised.value)


def test_a_full_disk_leaves_the_answers_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aihf_control.labelling import session as module

    session = opened(tmp_path)
    session.join("ann", "p")
    session.answer("ann", "p", 0, 1.0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            session.answer("ann", "p", 1, 1.0)
    assert session.labels == {0: 1.0} == opened(tmp_path).labels
    assert session.answer("ann", "p", 1, 1.0).answered == 2
