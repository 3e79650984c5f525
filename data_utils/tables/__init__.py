"""Tables of the user's own: CSV, TSV, JSON lines and Parquet, read and written row by row, and made canonical rows.

options.py     the flags that say how a table is written
decoding.py    bytes to lines, in any encoding
reading.py     a table's rows, one after the other, with their lines
parquet.py     the same for Parquet, by pyarrow, which is optional
writing.py     the way back
examples.py    rows to examples: texts, label, id, group
labels.py      classification or regression? Which labels?
split.py       train, dev and test by shares
convert.py     all of it: from tables to features
told.py        what is said about a table
flags.py       the flags of prepro_std.py for all this
"""
