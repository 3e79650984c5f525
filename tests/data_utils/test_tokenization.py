"""Token ids equal the tokenizer's own, whichever way a row takes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import PostProcessor, TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from data_utils import tokenization
from data_utils.errors import InputError
from data_utils.tokenization import EncoderSettings, RowEncoder, check_special_tokens, load_tokenizer, splits_at_spaces
from tests.miniature_glue import miniature_texts
from tests.tiny_models import write_tiny_bert, write_tiny_roberta

ROOT = Path(__file__).resolve().parents[2]
ROBERTA = ROOT.parent / "shared/tokenizers/roberta-base"
GLUE = ROOT.parent / "shared/glue_data"
REAL_FILES = ["SST-2/train.tsv", "QQP/train.tsv", "MRPC/train.tsv", "MNLI/dev_matched.tsv", "CoLA/train.tsv"]
ODD_TEXTS = [
    "",
    " ",
    "a",
    " leading",
    "trailing ",
    "two  spaces",
    "three   spaces   ",
    "a\u0085b\u2028c",
    "tab-free\x07bell",
    "zoë’s naïve 猫 🍵",
    "don't they'll [MASK] </s> <mask> [SEP]",
    "<s>",
    "x" * 150,
    "1,000.50 (e.g.) --> ok!?",
    "AB'S C'Est",
    "\x7f delete",
]


@pytest.fixture(scope="module", params=["bert", "roberta", "real roberta"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    if request.param == "real roberta":
        if not ROBERTA.is_dir():
            pytest.skip(f"the real RoBERTa tokenizer is not there: {ROBERTA}")
        return AutoTokenizer.from_pretrained(ROBERTA)
    write = write_tiny_bert if request.param == "bert" else write_tiny_roberta
    return AutoTokenizer.from_pretrained(write(tmp_path_factory.mktemp("model")))


def assert_equal_to_the_tokenizer(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], others: list[str] | None, max_length: int
) -> None:
    encoder = RowEncoder(EncoderSettings.of(tokenizer, max_length))
    for _ in range(2):  # the second time from the remembered units
        rows = encoder.encode(texts, others)
        expected = tokenizer(texts, others, truncation=True, max_length=max_length)
        whole = tokenizer(texts, others)
        types = expected.get("token_type_ids") or [[0] * len(ids) for ids in expected["input_ids"]]
        assert [row.token_ids for row in rows] == expected["input_ids"]
        assert [row.type_ids for row in rows] == types
        assert [row.shortened for row in rows] == [len(ids) > max_length for ids in whole["input_ids"]]


@pytest.mark.parametrize("max_length", [8, 12, 512])
def test_odd_and_made_up_texts(tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    rng = random.Random(1)
    words = " ".join(miniature_texts()).split() + ["it's", "--", "U.S.", "<", "##x", "[", "Ġ"]
    made_up = [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(200)]
    texts = ODD_TEXTS + made_up
    others = rng.sample(texts, len(texts))
    assert_equal_to_the_tokenizer(tokenizer, texts, None, max_length)
    assert_equal_to_the_tokenizer(tokenizer, texts, others, max_length)


@pytest.mark.parametrize("name", REAL_FILES)
def test_real_rows(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    if not (GLUE / name).is_file():
        pytest.skip(f"real GLUE is not there: {GLUE / name}")
    lines = (GLUE / name).read_text(encoding="utf-8-sig").split("\n")[1:-1]
    columns = [line.split("\t") for line in random.Random(0).sample(lines, 120)]
    texts = [max(fields, key=len) for fields in columns]
    others = [sorted(fields, key=len)[-2] for fields in columns]
    assert_equal_to_the_tokenizer(tokenizer, texts, None, 512)
    assert_equal_to_the_tokenizer(tokenizer, texts, others, 40)


def test_both_families_take_the_fast_way_and_other_tokenizers_do_not(tokenizer: PreTrainedTokenizerBase) -> None:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    assert splits_at_spaces(backend)
    cased = {"content": "new", "normalized": True}
    spanning = {"content": "New York", "normalized": False}
    assert not splits_at_spaces(backend | {"added_tokens": [spanning]})
    assert not splits_at_spaces(backend | {"added_tokens": [cased], "normalizer": {"type": "BertNormalizer"}})
    assert not splits_at_spaces(backend | {"pre_tokenizer": {"type": "Metaspace"}})
    assert not splits_at_spaces(backend | {"model": {"type": "Unigram"}})
    assert not splits_at_spaces(backend | {"normalizer": {"type": "Sequence", "normalizers": []}})
    assert not splits_at_spaces(backend | {"post_processor": {"type": "Sequence"}})
    assert not splits_at_spaces(json.loads(Tokenizer(models.Unigram()).to_str()))


def test_an_added_token_that_swallows_spaces(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write_tiny_roberta(tmp_path))
    tokenizer.add_tokens([AddedToken("<br>", rstrip=True, normalized=False)])
    assert_equal_to_the_tokenizer(tokenizer, ["a cat <br> lost it", "a cat lost it"], None, 16)


def test_the_units_are_forgotten_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenization, "MAX_CACHED_UNITS", 3)
    tokenizer = AutoTokenizer.from_pretrained(write_tiny_bert(tmp_path))
    assert_equal_to_the_tokenizer(tokenizer, [f"a cat {i} lost" for i in range(20)], None, 16)


def test_max_seq_len_must_leave_room_for_text(tokenizer: PreTrainedTokenizerBase) -> None:
    special = tokenizer.num_special_tokens_to_add(pair=True)
    with pytest.raises(InputError, match=f"--max_seq_len must be at least {special + 2}: .*; got {special + 1}"):
        EncoderSettings.of(tokenizer, special + 1)


def test_models_that_cannot_be_loaded_name_the_flag_and_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="--model: no folder ./nowhere"):
        load_tokenizer("./nowhere")
    with pytest.raises(InputError, match="--init_checkpoint: no folder /a/b/c"):
        load_tokenizer("/a/b/c", "--init_checkpoint")
    with pytest.raises(InputError, match="--model: cannot load a tokenizer from"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="holds no tokenizer files"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="(?s)cannot load a tokenizer from .*give a folder that holds"):
        load_tokenizer(str(tmp_path))

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect\nmore")

    monkeypatch.setattr("data_utils.hub.why_no_hub", lambda: None)  # lost while it loads
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", unreachable)
    with pytest.raises(
        InputError, match="cannot load a tokenizer from 'some/model': OSError: We couldn't connect; give a folder"
    ):
        load_tokenizer("some/model")


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(InputError, match="--model: is a file .*model.pt; expected a model's folder or its hub name"):
        load_tokenizer(str(tmp_path / "model.pt"))


DAMAGE = {
    "no object": ("tokenizer.json", lambda raw: None),
    "added tokens of another type": ("tokenizer.json", lambda raw: raw | {"added_tokens": "zzz"}),
    "no version": ("tokenizer.json", lambda raw: raw | {"version": None}),
    "no vocabulary": ("tokenizer.json", lambda raw: raw | {"model": {"type": "WordPiece"}}),
    "no settings": ("tokenizer_config.json", lambda raw: None),
    "a number as class": ("tokenizer_config.json", lambda raw: raw | {"tokenizer_class": 5}),
    "special tokens in a list": ("special_tokens_map.json", lambda raw: []),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_tokenizers_are_named(tmp_path: Path, case: str) -> None:
    name, change = DAMAGE[case]
    path = write_tiny_bert(tmp_path / "tiny-bert") / name
    path.write_text(json.dumps(change(json.loads(path.read_text()) if path.exists() else {})))
    with pytest.raises(InputError, match="--model: cannot load a tokenizer from '.*tiny-bert': .*; give a folder"):
        load_tokenizer(str(path.parent))


def test_a_tokenizer_that_loads_and_does_not_work(tmp_path: Path) -> None:
    path = write_tiny_roberta(tmp_path / "tiny-roberta") / "tokenizer.json"
    raw = json.loads(path.read_text())
    raw["model"]["merges"].append(["a", "\u2603"])
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match="--model.* tokenizer"):
        EncoderSettings.of(load_tokenizer(str(path.parent)), 16)


def own_tokenizer(folder: Path, template: PostProcessor | None) -> PreTrainedTokenizerBase:
    """A WordPiece made with the `tokenizers` library alone, as its saved folder loads."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d"]
    backend = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    if template is not None:
        backend.post_processor = template
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    return load_tokenizer(str(folder))


