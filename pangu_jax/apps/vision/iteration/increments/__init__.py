"""Classes that arrive in groups, on frozen features with a memory of few pictures per class."""
