from tenfold.runs.evaluate import evaluate_run as evaluate_run
from tenfold.runs.resume import resume_run as resume_run
from tenfold.runs.run import Run as Run
from tenfold.runs.run import load as load
from tenfold.runs.run import open_run as open_run
from tenfold.runs.train import parse_interval as parse_interval
from tenfold.runs.train import train_run as train_run
