from run_fixtures import alone, ran

__all__ = ["alone", "ran"]
