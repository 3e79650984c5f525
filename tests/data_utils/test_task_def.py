"""Task definitions: MT-DNN's files load unchanged, mistakes are named with the allowed values."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.task_def import DataFormat, TaskDef, TaskType, load_task_defs, select_tasks

ROOT = Path(__file__).resolve().parents[2]
GLUE = ROOT / "experiments/glue/glue_task_def.yml"

MT_DNN_STYLE = """\
cola:
  data_format: PremiseOnly
  dropout_p: 0.05
  enable_san: false
  metric_meta:
  - ACC
  - MCC
  loss: CeCriterion
  kd_loss: MseCriterion
  adv_loss: SymKlCriterion
  n_class: 2
  task_type: Classification
mnli:
  data_format: PremiseAndOneHypothesis
  dropout_p: 0.3
  enable_san: true
  labels:
  - contradiction
  - neutral
  - entailment
  metric_meta:
  - ACC
  loss: CeCriterion
  kd_loss: MseCriterion
  adv_loss: SymKlCriterion
  n_class: 3
  split_names:
  - train
  - matched_dev
  - mismatched_dev
  - matched_test
  - mismatched_test
  task_type: Classification
qnnli:
  data_format: PremiseAndMultiHypothesis
  enable_san: true
  metric_meta:
  - ACC
  loss: RankCeCriterion
  n_class: 1
  task_type: Ranking
stsb:
  data_format: PremiseAndOneHypothesis
  enable_san: false
  metric_meta:
  - Pearson
  - Spearman
  n_class: 1
  loss: MseCriterion
  kd_loss: MseCriterion
  adv_loss: MseCriterion
  task_type: Regression
ner:
  data_format: Seqence
  enable_san: false
  labels: [O, B-PER, I-PER]
  metric_meta: [SeqEval]
  n_class: 3
  loss: SeqCeCriterion
  split_names: [train, dev, test]
  task_type: SeqenceLabeling
squad:
  data_format: MRC
  enable_san: false
  metric_meta: [EmF1]
  n_class: 2
  task_type: Span
  loss: SpanCeCriterion
  split_names: [train, dev]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "tasks.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_in_mt_dnns_style_loads(tmp_path: Path) -> None:
    tasks = load_task_defs(write(tmp_path, MT_DNN_STYLE))
    assert list(tasks) == ["cola", "mnli", "qnnli", "stsb", "ner", "squad"]
    assert tasks["cola"].dropout_p == 0.05
    assert tasks["cola"].primary_metric == "MCC"
    assert tasks["mnli"].dev_splits == ("matched_dev", "mismatched_dev")
    assert tasks["mnli"].label_id("entailment") == 2
    assert tasks["stsb"].task_type is TaskType.Regression
    assert tasks["ner"].data_format is DataFormat.Seqence


def test_a_task_survives_its_own_yaml_form(tmp_path: Path) -> None:
    for name, task in load_task_defs(write(tmp_path, MT_DNN_STYLE)).items():
        assert TaskDef.from_dict(name, task.to_dict()) == task


def test_glue_has_its_ten_sets_and_the_papers_metrics() -> None:
    tasks = load_task_defs(GLUE)
    assert set(tasks) == {"cola", "mrpc", "rte", "stsb", "sst", "wnli", "qnli", "qqp", "mnli", "ax"}
    primary = {name: task.primary_metric for name, task in tasks.items()}
    assert primary == dict.fromkeys(tasks, "ACC") | {"cola": "MCC", "mrpc": "F1", "qqp": "F1", "stsb": "Pearson"}
    assert tasks["rte"].labels == tasks["qnli"].labels == ("not_entailment", "entailment")
    assert tasks["mnli"].labels == tasks["ax"].labels == ("contradiction", "neutral", "entailment")
    assert tasks["ax"].split_names == ("test",)


HEAD = "cola:\n  data_format: PremiseOnly\n  task_type: Classification\n"
BAD = {
    "unknown key": (HEAD + "  metrics: [ACC]\n", "unknown key 'metrics'; allowed: "),
    "unknown metric": (HEAD + "  metric_meta: [Accuracy]\n", "unknown 'Accuracy'; allowed: ACC, F1"),
    "unknown loss": (HEAD + "  loss: CrossEntropy\n", "loss: unknown 'CrossEntropy'; allowed: CeCriterion"),
    "unknown format": ("cola:\n  data_format: Pair\n  task_type: Classification\n", "unknown 'Pair'; allowed: "),
    "missing key": ("cola:\n  data_format: PremiseOnly\n", "the key 'task_type' is missing"),
    "wrong type": (HEAD + "  n_class: two\n", "n_class: expected a whole number, got 'two'"),
    "labels and n_class": (HEAD + "  n_class: 3\n  labels: [a, b]\n", "n_class is 3 but labels names 2"),
    "key twice": (HEAD + "  task_type: Regression\n", "the key 'task_type' stands twice"),
    "dangerous tag": ("cola: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    "not YAML": ("cola: [\n", "not valid YAML"),
    "empty": ("", "expected a mapping"),
    "underscore in name": (HEAD.replace("cola", "my_task"), "the name must not"),
    "dropout": (HEAD + "  dropout_p: 1.5\n", "dropout_p must be in [0, 1), got 1.5"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_task_defs(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_all_mistakes_of_a_file_come_in_one_message(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "  loss: A\n  kd_loss: B\n" + HEAD.replace("cola", "rte") + "  n_class: 1\n")
    with pytest.raises(InputError) as caught:
        load_task_defs(path)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [("cola,nope", "--tasks: unknown task 'nope'; "), ("cola,cola", "stands twice"), (" , ", "no task named")],
)
def test_a_wrong_selection_names_the_flag(names: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        select_tasks(load_task_defs(GLUE), names, "--tasks", GLUE)
