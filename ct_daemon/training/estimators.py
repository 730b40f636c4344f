"""scikit-learn estimators with preprocessing for mixed columns: what `training.sklearn` in the settings builds.

They get frames of `dataset.frames`: float64 columns with NaN for missing, and text columns where missing is a
category of its own. Only what is used is imported; a trainer's start is mostly imports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from ct_daemon.errors import ContractError, TrainingError
from ct_daemon.reading.parameters import BOOSTERS
from ct_daemon.training.boosters import LIBRARIES, BoosterStep, imported
from ct_daemon.types import ColumnKind, Task

ORDINAL_CATEGORIES = 254
"""Most frequent categories that get a number of their own; the rest share one. Boosting has 255 bins."""
ONE_HOT_CATEGORIES = 50
"""The same for a column each."""
MIN_KNOWN = 0.001
"""Least share of rows in which a column of numbers must have a value to be trained on."""

_ESTIMATORS = {
    ("hist_gradient_boosting", Task.CLASSIFICATION): HistGradientBoostingClassifier,
    ("hist_gradient_boosting", Task.REGRESSION): HistGradientBoostingRegressor,
    ("random_forest", Task.CLASSIFICATION): RandomForestClassifier,
    ("random_forest", Task.REGRESSION): RandomForestRegressor,
    ("linear", Task.CLASSIFICATION): LogisticRegression,
    ("linear", Task.REGRESSION): Ridge,
}
_DEFAULTS: Mapping[tuple[str, Task], Mapping[str, Any]] = {
    # By default scikit-learn stops early above 10,000 rows, on a share of its own that it can't cut when a class
    # has one row; and the refit on all rows would follow another rule than the candidate that was judged.
    ("hist_gradient_boosting", Task.CLASSIFICATION): {"early_stopping": False},
    ("hist_gradient_boosting", Task.REGRESSION): {"early_stopping": False},
    ("linear", Task.CLASSIFICATION): {"max_iter": 1000},
}


def build(options: Mapping[str, Any], task: Task, features: Mapping[str, ColumnKind]) -> Pipeline:
    """An unfitted pipeline: columns to numbers, then the estimator. Equal arguments fit equal models.

    Parameters
    ----------
    options : mapping
        ``{"estimator": "hist_gradient_boosting" | "random_forest" | "linear" | "xgboost" | "lightgbm",
        "parameters": {...}, "seed": 0}`` (`config.SklearnTrainer`). `parameters` go to the estimator as they are.
    task : Task
    features : mapping of name to kind
        Numeric, boolean, datetime or categorical; one or more.

    Raises
    ------
    TrainingError
        `bad_parameters` naming the parameters that the estimator does not have; `bad_trainer`; `library_missing`
        for XGBoost and LightGBM, which are extras.
    """
    family = str(options.get("estimator", "hist_gradient_boosting"))
    parameters = dict(options.get("parameters") or {})
    seed = int(options.get("seed", 0))
    texts = [name for name, kind in features.items() if kind is ColumnKind.CATEGORICAL]
    numbers = [name for name in features if name not in texts]
    # Numbers come first out of the transformer, so the categories are the last columns.
    categories = list(range(len(numbers), len(features)))
    if family in LIBRARIES:
        imported(family)  # to say so before anything is done
        _refuse_unknown(family, parameters, BOOSTERS[family])
        estimator: Any = BoosterStep(
            library=family, task=task.value, categories=categories, parameters=parameters, seed=seed
        )
    else:
        estimator = _estimator(family, task, parameters)
        if family == "hist_gradient_boosting":
            estimator.set_params(categorical_features=categories or None)
        estimator.set_params(random_state=seed)
        estimator.set_params(**{**_DEFAULTS.get((family, task), {}), **parameters})
    number, text = _preparation(family, parameters)
    columns = [("numbers", number, numbers), ("texts", text, texts)]
    transformer = ColumnTransformer([(name, step, names) for name, step, names in columns if names])
    return Pipeline([("columns", transformer), ("estimator", estimator)])


def _estimator(family: str, task: Task, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """One of scikit-learn's, as it comes, once it is sure that it has these parameters."""
    if (family, task) not in _ESTIMATORS:
        raise TrainingError(
            f"training.sklearn.estimator {family!r} is unknown; use hist_gradient_boosting, random_forest, linear, "
            "xgboost or lightgbm",
            reason="bad_trainer",
        )
    estimator = _ESTIMATORS[family, task]()
    _refuse_unknown(type(estimator).__name__, parameters, estimator.get_params())
    return estimator


def _refuse_unknown(name: str, parameters: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(set(parameters).difference(known))
    if unknown:
        raise TrainingError(
            f"{name} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}: correct "
            "training.sklearn.parameters",
            reason="bad_parameters",
        )


def fit(
    options: Mapping[str, Any],
    task: Task,
    features: Mapping[str, ColumnKind],
    frame: pd.DataFrame,
    target: NDArray[Any],
) -> Pipeline:
    """Build and fit.

    Columns of numbers that are known in fewer than `MIN_KNOWN` of the rows are left aside: they say nothing, and
    boosting can't cut bins when its sample of the rows holds no value. The model still gets them and ignores them.

    Parameters
    ----------
    options, task, features
        As `build`.
    frame : pandas.DataFrame
        Of `dataset.frames.to_frame`.
    target : array of shape (n,)
        Class names, or finite numbers.

    Raises
    ------
    ContractError
        `no_features` if no column is left.
    TrainingError
        `bad_parameters` also if a parameter has a value that the estimator can't take; `fit_failed` if it can't be
        fitted to these rows; else as `build`.
    """
    known = {
        name: kind
        for name, kind in features.items()
        if kind is ColumnKind.CATEGORICAL or frame[name].notna().mean() >= MIN_KNOWN
    }
    if not known:
        raise ContractError(
            "no feature has values in the rows to train on; look at the data", reason="no_features"
        )
    pipeline = build(options, task, known)
    try:
        pipeline.fit(frame, target)
    except InvalidParameterError as error:
        raise TrainingError(
            f"{error}; correct training.sklearn.parameters", reason="bad_parameters"
        ) from error
    except (ValueError, TypeError, ArithmeticError) as error:
        raise TrainingError(
            f"the estimator can't be fitted to these rows: {error}; look at the parameters and at the features",
            reason="fit_failed",
        ) from error
    return pipeline


def _preparation(family: str, parameters: Mapping[str, Any]) -> tuple[Any, Any]:
    """(for numbers, for texts), as the family needs them."""
    if family in LIBRARIES:
        return "passthrough", _ordinal(float("nan"), ORDINAL_CATEGORIES)
    if family == "hist_gradient_boosting":
        bins = parameters.get("max_bins")
        most = min(bins, ORDINAL_CATEGORIES) if isinstance(bins, int) and bins > 1 else ORDINAL_CATEGORIES
        # An unseen category is NaN: boosting sends it the way that missing values learned to go.
        return "passthrough", _ordinal(float("nan"), most)
    median = SimpleImputer(strategy="median")
    if family == "random_forest":
        return median, _ordinal(-1, ORDINAL_CATEGORIES)
    # An unseen category counts as a rare one, or as none where no rare ones were seen.
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=ONE_HOT_CATEGORIES, sparse_output=False
    )
    return make_pipeline(median, StandardScaler()), one_hot


def _ordinal(unseen: float, most: int) -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unseen, max_categories=most)
