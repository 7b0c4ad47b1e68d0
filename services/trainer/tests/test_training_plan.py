"""Training plan: start weights and epochs of a run."""

from __future__ import annotations

from pathlib import Path

from savo_trainer.training.plan import StartWeights, TrainPolicy, plan_for

CHAMPION = StartWeights("v1", ("egg", "milk"), Path("weights.pt"))


def test_without_a_champion_training_starts_from_scratch() -> None:
    plan = plan_for(TrainPolicy(epochs=30, warm_epochs=8), ("egg", "milk"), None)
    assert (plan.start, plan.epochs) == (None, 30)


def test_with_a_champion_training_starts_from_its_weights_with_fewer_epochs() -> None:
    plan = plan_for(TrainPolicy(epochs=30, warm_epochs=8), ("egg", "milk", "rice"), CHAMPION)
    assert (plan.start, plan.epochs) == (CHAMPION, 8)


def test_unset_warm_epochs_equal_the_epochs_from_scratch() -> None:
    assert plan_for(TrainPolicy(epochs=30), ("egg", "milk"), CHAMPION).epochs == 30


def test_a_champion_with_a_class_that_is_no_longer_taught_is_not_used() -> None:
    plan = plan_for(TrainPolicy(epochs=30, warm_epochs=8), ("egg",), CHAMPION)
    assert (plan.start, plan.epochs) == (None, 30)
