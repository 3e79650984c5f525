"""Task definitions: MT-DNN's files load unchanged, mistakes are named with the allowed values."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.strict import read_yaml_mapping
from data_utils.task_def import OWN_KEYS, DataFormat, TaskDef, TaskType, load_task_defs, select_tasks
from data_utils.task_names import LOSSES, METRICS

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


# What MT-DNN's newest files hold beyond that, each in a task of its own.
NEWEST = """\
ner: {data_format: Seqence, task_type: SeqenceLabeling, n_class: 3, labels: [O, B-PER, X], metric_meta: [SeqEval],
      enable_san: False, loss: SeqCeCriterion, dropout_p: 0.3, loss: SeqCeCriterion}
squad: {data_format: CLUE_SPAN, task_type: SpanClassification, n_class: 2, metric_meta: [EmF1], loss: SpanCeCriterion}
squad-v2: {data_format: CLUE_SPAN, task_type: SpanClassificationYN, n_class: 2, metric_meta: [EmF12]}
record: {data_format: ClozeChoice, task_type: ClozeChoice, n_class: 1, metric_meta: [CMAT], loss: RankCeCriterion}
gen: {data_format: CLUE_GEN, task_type: SeqenceGeneration, n_class: 3, metric_meta: [SeqEvalList]}
fever: {data_format: PremiseAndOneHypothesis, task_type: Classification, n_class: 2, labels: [c, n, e]}
anli: {data_format: PremiseAndOneHypothesis, task_type: Classification, n_class: 3, labels: [c, n, e], actf: tanh,
       encoder_type: ROBERTA, split_names: [train, r1_dev, r2_dev]}
nothing: {data_format: PremiseOnly}
"""
KINDS_OF_NEWEST = {
    "squad": "a Span task has rows of the format MRC, got CLUE_SPAN",
    "squad-v2": "task_type SpanYN is not trained by this toolkit; it trains Classification, ",
    "record": "task_type ClozeChoice is not trained by this toolkit; it trains Classification, ",
    "gen": "task_type SeqenceGeneration is not trained by this toolkit; it trains Classification, ",
    "fever": "n_class is 2 but labels names 3: c, n, e",
    "nothing": "the key 'task_type' is missing",
}


def test_the_newest_files_load_and_what_can_be_trained_is_usable(tmp_path: Path) -> None:
    tasks = load_task_defs(write(tmp_path, NEWEST))
    assert list(tasks) == ["ner", "squad", "squad-v2", "record", "gen", "anli"]
    assert list(tasks.broken) == ["fever", "nothing"]
    (anli,) = select_tasks(tasks, "anli", "--tasks")
    assert (anli.label_id("e"), anli.actf, anli.encoder_type) == (2, "tanh", "ROBERTA")
    assert tasks["ner"].loss == "SeqCeCriterion"


@pytest.mark.parametrize("name", KINDS_OF_NEWEST)
def test_a_task_that_cannot_be_used_is_an_error_when_it_is_asked_for(tmp_path: Path, name: str) -> None:
    tasks = load_task_defs(write(tmp_path, NEWEST))
    with pytest.raises(InputError) as caught:
        select_tasks(tasks, f"anli,{name}", "--tasks")
    assert str(caught.value).startswith(f"{tmp_path / 'tasks.yml'}: task {name!r}: {KINDS_OF_NEWEST[name]}")


def test_all_tasks_asked_for_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        select_tasks(load_task_defs(write(tmp_path, NEWEST)), "fever,record,nope,anli", "--tasks")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "--tasks: unknown task 'nope'; " in lines[2] and lines[2].endswith("anli, fever, nothing")


@pytest.mark.parametrize(
    ("bad", "line", "problem"),
    [
        ("n_class: 2, loss: A, loss: B", 2, "the key 'loss' stands twice, as 'A' and as 'B' (in task 'bad')"),
        ("labels: [a], labels: [b]", 2, "the key 'labels' stands twice, with different values (in task 'bad')"),
        ("n_class: 010", 2, "'010' is another number in YAML than it looks; write a decimal one, or quote it (in task"),
    ],
)
def test_what_yaml_refuses_in_one_task_does_not_spoil_the_others(
    tmp_path: Path, bad: str, line: int, problem: str
) -> None:
    good = "{data_format: PremiseOnly, task_type: Classification}"
    path = write(tmp_path, f"one: {good}\nbad: &bad {{data_format: PremiseOnly, {bad}}}\nagain: *bad\ntwo: {good}\n")
    tasks = load_task_defs(path)
    assert list(tasks) == ["one", "two"]
    with pytest.raises(InputError) as caught:
        select_tasks(tasks, "bad", "--tasks")
    assert str(caught.value).startswith(f"{path}:{line}: {problem}")
    assert tasks.broken["again"] == tasks.broken["bad"].replace("'bad'", "'again'")


SAME = ["a: {x: 1, x: 1}", "a: {x: [1, {y: z}], x: [1, {y: z}]}", "b: &b [1]\na: {x: *b, x: *b}", "a: 1\na: 1"]
OTHER = ["a: {x: 1, x: '1'}", "a: {x: [1, {y: z}], x: [1, {y: q}]}", "a: {x: [1], x: [1, 2]}", "a: 1\na: 2"]


@pytest.mark.parametrize("text", SAME + OTHER)
def test_a_key_may_stand_twice_with_the_same_value(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    if text in SAME:
        assert "a" in read_yaml_mapping(path)
    else:
        with pytest.raises(InputError, match="stands twice, "):
            read_yaml_mapping(path)


MT_DNN_NEEDS = {"data_format", "task_type", "n_class", "metric_meta", "enable_san"}
MT_DNN_KNOWS = MT_DNN_NEEDS | {"labels", "split_names", "dropout_p", "loss", "kd_loss", "adv_loss"}
"""What MT-DNN's loader (`TaskDefs` in its `experiments/exp_def.py`) takes by index, and what it looks for besides."""


