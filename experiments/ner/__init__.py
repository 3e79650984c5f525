"""Named entities: WNUT-17 and CoNLL-2003 to canonical rows; tasks and recipes."""
