from tenfold.evaluation.metrics import ClassFigures as ClassFigures
from tenfold.evaluation.metrics import class_figures as class_figures
from tenfold.evaluation.metrics import confusion_matrix as confusion_matrix
from tenfold.evaluation.metrics import wilson_interval as wilson_interval
from tenfold.evaluation.passes import evaluate as evaluate
from tenfold.evaluation.passes import evaluate_accuracy as evaluate_accuracy
from tenfold.evaluation.passes import predict_logits as predict_logits
from tenfold.evaluation.report import Report as Report
