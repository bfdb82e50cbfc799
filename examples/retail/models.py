"""Trainers of the retail pipeline's models: pure functions of the training data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asgard import TrainingData


def gradient_boosting(data: "TrainingData") -> Any:
    """Train with LightGBM; the same data, parameters and seed give the same model on any number of cores."""
    import lightgbm

    params = {"verbosity": -1, "deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": data.seed}
    rounds = {name: value for name, value in data.params.items() if name == "num_boost_round"}
    given = {name: value for name, value in data.params.items() if name not in rounds}
    learned = lightgbm.Dataset(data.features, data.target, free_raw_data=True)
    return lightgbm.train({**params, **given}, learned, **rounds)


def logistic_regression(data: "TrainingData") -> Any:
    """Train with scikit-learn: missing values are replaced by the median, and all features are standardized."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True),
        StandardScaler(),
        LogisticRegression(random_state=data.seed, max_iter=1_000, **data.params),
    )
    return fitted.fit(data.features.to_numpy(), data.target)
