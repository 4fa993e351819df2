"""The intermediate representation: operations on numbered values, their shapes, and what each computes."""
