"""From a module of torch to the operations of a program."""
