"""The parameters that the estimators take, written down so that a misspelt one is found without scikit-learn.

A test holds the table against the scikit-learn that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ct_daemon.types import Task

_BOOSTING = """
    categorical_features early_stopping interaction_cst l2_regularization learning_rate loss max_bins max_depth
    max_features max_iter max_leaf_nodes min_samples_leaf monotonic_cst n_iter_no_change random_state scoring tol
    validation_fraction verbose warm_start
"""
_FOREST = """
    bootstrap ccp_alpha criterion max_depth max_features max_leaf_nodes max_samples min_impurity_decrease
    min_samples_leaf min_samples_split min_weight_fraction_leaf monotonic_cst n_estimators n_jobs oob_score
    random_state verbose warm_start
"""
_LOGISTIC = """
    C class_weight dual fit_intercept intercept_scaling l1_ratio max_iter n_jobs penalty random_state solver tol
    verbose warm_start
"""
_RIDGE = "alpha copy_X fit_intercept max_iter positive random_state solver tol"

PARAMETERS: Mapping[tuple[str, Task], frozenset[str]] = {
    ("hist_gradient_boosting", Task.CLASSIFICATION): frozenset((_BOOSTING + " class_weight").split()),
    ("hist_gradient_boosting", Task.REGRESSION): frozenset((_BOOSTING + " quantile").split()),
    ("random_forest", Task.CLASSIFICATION): frozenset((_FOREST + " class_weight").split()),
    ("random_forest", Task.REGRESSION): frozenset(_FOREST.split()),
    ("linear", Task.CLASSIFICATION): frozenset(_LOGISTIC.split()),
    ("linear", Task.REGRESSION): frozenset(_RIDGE.split()),
}
"""By family (`training.sklearn.estimator`) and task."""


def unknown_parameters(model: object, *, family: str, task: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Parameters in a raw model section that its estimator does not have, each with those that it has.

    `family` and `task` count where the section names none. What the section holds need not be acceptable.
    """
    data, training = _section(model, "data"), _section(model, "training")
    sklearn = _section(training, "sklearn")
    try:
        known = PARAMETERS[str(sklearn.get("estimator", family)), Task(str(data.get("task", task)))]
    except (KeyError, ValueError):
        return  # the faulty setting is told by itself
    for name in _section(sklearn, "parameters"):
        if name not in known:
            yield str(name), known


def _section(holder: object, name: str) -> Mapping[str, object]:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    return found if isinstance(found, Mapping) else {}
