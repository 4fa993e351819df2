"""What a network is asked: a loss that it is trained by, and metrics that it is judged by."""

from fourfold.record import Metric
from fourfold.tasks.classification import Classification, ClassificationMeter
from fourfold.tasks.confusion import ConfusionMeter
from fourfold.tasks.detection import Detection, DetectionMeter
from fourfold.tasks.language import Language, LanguageMeter
from fourfold.tasks.multilabel import Multilabel, MultilabelMeter
from fourfold.tasks.protocol import Meter, Task, loss_terms, values_of
from fourfold.tasks.registry import TASKS, get
from fourfold.tasks.regression import Regression, RegressionMeter
from fourfold.tasks.segmentation import Segmentation, SegmentationMeter

__all__ = [
    "TASKS",
    "Classification",
    "ClassificationMeter",
    "ConfusionMeter",
    "Detection",
    "DetectionMeter",
    "Language",
    "LanguageMeter",
    "Meter",
    "Metric",
    "Multilabel",
    "MultilabelMeter",
    "Regression",
    "RegressionMeter",
    "Segmentation",
    "SegmentationMeter",
    "Task",
    "get",
    "loss_terms",
    "values_of",
]
