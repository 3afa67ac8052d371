"""What a prediction is worth: one file a kind of task. All scores are percent, 0 to 100."""