@pytest.mark.parametrize("path", sorted(ROOT.glob("experiments/*/*_task_def.yml")), ids=lambda path: path.name)
def test_our_own_files_load_in_mt_dnn(path: Path) -> None:
    raw = read_yaml_mapping(path)
    assert raw
    for name, task in raw.items():
        assert "_" not in name
        assert MT_DNN_NEEDS <= task.keys() <= MT_DNN_KNOWS | OWN_KEYS.keys(), name  # it passes over other keys
        assert task["enable_san"] is False, name  # MT-DNN would train another head than this toolkit does
        assert task["data_format"] in DataFormat.__members__ and task["task_type"] in TaskType.__members__
        assert {task.get(key, "CeCriterion") for key in ("loss", "kd_loss", "adv_loss")} <= set(LOSSES)
        assert set(task["metric_meta"]) <= set(METRICS)


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


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i}, ' * 9}]\n" for i in range(9))
HEAD = "cola:\n  data_format: PremiseOnly\n  task_type: Classification\n"
BAD = {
    "unknown key": (HEAD + "  metrics: [ACC]\n", "unknown key 'metrics'; allowed: "),
    "unknown metric": (HEAD + "  metric_meta: [Accuracy]\n", "unknown 'Accuracy'; allowed: ACC, F1"),
    "unknown loss": (HEAD + "  loss: CrossEntropy\n", "loss: unknown 'CrossEntropy'; allowed: CeCriterion"),
    "unknown format": ("cola:\n  data_format: Pair\n  task_type: Classification\n", "unknown 'Pair'; allowed: "),
    "missing key": ("cola:\n  data_format: PremiseOnly\n", "the key 'task_type' is missing"),
    "wrong type": (HEAD + "  n_class: two\n", "n_class: expected a whole number, got 'two'"),
    "labels and n_class": (HEAD + "  n_class: 3\n  labels: [a, b]\n", "n_class is 3 but labels names 2"),
    "key twice": (
        HEAD + "  task_type: Regression\n",
        ":4: the key 'task_type' stands twice, as 'Classification' and as 'Regression' (in task 'cola')",
    ),
    "dangerous tag": ("cola: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    "not YAML": ("cola: [\n", "not valid YAML"),
    "empty": ("", "expected a mapping"),
    "underscore in name": (HEAD.replace("cola", "my_task"), "the name must not"),
    "a split outside": (HEAD + "  split_names: [train, ../../x]\n", "the split name must not be empty nor contain '.'"),
    "a split at the root": (HEAD + "  split_names: [/etc/x]\n", "the split name must not be empty nor contain"),
    "a split with a NUL": (HEAD + '  split_names: ["a\\0b"]\n', "the split name must not be empty nor contain"),
    "a split twice": (HEAD + "  split_names: [dev, dev]\n", "split_names must be different names, at least one"),
    "no split": (HEAD + "  split_names: []\n", "split_names must be different names, at least one"),
    "a name outside": (HEAD.replace("cola", "../../x"), "task '../../x': the name must not be empty nor contain"),
    "a name with a NUL": (HEAD.replace("cola", '"a\\0b"'), "the name must not be empty nor contain"),
    "a name too long": (HEAD.replace("cola", "é" * 41), "the name must not be longer than 80 bytes"),
    "a label with a tab": (HEAD + '  labels: [a, "b\\tc"]\n', "labels: 'b\\tc' cannot stand in a canonical row"),
    "half a label": (HEAD + '  labels: [a, "\\ud800"]\n', "labels: '\\ud800' cannot stand in a canonical row"),
    "too many classes": (HEAD + "  n_class: 1000000000000\n", "n_class must be in 1 to 1,000,000"),
    "less than no class": (HEAD.replace("Classification", "Ranking") + "  n_class: -1\n", "n_class must be in 1 to"),
    "octal": (HEAD + "  labels: [x,\n    010]\n", ":5: '010' is another number in YAML than it looks"),
    "hexadecimal": (HEAD + f"  n_class: 0x{'f' * 5000}\n", ":4: '0xffff"),
    "sexagesimal": (HEAD + "  labels: [1:30, 2]\n", ":4: '1:30' is another number in YAML than it looks"),
    "a float in groups": (HEAD + "  dropout_p: 0.1_5\n", ":4: '0.1_5' is another number in YAML than it looks"),
    "a number without end": (HEAD + f"  n_class: {'9' * 5000}\n", ":4: cannot be read as int (ValueError: Exceeds"),
    "not a bool": (HEAD + "  enable_san: !!bool maybe\n", ":4: cannot be read as bool (KeyError: 'maybe')"),
    "not a date": (HEAD + "  loss: !!timestamp x\n", ":4: cannot be read as timestamp"),
    "an impossible date": (
        HEAD + "  loss: !!timestamp 2020-13-45\n",
        ":4: cannot be read as timestamp",
    ),
    "a list called a mapping": ("cola: !!map [a, b]\n", ":1: not valid YAML: expected a mapping node, but found seq"),
    "no character": (HEAD + '  loss: "\\UFFFFFFFF"\n', ":4: not valid YAML: "),
    "no version": (f"%YAML 1.{'9' * 5000}\n---\n{HEAD}", ":1: not valid YAML: "),
    "a control character": (HEAD + "  loss: \x1b\n", ":4: not valid YAML: the character 0x1b is not allowed"),
    "a number as name": (HEAD + HEAD.replace("cola", "7"), ":4: expected a name as key, got 7; quote it"),
    "nested without end": (HEAD + "  loss: " + "[\n" * 2000, "not valid YAML: nested too deeply"),
    "an alias of itself": (HEAD + "  labels: &a [x, *a]\n", ":4: an alias refers to what it stands in"),
    "a merge of itself": (HEAD + "  loss: &a {<<: *a}\n", ":4: an alias refers to what it stands in"),
    "a billion laughs": (LAUGHS, ":6: stands for more than 100,000 values"),
    "very long": (HEAD + "#" * 300_000, ": larger than 262,144 bytes"),
    "dropout": (HEAD + "  dropout_p: 1.5\n", "dropout_p must be in [0, 1), got 1.5"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_task_defs(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yml"
    path.write_bytes(HEAD.encode() + b"  loss: caf\xe9\n")
    with pytest.raises(InputError, match="tasks.yml:4: not valid UTF-8 .byte 0xe9."):
        load_task_defs(path)
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        load_task_defs(tmp_path / "a\0b")


def test_names_are_taken_as_they_are_written(tmp_path: Path) -> None:
    text = HEAD + "  labels: &names [2020-01-01, 7, 1e3, '010']\n" + HEAD.replace("cola", "rte") + "  labels: *names\n"
    tasks = load_task_defs(write(tmp_path, text))
    assert tasks["cola"].labels == tasks["rte"].labels == ("2020-01-01", "7", "1e3", "010")


def test_a_key_merged_in_and_overwritten_does_not_stand_twice(tmp_path: Path) -> None:
    text = "{a: &a {n_class: 3}, b: {c: &b {<<: *a, n_class: 4}}, d: {<<: *b}}"
    assert read_yaml_mapping(write(tmp_path, text))["d"] == {"n_class": 4}


def test_very_many_classes_do_not_fill_the_terminal() -> None:
    task = TaskDef.from_dict("x", {"data_format": "PremiseOnly", "task_type": "Classification", "n_class": 10_000})
    with pytest.raises(InputError, match=r"allowed for x: 0, 1, .*, 19, \.\.\. \(10,000 in all\)$"):
        task.label_id("x" * 10_000)


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
        select_tasks(load_task_defs(GLUE), names, "--tasks")
