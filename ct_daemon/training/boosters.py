"""XGBoost and LightGBM as the last step of a pipeline, kept as the text that the library itself writes.

A fitted step is plain data (text, numbers, class names), so a model file holds no object of these libraries and
nothing of theirs is built while it is read. The libraries are extras of this package and are imported when they are
needed: ``pip install ct-daemon[xgboost]`` (or ``[lightgbm]``).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ct_daemon.errors import TrainingError
from ct_daemon.types import Task

LIBRARIES = ("xgboost", "lightgbm")
_ESTIMATORS = {
    ("xgboost", Task.CLASSIFICATION): "XGBClassifier",
    ("xgboost", Task.REGRESSION): "XGBRegressor",
    ("lightgbm", Task.CLASSIFICATION): "LGBMClassifier",
    ("lightgbm", Task.REGRESSION): "LGBMRegressor",
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "xgboost": {},
    # Else the number of threads and the way to build histograms, which it tries out, change the model.
    "lightgbm": {"deterministic": True, "force_row_wise": True, "verbose": -1},
}


class BoosterStep(BaseEstimator):  # type: ignore[misc]
    """Fits by the library, predicts by the text that it wrote.

    Parameters
    ----------
    library : {"xgboost", "lightgbm"}
    task : str
        A `Task`.
    categories : list of int
        Columns that hold categories as whole numbers; NaN is a missing or unseen one.
    parameters : dict
        Handed to the library's estimator.
    seed : int
    """

    def __init__(
        self,
        library: str = "xgboost",
        task: str = "classification",
        categories: list[int] | None = None,
        parameters: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.library, self.task, self.categories = library, task, categories
        self.parameters, self.seed = parameters, seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to numbers of shape (n, columns) and class names, or numbers, of shape (n,)."""
        columns, task = np.asarray(X, dtype=np.float64), Task(self.task)
        target = np.asarray(y)
        if task is Task.CLASSIFICATION:
            names, target = np.unique(target.astype(str), return_inverse=True)
            self.classes_ = names.astype(object)
        options = {**_DEFAULTS[self.library], "random_state": self.seed, **(self.parameters or {})}
        library = imported(self.library)
        estimator = getattr(library, _ESTIMATORS[self.library, task])
        places = list(self.categories or ())
        try:
            if self.library == "xgboost":
                kinds = _kinds(columns.shape[1], places)
                fitted = estimator(enable_categorical=True, feature_types=kinds, **options).fit(
                    columns, target
                )
                self.text_ = bytes(fitted.get_booster().save_raw("json")).decode()
            else:
                fitted = estimator(**options).fit(columns, target, categorical_feature=places)
                self.text_ = fitted.booster_.model_to_string()
        except (MemoryError, TrainingError):
            raise
        except Exception as error:  # the library's own errors are of its own classes
            raise ValueError(f"{self.library}: {error}") from error
        self.columns_ = int(columns.shape[1])
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Class names, or numbers, of shape (n,)."""
        check_is_fitted(self, "text_")
        columns = np.asarray(X, dtype=np.float64)
        if self.library == "xgboost":
            kinds = _kinds(self.columns_, list(self.categories or ()))
            matrix = imported("xgboost").DMatrix(columns, feature_types=kinds, enable_categorical=True)
            scores = np.asarray(_xgboost(self.text_).predict(matrix))
        else:
            scores = np.asarray(_lightgbm(self.text_).predict(columns))
        if Task(self.task) is Task.REGRESSION:
            return scores.astype(np.float64)
        return np.asarray(self.classes_)[_chosen(scores, len(self.classes_))]


def imported(library: str) -> Any:  # noqa: ANN401  (a module)
    """The library.

    Raises
    ------
    TrainingError
        `library_missing`.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"{library} is not installed; install it with: pip install 'ct-daemon[{library}]'",
            reason="library_missing",
        ) from error


def _chosen(scores: NDArray[Any], classes: int) -> NDArray[np.intp]:
    """The place of the class that the scores are for: a column a class, the chance of the second, or the place."""
    if scores.ndim == 2:
        return np.asarray(scores.argmax(axis=1))
    return np.asarray(scores > 0.5 if classes == 2 else np.rint(scores), dtype=np.intp)


def _kinds(columns: int, categories: list[int]) -> list[str]:
    """As XGBoost spells them: quantity or category."""
    return ["c" if place in categories else "q" for place in range(columns)]


@lru_cache(maxsize=8)
def _xgboost(text: str) -> Any:  # noqa: ANN401
    booster = imported("xgboost").Booster()
    booster.load_model(bytearray(text, "utf-8"))
    return booster


@lru_cache(maxsize=8)
def _lightgbm(text: str) -> Any:  # noqa: ANN401
    return imported("lightgbm").Booster(model_str=text)
