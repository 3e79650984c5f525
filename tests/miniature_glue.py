"""A miniature raw GLUE of our own making: all nine tasks and the diagnostic set, with the real files' quirks.

The sentences come from a small grammar, and each label follows from its text by a simple rule, so that even a tiny
model can learn them. Quirks: CoLA's train and dev have no header and its dev no last line end; MRPC opens with a
byte-order mark; single quotes and double quotes stand alone; WNLI has Windows line ends; column counts differ
between the splits of MNLI; the texts hold accents, Chinese, an emoji, U+0085 and U+2028; SST's texts end in a space.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

SUBJECTS = ("the sailor", "a cat", "the old waiter", "my sister", "the zoë café", "a doctor", "the 猫", "his band")
VERBS = ("watched", "painted", "bought", "lost", "found", "washed", "sold", "kept")
OBJECTS = (
    "the red boat",
    "a letter",
    "two apples",
    "the \u201cbig\u201d drum",
    "a clock",
    'the "blue" coat',
    "some tea 🍵",
)
PRAISE = ("a joy", "great fun", "warm and clever", "a fine film")
BLAME = ("a bore", "no fun", "cold and dull", "a poor film")
ODD_SPACES = ("one\u0085line", "two\u2028lines")

Record = dict[str, str]
FOLDERS = ("CoLA", "MRPC", "RTE", "STS-B", "SST-2", "WNLI", "QNLI", "QQP", "MNLI", "diagnostic")


def _sentence(rng: random.Random) -> str:
    return f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)}"


def _negated(sentence: str) -> str:
    return f"it is not true that {sentence}"


def _cola(rng: random.Random, row: int) -> Record:
    words = _sentence(rng).split()
    good = row % 3 != 0
    text = " ".join(words if good else words[::-1]) + " ."
    return {"source": "mini", "label": str(int(good)), "mark": "" if good else "*", "sentence": text}


def _sst(rng: random.Random, row: int) -> Record:
    good = row % 2
    return {"sentence": f"{_sentence(rng)} : {rng.choice(PRAISE if good else BLAME)} ", "label": str(good)}


def _same_or_other(rng: random.Random, row: int) -> tuple[str, str, int]:
    """Two sentences and whether the second repeats the first."""
    first = _sentence(rng) + (f" {ODD_SPACES[row % 2]}" if row % 7 == 0 else "")
    same = row % 2
    return first, f"indeed {first}" if same else _negated(_sentence(rng)), same


def _mrpc(rng: random.Random, row: int) -> Record:
    first, second, same = _same_or_other(rng, row)
    return {
        "Quality": str(same),
        "#1 ID": f"{row}1",
        "#2 ID": f"{row}2",
        "#1 String": f'" {first}',
        "#2 String": second,
    }


def _qqp(rng: random.Random, row: int) -> Record:
    first, second, same = _same_or_other(rng, row)
    ids = {"id": str(row), "qid1": f"{row}1", "qid2": f"{row}2"}
    return ids | {"question1": f"who knows if {first} ?", "question2": f"{second} ?", "is_duplicate": str(same)}


def _entailment(rng: random.Random, row: int) -> Record:
    first, second, same = _same_or_other(rng, row)
    return {"sentence1": first, "sentence2": second, "label": "entailment" if same else "not_entailment"}


def _qnli(rng: random.Random, row: int) -> Record:
    record = _entailment(rng, row)
    return {"question": record["sentence1"] + " ?", "sentence": record["sentence2"], "label": record["label"]}


def _wnli(rng: random.Random, row: int) -> Record:
    first, second, same = _same_or_other(rng, row)
    return {"sentence1": first, "sentence2": second, "label": str(same)}


def _stsb(rng: random.Random, row: int) -> Record:
    first, second, same = _same_or_other(rng, row)
    origin = {"genre": "main", "filename": "mini", "year": "2022", "old_index": f"{row:04d}"}
    sources = {"source1": "none", "source2": "none"}
    score = f"{(4 if same else 1) + (row % 5) / 5:.3f}"
    return origin | sources | {"sentence1": first, "sentence2": second, "score": score}


def _mnli(rng: random.Random, row: int) -> Record:
    first = _sentence(rng)
    label = ("contradiction", "neutral", "entailment")[row % 3]
    second = (_negated(first), _sentence(rng), f"indeed {first}")[row % 3]
    parses = {f"sentence{k}_{form}": "( x )" for form in ("binary_parse", "parse") for k in (1, 2)}
    head = {"promptID": f"{row}", "pairID": f"{row}n", "genre": "mini"} | parses
    return head | {"sentence1": first, "sentence2": second, "label1": label, "gold_label": label}


def _table(
    make: Callable[[random.Random, int], Record], seed: str, rows: int, drop: Sequence[str] = ()
) -> list[Record]:
    rng = random.Random(seed)  # a str seed is hashed the same way in every process
    records = [make(rng, row) for row in range(rows)]
    return [{key: value for key, value in record.items() if key not in drop} for record in records]


def _write(path: Path, records: list[Record], *, index: bool = True, header: bool = True, ends: str = "\n") -> None:
    numbered = [({"index": str(i)} if index else {}) | record for i, record in enumerate(records)]
    lines = ["\t".join(numbered[0])] * header + ["\t".join(record.values()) for record in numbered]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((ends.join(lines) + ends).encode())


def write_miniature_glue(folder: Path, rows: int = 24) -> Path:
    """Write all tasks with `rows` train rows, half as many dev rows (at least 6) and a quarter as test (at least 3)."""
    folder = Path(folder)
    sizes = {"train": rows, "dev": max(6, rows // 2), "test": max(3, rows // 4)}
    plain = {"RTE": _entailment, "WNLI": _wnli, "QNLI": _qnli, "STS-B": _stsb}
    for split, count in sizes.items():
        test = split == "test"
        for name, make in plain.items():
            records = _table(make, name + split, count, ("label", "score") if test else ())
            _write(folder / name / f"{split}.tsv", records, ends="\r\n" if name == "WNLI" else "\n")
        cola = _table(_cola, "cola" + split, count, ("source", "label", "mark") if test else ())
        _write(folder / "CoLA" / f"{split}.tsv", cola, index=test, header=test)
        sst = _table(_sst, "sst" + split, count, ("label",) if test else ())
        _write(folder / "SST-2" / f"{split}.tsv", sst, index=test)
        mrpc = _table(_mrpc, "mrpc" + split, count, ("Quality",) if test else ())
        _write(folder / "MRPC" / f"{split}.tsv", mrpc, index=test)
        qqp = _table(_qqp, "qqp" + split, count, ("is_duplicate", "qid1", "qid2") if test else ())
        _write(folder / "QQP" / f"{split}.tsv", qqp, index=False)
        for kind in ("matched", "mismatched") if split != "train" else ("",):
            mnli = _table(_mnli, "mnli" + split + kind, count, ("label1", "gold_label") if test else ())
            if split == "dev":  # dev files list five labels before the gold one
                mnli = [_five_labels(record) for record in mnli]
            _write(folder / "MNLI" / (f"{split}_{kind}.tsv" if kind else "train.tsv"), mnli)
    drop = tuple(k for k in _mnli(random.Random(0), 0) if k not in ("sentence1", "sentence2"))
    _write(folder / "diagnostic" / "diagnostic.tsv", _table(_mnli, "ax", sizes["test"], drop))
    _make_byte_quirks(folder)
    return folder


def _five_labels(record: Record) -> Record:
    gold = record["gold_label"]
    head = {key: value for key, value in record.items() if key not in ("label1", "gold_label")}
    return head | {f"label{i}": gold for i in range(1, 6)} | {"gold_label": gold}


def _make_byte_quirks(folder: Path) -> None:
    for split in ("train", "dev"):
        path = folder / "MRPC" / f"{split}.tsv"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    for path in (folder / "CoLA" / "dev.tsv", folder / "diagnostic" / "diagnostic.tsv"):
        path.write_bytes(path.read_bytes().removesuffix(b"\n"))


def miniature_texts() -> list[str]:
    """Text that holds every word of the miniature: what the tiny tokenizers are made from."""
    fixed = ["indeed it is not true that", 'who knows if " ? . :', *ODD_SPACES]
    return [*SUBJECTS, *VERBS, *OBJECTS, *PRAISE, *BLAME, *fixed]
