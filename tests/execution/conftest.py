from run_fixtures import alone, begun, ran

__all__ = ["alone", "begun", "ran"]
