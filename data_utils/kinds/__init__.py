"""The kinds of task that can be trained; see `data_utils.kinds.kind` for what a kind is."""

from __future__ import annotations

from data_utils.kinds.classification import Classification
from data_utils.kinds.kind import Kind
from data_utils.kinds.ranking import Ranking
from data_utils.kinds.regression import Regression
from data_utils.kinds.span import Span
from data_utils.kinds.tagging import Tagging

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Classification(), Regression(), Ranking(), Tagging(), Span())}
