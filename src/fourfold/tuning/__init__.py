"""Which settings suit each algebra: a grid of points, or points that Optuna chooses."""
