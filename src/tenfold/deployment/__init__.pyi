from tenfold.deployment.bundle import Bundle as Bundle
from tenfold.deployment.bundle import read_bundle as read_bundle
from tenfold.deployment.bundle import write_bundle as write_bundle
from tenfold.deployment.classifier import Classifier as Classifier
from tenfold.deployment.classifier import Guess as Guess
