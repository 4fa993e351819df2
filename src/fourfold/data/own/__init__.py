"""Data of one's own: arrays, folders of pictures and torch datasets, checked and split into parts."""
