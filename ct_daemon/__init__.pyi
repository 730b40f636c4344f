"""The public names with their types. They are imported at their first use, which type checkers can't see."""

from ct_daemon.drift.profile import Profile as Profile
from ct_daemon.scan.cluster import Cluster as Cluster
from ct_daemon.scan.comparison import Comparison as Comparison
from ct_daemon.scan.door import compare as compare
from ct_daemon.scan.door import profile as profile
from ct_daemon.scan.stored import load_profile as load_profile
from ct_daemon.scan.stored import save_profile as save_profile
from ct_daemon.scoring.champion import Champion as Champion
from ct_daemon.scoring.champion import load_champion as load_champion
from ct_daemon.training.data import TrainingData as TrainingData

__version__: str
