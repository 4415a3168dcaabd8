"""Covariate shift: cause it, detect it, say what kind it is, measure what it costs, repair it, and train against it.

Import it as `from jaxcnn import shift`:

    images = shift.corrupt("gaussian_noise", images, severity=5, key=jax.random.key(0))
    target = shift.read_target("CIFAR-10-C/fog.npy:3")

    network = shift.load_network("runs/lenet5")
    source, target = shift.read(network, images, labels), shift.read(network, other_images)
    shift.detect(source, target).detections
    shift.kind_of_shift(source, target).verdict
    shift.measure_cost(source, target).estimated_accuracy
    [result.scores(other_labels).difference for result in shift.repair(network, source, target)]

    shift.report("runs/lenet5", "corruption:gaussian_noise:5")

    Experiment(..., data=Data(..., target="digits@20"), objective=shift.DeepCoral(weight=100))
"""

from jaxcnn.corruptions import CORRUPTIONS, FAMILIES, HOST, corrupt
from jaxcnn.data.subgroups import stroke_widths
from jaxcnn.data.targets import Target, read_target
from jaxcnn.shift.calibration import Calibration, calibrate
from jaxcnn.shift.confidence import estimate_accuracy
from jaxcnn.shift.corruption_errors import (
    CorruptionErrors,
    corruption_table,
    draw_corruption_errors,
    mean_corruption_error,
)
from jaxcnn.shift.cost import Cost, measure_cost, score_outputs
from jaxcnn.shift.detecting import Findings, detect, detect_by_class, detect_by_layer
from jaxcnn.shift.detectors.class_counts import chi_square
from jaxcnn.shift.detectors.classifier import classifier_test
from jaxcnn.shift.detectors.detection import Detection
from jaxcnn.shift.detectors.gaussians import diagonal_frechet, frechet, frechet_distance
from jaxcnn.shift.detectors.kernels import maximum_mean_discrepancy
from jaxcnn.shift.detectors.marginals import kolmogorov_smirnov
from jaxcnn.shift.features import Network, Outputs, load_network, read
from jaxcnn.shift.gallery import draw_gallery
from jaxcnn.shift.kinds import Kind, kind_of_shift
from jaxcnn.shift.label_shift import estimate_class_shares
from jaxcnn.shift.objectives import (
    DANN,
    AugMix,
    CorruptionAugmentation,
    DeepCoral,
    LinearProbe,
    RobustPseudoLabels,
    SelfTraining,
    coral_distance,
    generalized_cross_entropy,
    jensen_shannon,
    reverse_gradient,
)
from jaxcnn.shift.repairs.batch_statistics import predict_by_batch
from jaxcnn.shift.repairs.class_skew import ClassSkew, class_skew
from jaxcnn.shift.repairs.density_ratio import ImportanceWeights, importance_weights, weighted_accuracy
from jaxcnn.shift.repairs.label_correction import correct_shares
from jaxcnn.shift.repairs.last_layer import refit_last_layer
from jaxcnn.shift.repairs.paired import paired_difference
from jaxcnn.shift.repairs.repairing import REPAIRS, repair
from jaxcnn.shift.repairs.result import Repair, RepairScores
from jaxcnn.shift.repairs.target_statistics import adapt_statistics
from jaxcnn.shift.repairs.tent import Entropy, minimize_entropy
from jaxcnn.shift.reporting import Report, report

__all__ = [
    "CORRUPTIONS",
    "DANN",
    "FAMILIES",
    "HOST",
    "REPAIRS",
    "AugMix",
    "Calibration",
    "ClassSkew",
    "CorruptionAugmentation",
    "CorruptionErrors",
    "Cost",
    "DeepCoral",
    "Detection",
    "Entropy",
    "Findings",
    "ImportanceWeights",
    "Kind",
    "LinearProbe",
    "Network",
    "Outputs",
    "Repair",
    "RepairScores",
    "Report",
    "RobustPseudoLabels",
    "SelfTraining",
    "Target",
    "adapt_statistics",
    "calibrate",
    "chi_square",
    "class_skew",
    "classifier_test",
    "coral_distance",
    "correct_shares",
    "corrupt",
    "corruption_table",
    "detect",
    "detect_by_class",
    "detect_by_layer",
    "diagonal_frechet",
    "draw_corruption_errors",
    "draw_gallery",
    "estimate_accuracy",
    "estimate_class_shares",
    "frechet",
    "frechet_distance",
    "generalized_cross_entropy",
    "importance_weights",
    "jensen_shannon",
    "kind_of_shift",
    "kolmogorov_smirnov",
    "load_network",
    "maximum_mean_discrepancy",
    "mean_corruption_error",
    "measure_cost",
    "minimize_entropy",
    "paired_difference",
    "predict_by_batch",
    "read",
    "read_target",
    "refit_last_layer",
    "repair",
    "report",
    "reverse_gradient",
    "score_outputs",
    "stroke_widths",
    "weighted_accuracy",
]
