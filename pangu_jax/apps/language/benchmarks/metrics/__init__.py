"""What a prediction is worth: one file per kind of task. All scores are percent, 0 to 100."""
