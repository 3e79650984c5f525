"""What GLUE's server takes: eleven files, their label words, and how many rows each has.

Row counts are those of the test files that GLUE publishes, without their headers. The dataset card `nyu-mll/glue` of
the Hugging Face hub lists the same numbers, and the GLUE paper (Wang et al. 2019, table 1) has them rounded: 1k, 1.8k,
1.7k, 391k, 1.4k, 20k for both halves of MNLI, 5.4k, 3k, 146. Names and words are those of the server's sample
submission.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADER = ("index", "prediction")
LOWEST, HIGHEST = 0.0, 5.0
"""The range of STS-B's scores."""

BINARY = ("0", "1")
TWO_WAY = ("entailment", "not_entailment")
THREE_WAY = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class OfficialFile:
    """One file of a submission.

    Attributes:
        name: its name in the zip.
        head: the task whose head predicts it; MNLI's predicts AX.
        task: the task whose rows they are.
        split: of that task.
        rows: how many there are.
        labels: the words it may hold; none for STS-B, which has numbers.
    """

    name: str
    head: str
    task: str
    split: str
    rows: int
    labels: tuple[str, ...]


OFFICIAL = (
    OfficialFile("CoLA.tsv", "cola", "cola", "test", 1_063, BINARY),
    OfficialFile("SST-2.tsv", "sst", "sst", "test", 1_821, BINARY),
    OfficialFile("MRPC.tsv", "mrpc", "mrpc", "test", 1_725, BINARY),
    OfficialFile("QQP.tsv", "qqp", "qqp", "test", 390_965, BINARY),
    OfficialFile("STS-B.tsv", "stsb", "stsb", "test", 1_379, ()),
    OfficialFile("MNLI-m.tsv", "mnli", "mnli", "matched_test", 9_796, THREE_WAY),
    OfficialFile("MNLI-mm.tsv", "mnli", "mnli", "mismatched_test", 9_847, THREE_WAY),
    OfficialFile("QNLI.tsv", "qnli", "qnli", "test", 5_463, TWO_WAY),
    OfficialFile("RTE.tsv", "rte", "rte", "test", 3_000, TWO_WAY),
    OfficialFile("WNLI.tsv", "wnli", "wnli", "test", 146, BINARY),
    OfficialFile("AX.tsv", "mnli", "ax", "test", 1_104, THREE_WAY),
)


def official_files() -> Sequence[OfficialFile]:
    """The eleven files, in the order of the server's page."""
    return OFFICIAL
