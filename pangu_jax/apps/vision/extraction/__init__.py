"""The best sub-model of a run under a budget: `pangu extract`."""
