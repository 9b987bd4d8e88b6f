"""Rules of label selectors inside objects."""

from __future__ import annotations

from services.api import names
from services.api.pb.ursa.meta.v1.meta_pb2 import LabelSelector
from services.api.validation.metadata import labels_faults
from services.api.validation.violations import Violations, faults, forbidden, one_of, required

_SET_OPERATORS = frozenset(("In", "NotIn"))
_OPERATORS = frozenset(("In", "NotIn", "Exists", "DoesNotExist"))


def label_selector_faults(selector: LabelSelector) -> Violations:
    found = labels_faults("matchLabels", selector.match_labels)
    for index, expression in enumerate(selector.match_expressions):
        here = f"matchExpressions[{index}]"
        found += faults(f"{here}.key", expression.key, names.qualified_name(expression.key))
        found += one_of(f"{here}.operator", expression.operator, _OPERATORS)
        if expression.operator in _SET_OPERATORS and not expression.values:
            found.append(required(f"{here}.values", f"must be specified when operator is {expression.operator}"))
        if expression.operator in ("Exists", "DoesNotExist") and expression.values:
            found.append(forbidden(f"{here}.values", f"may not be specified when operator is {expression.operator}"))
        for at, value in enumerate(expression.values):
            found += faults(f"{here}.values[{at}]", value, names.label_value(value))
    return found
