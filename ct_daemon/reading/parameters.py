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

_XGBOOST = """
    base_score booster colsample_bylevel colsample_bynode colsample_bytree device eval_metric feature_weights gamma
    grow_policy importance_type interaction_constraints learning_rate max_bin max_cat_threshold max_cat_to_onehot
    max_delta_step max_depth max_leaves min_child_weight monotone_constraints multi_strategy n_estimators n_jobs
    num_parallel_tree objective random_state reg_alpha reg_lambda sampling_method scale_pos_weight subsample
    tree_method validate_parameters verbosity
"""
_LIGHTGBM = """
    bagging_fraction bagging_freq boosting_type cat_l2 cat_smooth class_weight colsample_bytree deterministic
    drop_rate extra_trees feature_fraction feature_fraction_bynode force_col_wise force_row_wise importance_type
    is_unbalance lambda_l1 lambda_l2 learning_rate linear_tree max_bin max_cat_threshold max_cat_to_onehot
    max_delta_step max_depth max_drop min_child_samples min_child_weight min_data_in_bin min_data_per_group
    min_split_gain monotone_constraints monotone_constraints_method n_estimators n_jobs num_leaves objective
    other_rate path_smooth random_state reg_alpha reg_lambda scale_pos_weight subsample subsample_for_bin
    subsample_freq top_rate verbose
"""
BOOSTERS: Mapping[str, frozenset[str]] = {
    "xgboost": frozenset(_XGBOOST.split()),
    "lightgbm": frozenset(_LIGHTGBM.split()),
}
"""By library; the same for both tasks. LightGBM takes more than its scikit-learn estimator names: the usual ones."""


def unknown_parameters(model: object, *, family: str, task: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Parameters in a raw model section that its estimator does not have, each with those that it has.

    `family` and `task` count where the section names none. What the section holds need not be acceptable.
    """
    data, training = _section(model, "data"), _section(model, "training")
    sklearn = _section(training, "sklearn")
    chosen = str(sklearn.get("estimator", family))
    try:
        known = BOOSTERS.get(chosen) or PARAMETERS[chosen, Task(str(data.get("task", task)))]
    except (KeyError, ValueError):
        return  # the faulty setting is told by itself
    for name in _section(sklearn, "parameters"):
        if name not in known:
            yield str(name), known


def _section(holder: object, name: str) -> Mapping[str, object]:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    return found if isinstance(found, Mapping) else {}
