"""The Ascend path: compiler, simulator and PJRT plugin."""
