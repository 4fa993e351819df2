from run_fixtures import alone, begun

__all__ = ["alone", "begun"]
