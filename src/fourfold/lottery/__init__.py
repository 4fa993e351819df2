"""Lottery-ticket experiments: levels of training, pruning and rewinding, over trials and algebras."""

from fourfold.lottery import presets
from fourfold.lottery.levels import Experiment, run_level, run_trial
from fourfold.lottery.local import Event, run
from fourfold.lottery.planning import Plan, plan
from fourfold.lottery.seeds import derive_seed

__all__ = ["Event", "Experiment", "Plan", "derive_seed", "plan", "presets", "run", "run_level", "run_trial"]