SPECIAL = [("[CLS]", 2), ("[SEP]", 3)]
BEFORE, BETWEEN = "before the text, so that rows begin with a word", "between two texts, so that they run together"
TEMPLATES = {
    "none": (None, [BEFORE, BETWEEN]),
    "only at the end": (
        TemplateProcessing(single="$A [SEP]", pair="$A [SEP] $B [SEP]", special_tokens=SPECIAL),
        [BEFORE],
    ),
    "nothing between": (
        TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A $B [SEP]", special_tokens=SPECIAL),
        [BETWEEN],
    ),
    "BERT's": (
        TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=SPECIAL),
        [],
    ),
}


@pytest.mark.parametrize(("template", "lacks"), TEMPLATES.values(), ids=TEMPLATES.keys())
@pytest.mark.parametrize("pairs", [False, True])
def test_rows_that_begin_with_a_word_and_pairs_that_run_together_are_refused(
    template: PostProcessor | None, lacks: list[str], pairs: bool, tmp_path: Path
) -> None:
    settings = EncoderSettings.of(own_tokenizer(tmp_path, template), 16)
    wrong = [one for one in lacks if pairs or one != BETWEEN]
    if not wrong:
        check_special_tokens(settings, "mine", pairs=pairs)
        return
    with pytest.raises(InputError, match=r"the tokenizer of mine puts no special token .*docs/data\.md") as caught:
        check_special_tokens(settings, "mine", pairs=pairs)
    assert [one for one in (BEFORE, BETWEEN) if one in str(caught.value)] == wrong


def test_the_cure_in_the_docs_gives_rows_like_bert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_tokenizer(tmp_path / "my-model", None)
    code = (ROOT / "docs/data.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    settings = EncoderSettings.of(load_tokenizer("./my-model"), 16)
    check_special_tokens(settings, "my-model", pairs=True)
    (row,) = RowEncoder(settings).encode(["a b"], ["c d"])
    assert (row.token_ids, row.type_ids) == ([2, 5, 6, 3, 7, 8, 3], [0, 0, 0, 0, 1, 1, 1])


def test_rows_without_a_known_word_are_found(tmp_path: Path) -> None:
    encoder = RowEncoder(EncoderSettings.of(load_tokenizer(str(write_tiny_bert(tmp_path))), 16))
    texts = ["a cat", "\u200b", "\u263a", "\u263a a", ""]
    assert [encoder.is_wordless(row) for row in encoder.encode(texts)] == [False, True, True, False, True]
    pairs = encoder.encode(["\u200b", "\u200b"], ["\u263a", "a"])
    assert [encoder.is_wordless(row) for row in pairs] == [True, False]
