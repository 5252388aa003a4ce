"""The table of learners: a row is a learner, and the only place that knows it.

Algorithms, help, documentation and tests come from these rows.  ``fit`` and ``predictor`` are text,
imported when called, so that reading the table costs nothing.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any, Callable, Mapping, Sequence

from .errors import SettingError
from .settings import SEED, Choice, Number, Setting, Switch, Text

CLASSIFICATION, REGRESSION = "CLASSIFICATION", "REGRESSION"
PROBABILITY, MULTIPROBABILITY = "PROBABILITY", "MULTIPROBABILITY"
RAW, RAW_REGRESSION = "RAW", "RAW_REGRESSION"
CLUSTERING = "CLUSTERING"  # of clusterers alone, which have no other mode
OUTPUT_MODES = (CLASSIFICATION, REGRESSION, PROBABILITY, MULTIPROBABILITY, RAW, RAW_REGRESSION)


@dataclass(frozen=True)
class Learner:
    """One learner: what it is called, which settings it has, which functions fit and apply it.

    ``fit`` names ``function(samples, mode, threads, progress, *, settings...) -> Fit`` (see `training`), "" for none,
    ``predictor`` a class as `prediction.Predictor` describes it, perhaps with two static methods: ``check(model)``
    for arrays that come from a file, and ``output_modes(model)`` where the modes hang on a setting,
    ``size`` a function ``(rows, predictors, classes, mode, settings) -> bytes``: the largest possible model,
    ``explain`` a function ``(model) -> dict``: what Earth Engine's explain() tells of this learner alone.
    ``prepare`` a function ``(samples, settings) -> samples``: what this learner makes of samples before it is asked
    whether they will do.
    ``modes`` maps a training mode to the output modes that its models offer, the default first.
    """

    id: str
    twin: str
    title: str
    summary: str
    fit: str
    predictor: str
    settings: tuple[Setting, ...]
    modes: Mapping[str, Sequence[str]]
    size: str = ""
    explain: str = ""
    prepare: str = ""
    notes: str = ""

    @property
    def clusters(self) -> bool:
        """Whether this learner finds clusters by itself instead of learning given classes."""
        return CLUSTERING in self.modes

    def function(self) -> Callable:
        return _named(self.fit)

    def prepared(self, samples, settings: Mapping[str, Any]) -> Any:
        return _named(self.prepare)(samples, settings) if self.prepare else samples

    def load_predictor(self, model) -> Any:
        return _named(self.predictor)(model)

    def check_model(self, model) -> None:
        """Let the predictor's own ``check(model)``, if it has one, raise `ModelFileError` on unusable arrays."""
        check = getattr(_named(self.predictor), "check", None)
        if check is not None:
            check(model)

    def output_modes(self, model) -> tuple[str, ...]:
        """Return the output modes that *model* offers, its default first."""
        own = getattr(_named(self.predictor), "output_modes", None)
        return tuple(own(model) if own is not None else self.modes[model.mode])

    def explanation(self, model) -> dict[str, Any]:
        return _named(self.explain)(model) if self.explain else {}

    def largest_model(self, rows: int, predictors: int, classes: int, mode: str, settings: Mapping) -> int | None:
        """Return the bytes that a model cannot exceed, or None where that is not known before the fit."""
        return _named(self.size)(rows, predictors, classes, mode, settings) if self.size else None

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return every setting, defaults filled in; raise `SettingError` on an unknown name or a bad value."""
        unknown = set(settings) - {setting.name for setting in self.settings}
        if unknown:
            raise SettingError(f"{self.title} has no setting named {', '.join(sorted(unknown))}.")
        return {setting.name: setting.checked(settings.get(setting.name)) for setting in self.settings}


def _named(text: str) -> Any:
    module, name = text.split(":")
    return getattr(importlib.import_module(f".{module}", __package__), name)


CLASSIFIERS = (
    Learner(
        id="trainrandomforest",
        twin="ee.Classifier.smileRandomForest",
        title="Train random forest",
        summary="Many trees vote, each grown on its own draw of the samples.",
        fit="forest:fit_random_forest",
        predictor="forest:ForestPredictor",
        settings=(
            Number("number_of_trees", "Number of trees", 100, minimum=1, maximum=100_000, integer=True),
            Number(
                "variables_per_split",
                "Predictors tried at each split (empty = square root of their number)",
                None,
                minimum=1,
                integer=True,
            ),
            Number("min_leaf_population", "Smallest number of samples in a leaf", 1, minimum=1, integer=True),
            Number("bag_fraction", "Share of the samples drawn for each tree", 0.5, minimum=1e-6, maximum=1),
            Number("max_nodes", "Most leaves in a tree (empty = no limit)", None, minimum=2, integer=True),
            SEED,
        ),
        modes={
            CLASSIFICATION: (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY, RAW),
            REGRESSION: (REGRESSION, RAW_REGRESSION),
        },
        size="forest:largest_forest",
        explain="forest:explain_forest",
        notes="The same seed gives the same forest for any number of threads, within one version of scikit-learn.",
    ),
    Learner(
        id="traincart",
        twin="ee.Classifier.smileCart",
        title="Train CART",
        summary="One tree of yes-or-no questions, grown on all samples: quick, and easy to read.",
        fit="cart:fit_cart",
        predictor="forest:ForestPredictor",
        settings=(
            Number("max_nodes", "Most leaves (empty = no limit)", None, minimum=2, integer=True),
            Number("min_leaf_population", "Smallest number of samples in a leaf", 1, minimum=1, integer=True),
        ),
        modes={
            CLASSIFICATION: (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY),
            REGRESSION: (REGRESSION,),
        },
        size="cart:largest_cart",
        explain="cart:explain_cart",
        notes="Without a limit a tree repeats its samples, errors included: set one of the two limits.",
    ),
    Learner(
        id="traingradienttreeboost",
        twin="ee.Classifier.smileGradientTreeBoost",
        title="Train gradient tree boost",
        summary="Trees one after another, each mending a little of what the others left.",
        fit="boosting:fit_gradient_tree_boost",
        predictor="boosting:BoostingPredictor",
        settings=(
            Number("number_of_trees", "Number of trees", 100, minimum=1, maximum=100_000, integer=True),
            Number("shrinkage", "Shrinkage: the share of a tree that counts", 0.005, minimum=1e-9, maximum=1),
            Number("sampling_rate", "Share of the samples drawn for each tree", 0.7, minimum=1e-6, maximum=1),
            Number("max_nodes", "Most leaves in a tree (empty = no limit)", None, minimum=2, integer=True),
            Choice(
                "loss",
                "Loss of a regression",
                "LeastAbsoluteDeviation",
                ("LeastSquares", "LeastAbsoluteDeviation", "Huber"),
            ),
            SEED,
        ),
        modes={
            CLASSIFICATION: (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY),
            REGRESSION: (REGRESSION,),
        },
        size="boosting:largest_boosting",
        explain="boosting:explain_boosting",
        notes="Earth Engine's shrinkage of 0.005 needs some hundred to thousands of trees; with 100 trees try 0.05 to "
        "0.1. With more than two classes each of them has so many trees.",
    ),
    Learner(
        id="trainknn",
        twin="ee.Classifier.smileKNN",
        title="Train k nearest neighbours",
        summary="Each pixel gets the class of most of the samples that are most like it.",
        fit="knn:fit_knn",
        predictor="knn:KnnPredictor",
        settings=(
            Number("k", "Number of neighbours", 1, minimum=1, integer=True),
            Choice("search_method", "Search", "AUTO", ("AUTO", "LINEAR_SEARCH", "KD_TREE", "COVER_TREE")),
            Choice("metric", "Distance", "EUCLIDEAN", ("EUCLIDEAN", "MAHALANOBIS", "MANHATTAN", "BRAYCURTIS")),
        ),
        modes={CLASSIFICATION: (CLASSIFICATION, PROBABILITY)},
        size="knn:largest_knn",
        explain="knn:explain_knn",
        notes="As in Earth Engine, the distance is Euclidean, whatever is chosen, where the search is KD_TREE, or AUTO "
        "with fewer than 10 predictors. Predictors are taken in their own units: bring them to one scale first, or use "
        "the distance MAHALANOBIS. The model holds the samples. The output mode PROBABILITY is the share of the chosen "
        "class among the neighbours, with two classes that of the larger label.",
    ),
    Learner(
        id="trainminimumdistance",
        twin="ee.Classifier.minimumDistance",
        title="Train minimum distance",
        summary="Each pixel gets the class whose mean is nearest: quick, with few samples, and a measure of doubt.",
        fit="minimum_distance:fit_minimum_distance",
        predictor="minimum_distance:MinimumDistancePredictor",
        settings=(
            Choice("metric", "Distance", "euclidean", ("euclidean", "cosine", "mahalanobis", "manhattan")),
            Number("k_nearest", "Number of nearest classes to give", 1, minimum=1, integer=True),
        ),
        modes={CLASSIFICATION: (CLASSIFICATION, REGRESSION, RAW)},
        size="minimum_distance:largest_minimum_distance",
        explain="minimum_distance:explain_minimum_distance",
        notes="The output mode REGRESSION gives the distance to the nearest class, RAW the distance to every class. "
        "Predictors are taken in their own units: bring them to one scale first, or use the metric mahalanobis.",
    ),
    Learner(
        id="trainnaivebayes",
        twin="ee.Classifier.smileNaiveBayes",
        title="Train naive Bayes",
        summary="Takes predictors as counts, each for itself, and asks which class most likely gave them.",
        fit="naive_bayes:fit_naive_bayes",
        predictor="naive_bayes:NaiveBayesPredictor",
        settings=(Number("lambda_", "Smoothing: what is added to every count", 1e-6, minimum=0),),
        modes={CLASSIFICATION: (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY)},
        size="naive_bayes:largest_naive_bayes",
        explain="naive_bayes:explain_naive_bayes",
        notes="Predictors must be whole numbers from 0: fractions are cut off, so that reflectances between 0 and 1 "
        "would all count as 0; multiply them first. Negative values do not count, and where no value is positive "
        "there is no class (nodata).",
    ),
    Learner(
        id="trainmaxent",
        twin="ee.Classifier.amnhMaxent",
        title="Train Maxent",
        summary="How likely a species, or one kind of ground, is at a place, from places where it was found.",
        fit="maxent:fit_maxent",
        predictor="maxent_model:MaxentPredictor",
        settings=(
            Text("categorical_names", "Predictors that are categories (names, with commas)"),
            Choice("output_format", "Output", "cloglog", ("cloglog", "logistic", "cumulative", "raw")),
            Switch("auto_feature", "Choose the kinds of features by the number of presences", True),
            Switch("linear", "Linear features (without automatic choice)", True),
            Switch("quadratic", "Quadratic features (without automatic choice)", True),
            Switch("product", "Product features (without automatic choice)", True),
            Switch("threshold", "Threshold features", False),
            Switch("hinge", "Hinge features (without automatic choice)", True),
            Number("hinge_threshold", "Presences for hinge features", 15, minimum=0, integer=True, advanced=True),
            Number("l2lq_threshold", "Presences for quadratic features", 10, minimum=0, integer=True, advanced=True),
            Number(
                "lq2lqpt_threshold",
                "Presences for product and threshold features",
                80,
                minimum=0,
                integer=True,
                advanced=True,
            ),
            Switch("add_samples_to_background", "Add presences unlike every background sample to the background", True),
            Switch("add_all_samples_to_background", "Add all presences to the background", False),
            Number("beta_multiplier", "Regularisation multiplier: more is smoother", 1.0, minimum=0),
            Number("beta_hinge", "Regularisation of hinge features (negative = automatic)", -1.0, advanced=True),
            Number(
                "beta_lqp",
                "Regularisation of linear, quadratic, product features (negative = automatic)",
                -1.0,
                advanced=True,
            ),
            Number("beta_categorical", "Regularisation of categories (negative = automatic)", -1.0, advanced=True),
            Number(
                "beta_threshold", "Regularisation of threshold features (negative = automatic)", -1.0, advanced=True
            ),
            Switch("extrapolate", "Predict beyond the training range (where it is not clamped)", True),
            Switch("do_clamp", "Clamp predictors and features to the training range", True),
            Switch("write_clamp_grid", "Add the band clamp: what clamping changes", False),
            Number(
                "random_test_points",
                "Percent of the presences held out for testing",
                0,
                minimum=0,
                maximum=100,
                integer=True,
            ),
            SEED,
        ),
        modes={CLASSIFICATION: (PROBABILITY,)},
        explain="maxent:explain_maxent",
        notes="Class 1 is presence, class 0 background; of two text labels the later in the alphabet is presence. "
        "TRAINING_ACCURACY counts a cloglog value of 0.5 or more as presence, whatever the output; gain, AUC, entropy "
        "and every feature's weight are in Explain.",
    ),
    Learner(
        id="trainsvm",
        twin="ee.Classifier.libsvm",
        title="Train support vector machine",
        summary="Separates pairs of classes by the widest margin, or fits a tube to a target; slow on many samples.",
        fit="svm:fit_svm",
        predictor="svm_machine:SvmPredictor",
        settings=(
            Choice("decision_procedure", "How pairs of classes decide", "Voting", ("Voting", "Margin")),
            Choice("svm_type", "Type", "C_SVC", ("C_SVC", "NU_SVC", "ONE_CLASS", "EPSILON_SVR", "NU_SVR")),
            Choice("kernel_type", "Kernel", "LINEAR", ("LINEAR", "POLY", "RBF", "SIGMOID")),
            Switch("shrinking", "Shrinking heuristics", True, advanced=True),
            Number("degree", "Degree (POLY; empty = 3)", None, minimum=1, maximum=100, integer=True),
            Number("gamma", "Gamma (POLY, RBF, SIGMOID; empty = 1 / number of predictors)", None, minimum=1e-12),
            Number("coef0", "Coef0 (POLY, SIGMOID; empty = 0)", None),
            Number("cost", "Cost of an error (C_SVC, EPSILON_SVR, NU_SVR; empty = 1)", None, minimum=1e-6),
            Number("nu", "Nu (NU_SVC, ONE_CLASS, NU_SVR; empty = 0.5)", None, minimum=1e-6, maximum=1),
            Number("termination_epsilon", "Tolerance of the solver (empty = 0.001)", None, minimum=1e-9, advanced=True),
            Number("loss_epsilon", "Half width of the tube (EPSILON_SVR; empty = 0.1)", None, minimum=0),
            Number("one_class", "Class to learn (ONE_CLASS; 0 or 1, empty = 0)", None, 0, 1, integer=True),
        ),
        modes={
            CLASSIFICATION: (CLASSIFICATION, PROBABILITY, MULTIPROBABILITY),
            REGRESSION: (REGRESSION,),
        },
        explain="svm_machine:explain_svm",
        prepare="svm:with_both_classes",
        notes="C_SVC, NU_SVC and ONE_CLASS are for CLASSIFICATION, EPSILON_SVR and NU_SVR for REGRESSION. Predictors "
        "are taken as they are, as Earth Engine takes them: where their units differ, scale them to 0–1 first, which "
        "is also much faster. Probabilities need five more fits, each on four fifths of the samples; the class is "
        "always the one that wins the pairs, which need not be the most probable one. PROBABILITY of two classes is "
        "that of the larger label. ONE_CLASS learns the samples of one class (0 or 1) and calls all else the other.",
    ),
)

# Classifiers without training: each has an algorithm of its own.
READY_MADE = (
    Learner(
        id="decisiontree",
        twin="ee.Classifier.decisionTree",
        title="Decision tree from text",
        summary="Trees that are there already, as text.",
        fit="",
        predictor="decision_tree:DecisionTreePredictor",
        settings=(),
        modes={
            CLASSIFICATION: (CLASSIFICATION, RAW),
            REGRESSION: (REGRESSION, RAW_REGRESSION),
        },
        explain="decision_tree:explain_trees",
    ),
    Learner(
        id="spectralregion",
        twin="ee.Classifier.spectralRegion",
        title="Spectral region",
        summary="Polygons drawn in the plane of two bands: 1 inside, 0 outside.",
        fit="",
        predictor="spectral_region:RegionPredictor",
        settings=(),
        modes={CLASSIFICATION: (CLASSIFICATION,)},
        explain="spectral_region:explain_region",
    ),
)

# Weka's clusterers.  The same seed gives the same clusters as Weka, whose seeds may be negative.
WEKA_SEED = Number("seed", "Random seed", 10, integer=True, minimum=-(2**31), maximum=2**31 - 1, advanced=True)
DISTANCE = Choice(
    "distance_function", "Distance (Manhattan: centres are medians)", "Euclidean", ("Euclidean", "Manhattan")
)
MAX_ITERATIONS = Number("max_iterations", "Most iterations (empty = 500)", None, minimum=1, integer=True, advanced=True)

CLUSTERERS = (
    Learner(
        id="trainkmeans",
        twin="ee.Clusterer.wekaKMeans",
        title="Train k-means",
        summary="Each sample belongs to the nearest of k centres, each centre is the mean of its samples.",
        fit="kmeans:fit_kmeans",
        predictor="kmeans:KMeansPredictor",
        settings=(
            Number("n_clusters", "Number of clusters", 8, minimum=1, maximum=100_000, integer=True),
            Choice("init", "First centres", "random", ("random", "k-means++", "canopy", "farthest first")),
            Switch("canopies", "Skip distances with canopies (the clusters stay the same)", False, advanced=True),
            Number("max_candidates", "Most canopies at a time", 100, minimum=1, integer=True, advanced=True),
            Number(
                "periodic_pruning",
                "Samples between two prunings of canopies",
                10_000,
                minimum=1,
                integer=True,
                advanced=True,
            ),
            Number("min_density", "Fewest samples in a canopy", 2, minimum=1, integer=True, advanced=True),
            Number("t1", "T1 of canopies (negative = that many times T2)", -1.5, advanced=True),
            Number("t2", "T2 of canopies (negative = from the standard deviations)", -1.0, advanced=True),
            DISTANCE,
            MAX_ITERATIONS,
            Switch("preserve_order", "Keep the order of samples (the clusters stay the same)", False, advanced=True),
            Switch("fast", "Leave out the sum of squares (the clusters stay the same)", False, advanced=True),
            WEKA_SEED,
        ),
        modes={CLUSTERING: (CLUSTERING,)},
        notes="Predictors are scaled by their range in the samples before distances are taken, as Weka does. A centre "
        "that loses all its samples is dropped, so there can be fewer clusters than asked for.",
    ),
    Learner(
        id="traincascadekmeans",
        twin="ee.Clusterer.wekaCascadeKMeans",
        title="Train cascade k-means",
        summary="k-means for every number of clusters in a range; the best Calinski–Harabasz value decides.",
        fit="cascade_kmeans:fit_cascade_kmeans",
        predictor="kmeans:KMeansPredictor",
        settings=(
            Number("min_clusters", "Fewest clusters", 2, minimum=2, integer=True),
            Number("max_clusters", "Most clusters", 10, minimum=2, integer=True),
            Number("restarts", "Runs for each number of clusters", 10, minimum=1, integer=True),
            Switch("manual", "Manual choice (changes nothing: Earth Engine has it, too)", False, advanced=True),
            Switch("init", "Start with k-means++ instead of random samples", False),
            DISTANCE,
            MAX_ITERATIONS,
            WEKA_SEED,
        ),
        modes={CLUSTERING: (CLUSTERING,)},
        notes="The number of clusters with the highest mean value over all runs wins, then its best run. Earth Engine "
        "has no seed here; ours starts from 10, as for k-means.",
    ),
    Learner(
        id="trainxmeans",
        twin="ee.Clusterer.wekaXMeans",
        title="Train X-means",
        summary="k-means that splits a cluster in two where that raises the Bayesian information criterion.",
        fit="xmeans:fit_xmeans",
        predictor="kmeans:KMeansPredictor",
        settings=(
            Number("min_clusters", "Clusters to start with", 2, minimum=1, integer=True),
            Number("max_clusters", "Most clusters", 8, minimum=1, integer=True),
            Number("max_iterations", "Most rounds of splitting", 3, minimum=1, integer=True),
            Number("max_k_means", "Most iterations of k-means", 1000, minimum=1, integer=True, advanced=True),
            Number(
                "max_for_children",
                "Most iterations of k-means on two halves",
                1000,
                minimum=1,
                integer=True,
                advanced=True,
            ),
            Switch("use_k_d", "Use a k-d tree (the clusters stay the same)", False, advanced=True),
            Number(
                "cutoff_factor",
                "Share of the splits kept although none is better",
                0.0,
                minimum=0,
                maximum=1,
                advanced=True,
            ),
            Choice("distance_function", "Distance", "Euclidean", ("Euclidean", "Manhattan", "Chebyshev")),
            WEKA_SEED,
        ),
        modes={CLUSTERING: (CLUSTERING,)},
    ),
    Learner(
        id="traincobweb",
        twin="ee.Clusterer.wekaCobweb",
        title="Train Cobweb",
        summary="A tree of concepts that grows sample by sample; every node of it is a cluster.",
        fit="cobweb:fit_cobweb",
        predictor="cobweb:CobwebPredictor",
        settings=(
            Number("acuity", "Acuity: the smallest standard deviation", 1.0, minimum=1e-12),
            Number("cutoff", "Cutoff: the smallest category utility", 0.002, minimum=0),
            replace(WEKA_SEED, default=42),
        ),
        modes={CLUSTERING: (CLUSTERING,)},
        notes="Predictors are taken in their own units: for reflectances from 0 to 1 the acuity of 1 puts everything "
        "into one cluster, so lower it or scale the bands; where it exceeds the spread of the clusters, they are "
        "equally good and rounding decides. Numbers of clusters are those of the tree's nodes, the root being 0, so "
        "they are not contiguous. Slow: it visits the samples one by one.",
    ),
    Learner(
        id="trainlvq",
        twin="ee.Clusterer.wekaLVQ",
        title="Train learning vector quantisation",
        summary="Vectors that move towards the samples for which they are the nearest.",
        fit="lvq:fit_lvq",
        predictor="lvq:LvqPredictor",
        settings=(
            Number("num_clusters", "Number of vectors", 7, minimum=1, maximum=10_000, integer=True),
            Number("learning_rate", "Learning rate", 1.0, minimum=1e-6, maximum=1),
            Number("epochs", "Epochs (fewer than 1000 count as 1000)", 1000, minimum=1, integer=True),
            Switch("normalize_input", "Do not normalise the predictors (Earth Engine's name misleads)", False),
        ),
        modes={CLUSTERING: (CLUSTERING,)},
        notes="There is no random part. With the default learning rate of 1 a vector jumps onto each of its samples; "
        "smaller rates such as 0.1 settle between them. Vectors that win no sample stay empty clusters.",
    ),
)

BY_ID = {learner.id: learner for learner in (*CLASSIFIERS, *READY_MADE, *CLUSTERERS)}
