"""SQuAD and XQuAD: their preparation, and the data of a suite."""
