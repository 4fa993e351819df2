"""Data of one's own: arrays, folders of images and torch datasets, checked and split into parts."""
